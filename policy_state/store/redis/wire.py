"""Between the values of the port and the strings that Redis keeps; no I/O."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, fields
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import orjson

from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import (
    CounterOverflow,
    DomainNotFound,
    FingerprintMismatch,
    InvalidInput,
    PolicyNotFound,
    SettingsConflict,
    StoreCorrupt,
    StoreFull,
)
from policy_state.labelled import LabelledDuels
from policy_state.stats import COUNT_MAX, KINDS, ExitStats
from policy_state.store.offsets import Status, parse_gaps
from policy_state.store.values import (
    Applied,
    DomainSnapshot,
    Limits,
    OpenedPolicy,
    PartitionDeltas,
    PartitionOutcome,
    PolicyMeta,
    Refusal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA: Final = "1"
"""What the fields of a domain mean; counters of another schema are those of another model."""

SIZE: Final = len(KINDS)
"""How many counters an exit has."""

_NOTHING: Final = (0,) * SIZE
_NOT_OURS: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
LIMITS: Final = tuple(field.name for field in fields(Limits))
_SETTINGS: Final = frozenset(field.name for field in fields(PolicySettings))


def meta_fields(meta: PolicyMeta) -> dict[str, str]:
    """Return the fields of a new policy's meta hash."""
    return {
        "fingerprint": meta.fingerprint,
        "layers": json.dumps(meta.layers),
        "calibrated": str(int(meta.calibrated)),
        "classes": str(meta.classes),
        "schema": SCHEMA,
        "revision": "1",
        "changes": "0",
        **settings_fields(meta.settings, meta.limits, {}),
    }


def settings_fields(
    settings: PolicySettings, limits: Limits, stored: Mapping[str, str]
) -> dict[str, str]:
    """Return the fields of meta that can be changed; settings of a newer version are kept."""
    kept = json.loads(stored.get("settings", "{}"))
    return {
        "settings": json.dumps(kept | asdict(settings)),
        **{name: str(getattr(limits, name)) for name in LIMITS},
    }


