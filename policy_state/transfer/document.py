"""A policy as a document of plain values, for JSON: written, and read with every value checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from policy_state.algorithms.settings import PolicySettings
from policy_state.contradictions import contradictions
from policy_state.domains import domain_key
from policy_state.errors import InvalidInput
from policy_state.labelled import LabelledDuels
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.admin import TEXT_MAX_CHARACTERS
from policy_state.store.offsets import GAPS_MAX, Counted
from policy_state.store.values import DomainSnapshot, Limits, PolicyMeta

if TYPE_CHECKING:
    from collections.abc import Mapping

KIND: Final = "offramp-policy"
VERSION: Final = 1
_TIME_MAX_MS: Final = 10**14  # some three thousand years; stores keep flags beside larger times


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """All of a policy at about one moment."""

    meta: PolicyMeta
    revision: int
    domains: Mapping[str, DomainSnapshot]
    watermarks: Mapping[str, Counted]
    consistent: bool  # nothing was counted while it was read


def to_document(document: PolicyDocument) -> dict[str, Any]:
    """Return it as plain values, for JSON."""
    meta = document.meta
    return {
        "kind": KIND,
        "version": VERSION,
        "policy": {
            "name": meta.name,
            "fingerprint": meta.fingerprint,
            "layers": list(meta.layers),
            "calibrated": meta.calibrated,
            "classes": meta.classes,
            "settings": asdict(meta.settings),
            "limits": asdict(meta.limits),
            "revision": document.revision,
        },
        "consistent": document.consistent,
        "watermarks": {
            source: {"upto": mark.upto, "gaps": [list(gap) for gap in mark.gaps]}
            for source, mark in document.watermarks.items()
        },
        "domains": {
            name: {
                "counters": record.stats.to_fields(),
                **{
                    field.name: value
                    for field in fields(record)
                    if field.name not in {"stats", "labels"}
                    and (value := getattr(record, field.name)) not in (None, "", False)
                },
                **({} if record.labels is None else {"labels": asdict(record.labels)}),
            }
            for name, record in sorted(document.domains.items())
        },
    }


def from_document(data: Any) -> PolicyDocument:  # noqa: ANN401 - whatever a file held
    """Read what `to_document` wrote.

    Of another version's fields, settings and limits are refused, as they cannot be followed; the
    others are left out.

    Raises:
        InvalidInput: It is something else, or holds what a store never held, with what is wrong.
    """
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InvalidInput(f"not an export of a policy: kind is not {KIND!r}")
    if data.get("version") != VERSION:
        raise InvalidInput(f"export of version {data.get('version')!r}, expected {VERSION}")
    try:
        meta = _meta(data["policy"])
        domains = {
            domain_key(name): _record(name, record, exits=meta.exits)
            for name, record in data["domains"].items()
        }
        texts = sum(record.stats.observed[0] for record in domains.values())
        _whole(texts, "texts of all domains together")
        return PolicyDocument(
            meta=meta,
            revision=_whole(data["policy"]["revision"], "revision"),
            domains=domains,
            watermarks={
                _source(source): _mark(source, mark) for source, mark in data["watermarks"].items()
            },
            consistent=_flag(data.get("consistent", True), "consistent"),
        )
    except InvalidInput as error:
        raise InvalidInput(f"export cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"export cannot be read: {type(error).__name__} {error}") from error


def _meta(policy: Mapping[str, Any]) -> PolicyMeta:
    from policy_state.algorithms.base import (
        build,  # here: exporting does not wait for what it imports
    )

    limits = _known("limits", policy["limits"], Limits)
    meta = PolicyMeta(
        name=_text(policy["name"], "name"),
        fingerprint=_text(policy["fingerprint"], "fingerprint"),
        layers=tuple(_whole(layer, "layer") for layer in policy["layers"]),
        settings=PolicySettings(**_known("settings", policy["settings"], PolicySettings)),
        limits=Limits(**{name: _whole(value, name) for name, value in limits.items()}),
        calibrated=_flag(policy.get("calibrated", False), "calibrated"),
        classes=_whole(policy.get("classes", 2), "classes"),
    )
    build(meta.settings, meta.layers)
    return meta


def _record(name: str, record: Mapping[str, Any], *, exits: int) -> DomainSnapshot:
    stats = ExitStats.from_fields(record["counters"], exits=exits)
    if wrong := contradictions(stats):
        raise InvalidInput(f"domain {name!a}: {wrong[0]}")

    def number(field: str, most: int) -> int | None:
        value = record.get(field)
        return None if value is None else _whole(value, f"domain {name!a}: {field}", most)

    def text(field: str) -> str:
        return _text(record.get(field, ""), f"domain {name!a}: {field}", TEXT_MAX_CHARACTERS)

    return DomainSnapshot(
        stats=stats,
        epoch=number("epoch", COUNT_MAX) or 0,
        drifts=number("drifts", COUNT_MAX) or 0,
        last_seen_ms=number("last_seen_ms", _TIME_MAX_MS),
        pin=number("pin", exits - 1),
        pin_until_ms=number("pin_until_ms", _TIME_MAX_MS),
        pin_reason=text("pin_reason"),
        frozen=_flag(record.get("frozen", False), f"domain {name!a}: frozen"),
        freeze_reason=text("freeze_reason"),
        labels=_labels(name, record["labels"], exits=exits) if "labels" in record else None,
    )


def _labels(name: str, labels: Mapping[str, Any], *, exits: int) -> LabelledDuels:
    what = f"domain {name!a}: labels"
    kinds = (labels[kind] for kind in ("duels", "wins", "losses"))
    counts = [tuple(_whole(count, what) for count in kind) for kind in kinds]
    if len(counts[0]) != exits:
        raise InvalidInput(f"{what} of {len(counts[0])} exits, the policy has {exits}")
    return LabelledDuels(_whole(labels["texts"], what), *counts)


def _source(name: str) -> str:
    topic_id, slash, partition = name.rpartition("/")
    if not (topic_id and slash and partition.isascii() and partition.isdigit()):
        raise InvalidInput(f"watermark of {name!a}, expected <topic id>/<partition>")
    return _text(name, "name of a watermark")


def _mark(source: str, mark: Mapping[str, Any]) -> Counted:
    what = f"watermark of {source!a}"
    upto = _whole(mark["upto"], f"{what}: upto")
    gaps = tuple(
        (_whole(first, f"{what}: gap"), _whole(following, f"{what}: gap"))
        for first, following in mark["gaps"]
    )
    if len(gaps) > GAPS_MAX:
        raise InvalidInput(f"{what}: {len(gaps)} gaps, limit {GAPS_MAX}")
    end = 0
    for first, following in gaps:
        if not end <= first < following <= upto:
            raise InvalidInput(f"{what}: gap {first}-{following}, expected rising, up to {upto}")
        end = following
    return Counted(upto, gaps)


def _whole(value: Any, what: str, most: int = COUNT_MAX) -> int:  # noqa: ANN401 - as a file has it
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidInput(f"{what} {value!r:.40}, expected an integer 0..{most}")
    return value


def _flag(value: Any, what: str) -> bool:  # noqa: ANN401 - as a file has it
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} {value!r:.40}, expected true or false")
    return value


def _text(value: Any, what: str, most: int = 1000) -> str:  # noqa: ANN401 - as a file has it
    if not isinstance(value, str) or len(value) > most:
        raise InvalidInput(f"{what} {value!r:.40}, expected text of up to {most} characters")
    value.encode()  # half of a character cannot be stored
    return value


def _known(group: str, values: Mapping[str, Any], kind: Any) -> dict[str, Any]:  # noqa: ANN401
    names = [field.name for field in fields(kind)]
    if unknown := sorted(values.keys() - names):
        raise InvalidInput(
            f"policy.{group}.{unknown[0]} is not known to this version, another one wrote it: take "
            f"it out of the file, or put the setting that it was into {', '.join(names)}"
        )
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