def settings_from(text: str) -> PolicySettings:
    """Read stored settings; fields that this version does not know are left out."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(text).items()
        if name in _SETTINGS
    }
    return PolicySettings(**known)


def meta_from_fields(fields: Mapping[str, str], *, name: str, key: str) -> PolicyMeta:
    """Read what `meta_fields` wrote, or raise `StoreCorrupt`."""
    try:
        if fields["schema"] != SCHEMA:
            raise FingerprintMismatch(
                f"policy {name}: its counters are of schema {fields['schema']}, and this version "
                f"of Offramp knows schema {SCHEMA}: install the version that wrote them, or set "
                "another policy.name"
            )
        return PolicyMeta(
            name=name,
            fingerprint=fields["fingerprint"],
            layers=tuple(json.loads(fields["layers"])),
            settings=settings_from(fields["settings"]),
            limits=Limits(**{limit: int(fields[limit]) for limit in LIMITS}),
            calibrated=bool(int(fields.get("calibrated", "0"))),
            classes=int(fields.get("classes", "2")),
        )
    except _NOT_OURS as error:
        raise StoreCorrupt(f"{key} is not a policy: {type(error).__name__} {error}") from error


def apply_request(parts: Sequence[PartitionDeltas], domains: Sequence[str]) -> str:
    """Return the JSON that `apply.lua` takes; domains go by their number in `domains`, from 1."""
    numbers = {domain: number for number, domain in enumerate(domains, start=1)}
    request = []
    for part in parts:
        rows = [
            [
                numbers[domain],
                part.epochs.get(domain, -1),
                list(chain.from_iterable(delta.by_exit())),
            ]
            for domain, delta in part.deltas.items()
            if delta.observed[0] or any(delta.gated)
        ]
        total = list(map(sum, zip(*(row[2] for row in rows), strict=True)))
        request.append([part.source, part.first_offset, part.next_offset, rows, total])
    return orjson.dumps(request).decode()


def apply_answer(reply: Sequence[Any], domains: Sequence[str], known: OpenedPolicy) -> Applied:
    """Return what `apply.lua` answered, or raise what it found wrong."""
    raise_problem(reply, known.meta)
    match reply:
        case ["ok", revision, settings, limits, outcomes, refusals, snapshots]:
            refused = (refusal.split(" ") for refusal in _lines(refusals))
            return Applied(
                outcomes=tuple(map(_outcome, _lines(outcomes))),
                snapshots={
                    domain: snapshot(text)
                    for domain, text in zip(domains, _lines(snapshots), strict=True)
                },
                refused={domains[int(number) - 1]: Refusal(why) for number, why in refused},
                revision=int(revision),
                settings=settings_from(settings) if settings else known.meta.settings,
                limits=Limits(*map(int, limits.split(" "))) if limits else known.meta.limits,
            )
    raise StoreCorrupt(f"apply.lua answered {reply!r:.80}")


def raise_problem(reply: Sequence[Any], meta: PolicyMeta) -> None:
    """Raise what a script found wrong; return where it answered `ok`."""
    match reply:
        case ["no-policy"]:
            raise PolicyNotFound(
                f"policy {meta.name} is gone from the store: rebuild it, or open it again"
            )
        case ["fingerprint", stored]:
            raise FingerprintMismatch(
                f"policy {meta.name}: this model has fingerprint {meta.fingerprint}, "
                f"the stored counters belong to {stored}"
            )
        case ["corrupt", key, name, value]:
            raise StoreCorrupt(
                f"{key} field {name} holds {value[:40]!r}, expected integers 0..{COUNT_MAX}; "
                "nothing was written"
            )
        case ["overflow", key, name, value, addition]:
            raise CounterOverflow(
                f"{key} field {name}: {value} + {addition}, limit {COUNT_MAX}; nothing was written"
            )
        case ["excess", key, name, addition, texts]:
            raise InvalidInput(
                f"{key} field {name}: credits or scores of {addition} thousandths for {texts} "
                "texts, expected at most 1000 a text; nothing was written"
            )
        case ["unknown"]:
            raise DomainNotFound(f"policy {meta.name} has no such domain")
        case ["full"]:
            raise StoreFull(f"policy {meta.name} has no room for another domain")
        case ["conflict", revision]:
            raise SettingsConflict(
                f"policy {meta.name}: somebody changed the settings, revision {revision} is in "
                "force; nothing was written"
            )


def number(fields: Mapping[str, str], name: str, unset: str, *, key: str) -> int:
    """Return a whole number in a hash, or raise `StoreCorrupt`."""
    try:
        return int(fields.get(name, unset))
    except ValueError as error:
        raise StoreCorrupt(f"{key} field {name}: {error}") from error


def counters(fields: Mapping[str, str], *, key: str, exits: int) -> ExitStats:
    """Return the counters in a hash, or raise `StoreCorrupt`."""
    try:
        rows = [_row(fields.get(str(exit_), "")) for exit_ in range(exits)]
        return ExitStats(*zip(*rows, strict=True))
    except ValueError as error:
        raise StoreCorrupt(f"{key}: {error}") from error


def _row(text: str) -> tuple[int, ...]:
    """Return the counters of one exit, one per kind; kinds of a newer version left out."""
    row = tuple(map(int, text.split()))
    return (row + _NOTHING[len(row) :])[:SIZE]


def _text(row: tuple[int, ...]) -> str:
    """Return the counters of one exit as they are stored: the last ones that are 0 are left out."""
    kept = max((at for at, count in enumerate(row, start=1) if count), default=1)
    return " ".join(map(str, row[:kept]))


def snapshot(text: str) -> DomainSnapshot:
    """Read a snapshot as the scripts write it: they have checked its counters."""
    numbers, *flat = text.split(";")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    try:  # those of exit 0, of exit 1, and so on; three times as fast as int() of each
        counts = orjson.loads(f"[{numbers.replace(' ', ',')}]")
    except ValueError as error:  # what somebody wrote by hand, such as 007
        raise StoreCorrupt(f"counters {numbers:.80}: {error}") from error
    stats = ExitStats.from_flat(counts)
    return DomainSnapshot(
        stats=stats,
        epoch=int(fields.get("epoch", "0")),
        last_seen_ms=_optional(fields, "t"),
        pin=_optional(fields, "pin"),
        pin_until_ms=_optional(fields, "pin_until"),
        pin_reason=unquote(fields.get("pin_reason", "")),
        frozen="frozen" in fields,
        freeze_reason=unquote(fields.get("freeze_reason", "")),
        drifts=int(fields.get("drifts", "0")),
        labels=_labels(fields["labels"], stats.exits) if "labels" in fields else None,
    )


def _labels(text: str, exits: int) -> LabelledDuels:
    try:
        labels = LabelledDuels.from_text(text)
    except ValueError as error:
        raise StoreCorrupt(str(error)) from error
    if labels.exits != exits:
        raise StoreCorrupt(f"labels of {labels.exits} exits, the policy has {exits}")
    return labels


def record_groups(record: DomainSnapshot) -> list[dict[str, int] | dict[str, str]]:
    """Return the counters, numbers and notes of a record, as `load.lua` takes them."""
    numbers = {
        "t": record.last_seen_ms,
        "epoch": record.epoch or None,
        "drifts": record.drifts or None,
        "pin": record.pin,
        "pin_until": record.pin_until_ms,
        "frozen": 1 if record.frozen else None,
    }
    notes = {"pin_reason": record.pin_reason, "freeze_reason": record.freeze_reason}
    labels = {} if record.labels is None else {"labels": record.labels.to_text()}
    return [
        {str(j): _text(row) for j, row in enumerate(record.stats.by_exit()) if any(row)},
        {name: value for name, value in numbers.items() if value is not None},
        {name: encode_note(text) for name, text in notes.items() if text} | labels,
    ]


def flat(fields: Mapping[str, str | int]) -> list[str | int]:
    """Return field, value, field, value, and so on, as commands and scripts take them."""
    return [word for pair in fields.items() for word in pair]


def token() -> str:
    """Return what a change is recognised by where the same call arrives again."""
    return f"{time.time_ns():x}-{secrets.token_hex(8)}"


def encode_note(text: str) -> str:
    """Return a free text percent-encoded, without spaces."""
    return quote(text, safe="", errors="backslashreplace")


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _optional(fields: Mapping[str, str], name: str) -> int | None:
    return int(fields[name]) if name in fields else None


def _outcome(text: str) -> PartitionOutcome:
    status, upto, gap, *missing = text.split(" ")
    return PartitionOutcome(Status(status), int(upto), parse_gaps(" ".join(missing)), int(gap))
