"""`offramp policy history, audit, workers`: how an exit was learnt, who changed it, who runs."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.commands import LOOK, Commands
from consumer.cli.options import Limit, Watch
from consumer.cli.output import Output, OutputOption, clock, emit, percent, repeat, said, span
from consumer.cli.policy.domain import Domain, read_known
from consumer.cli.session import OnPolicy, OnRedis
from policy_state.wording import counted, in_ranges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.reports.domain import DomainReport
    from policy_state.store.admin import AuditEntry, Sample
    from policy_state.store.redis.store import RedisStore


HISTORY_EXAMPLES = """Examples:

`offramp policy history hotels`

`offramp policy history hotels -o csv > hotels.csv`
"""
AUDIT_EXAMPLES = """Examples:

`offramp policy audit --limit 20`

`offramp policy audit -o csv > audit.csv`
"""
WORKERS_EXAMPLES = """Examples:

`offramp policy workers --watch`
"""

app = Commands()


@app.command("history", epilog=HISTORY_EXAMPLES, rich_help_panel=LOOK)
def history(
    domain: Domain,
    given: OnPolicy,
    limit: Limit = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a domain came to its exit: samples and changes, newest first.

    A sample is kept at 16, 24, 32, 48, 64 .. texts, twice a doubling. Its exit is the one that the
    settings in force now choose from the counters of then.
    """
    with given.opened() as (_, store):
        changes = store.audit(domain=domain, limit=limit)
        rows = history_rows(store, domain, changes, limit=limit)
        details = {(e.time_ms, e.action): change_detail(e) for e in changes}
        emit(
            output,
            "policy-history",
            rows,
            rows_name="entries",
            table=[_history_cells(row, details) for row in rows],
            empty="no samples and no changes yet",
            columns=_HISTORY,
            spare=("texts per exit", "layer", "differs"),
            domain=domain,
        )


def history_rows(
    store: RedisStore, domain: str, changes: Sequence[AuditEntry], *, limit: int
) -> list[dict[str, Any]]:
    """Return the samples and the changes of a domain, newest first.

    Raises:
        DomainNotFound: it has neither, and is not known.
    """
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import domain_report

    meta = store.describe().meta
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    pool = store.totals().stats
    rows: list[dict[str, Any]] = []
    for change in changes:
        found = changed_row(change) | {"what": change.action}
        rows.append({name: found.get(name) for name in _HISTORY})
    for sample in store.samples(domain, limit=limit):
        report = domain_report(domain, sample.record, meta, rules, pool=pool)
        rows.append(_sampled(sample, report))
    if not rows:
        read_known(store, domain)
    return sorted(rows, key=lambda row: -row["time_ms"])[:limit]


_HISTORY: Final = (
    *("time_ms", "what", "texts", "exit", "layer", "disagreement", "layers_saved"),
    *("played", "epoch", "by", "automatic", "reason", "detail", "before"),
)
_WORKERS_SPARE: Final = (
    *("started", "pid", "model", "routes", "last_commit_s", "batches", "gap_offsets"),
    *("snapshot_age_ms", "group"),
    *("lost_texts", "partitions", "dead_letters", "held_texts", "policy"),
)
_WORKER_FIELDS: Final[Mapping[str, type]] = {
    "group": str,
    "policy": str,
    "routes": str,
    "stands_still": str,
    "partitions": str,
    "events": int,
    "texts_per_s": float,
    "last_commit_s": int,
    "batches": int,
    "dead_letters": int,
    "held_texts": int,
    "lost_texts": int,
    "gap_offsets": int,
    "snapshot_age_ms": int,
    "model": str,
    "pid": int,
    "started": int,
}
"""Fields of a heartbeat in the order of their columns; others come behind, by name."""

_JSON_END: Final = 2**53  # from here on numbers in JSON are not exact
_CHANGE: Final = ("time_ms", "action", "domain", "by", "automatic", "reason", "detail", "before")


def _sampled(sample: Sample, report: DomainReport) -> dict[str, Any]:
    return dict.fromkeys(_HISTORY) | {
        "time_ms": sample.time_ms,
        "what": "sample",
        "texts": report.texts,
        "exit": report.exit,
        "layer": report.layer,
        "disagreement": report.disagreement,
        "layers_saved": report.layers_saved,
        "epoch": sample.record.epoch,
        "played": [each.played for each in report.exits],
    }


def changed_row(entry: AuditEntry) -> dict[str, Any]:
    """Return a change, for programs."""
    return {
        "time_ms": entry.time_ms,
        "action": entry.action,
        "domain": entry.domain,
        "by": entry.by,
        "automatic": entry.automatic,
        "reason": entry.reason,
        "detail": dict(entry.detail),
        "before": None if entry.before is None else entry.before.stats.to_fields(),
    }


def _history_cells(
    row: Mapping[str, Any], details: Mapping[tuple[int, str], str]
) -> dict[str, object]:
    sampled = row["what"] == "sample"
    return {
        "when (UTC)": clock(row["time_ms"]),
        "what": row["what"],
        "texts": row["texts"],
        "exit": row["exit"],
        "layer": row["layer"],
        "differs": percent(row["disagreement"]),
        "texts per exit": " ".join(map(str, row["played"])) if sampled else None,
        "by": _signed(row["by"], automatic=row["automatic"]),
        "reason": row["reason"],
        "detail": details.get((row["time_ms"], row["what"])),
    }


@app.command("audit", epilog=AUDIT_EXAMPLES, rich_help_panel=LOOK)
def audit(
    given: OnPolicy,
    limit: Limit = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who changed what, when and why, newest first."""
    with given.opened() as (_, store):
        emit_audit("policy-audit", store.audit(limit=limit), output)


@app.command("workers", epilog=WORKERS_EXAMPLES, rich_help_panel=LOOK)
def workers(given: OnRedis, output: OutputOption = Output.TABLE, watch: Watch = False) -> None:
    """List the workers that are alive."""
    with given.store() as (_, store):

        def draw() -> None:
            rows = worker_rows(store.workers())
            emit(
                output,
                "policy-workers",
                rows,
                rows_name="workers",
                table=[{**row, **partitions_in_ranges(row.get("partitions"))} for row in rows],
                empty="no workers",
                columns=["instance"],
                spare=_WORKERS_SPARE,
            )

        repeat(watch, draw)


def worker_rows(alive: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the workers alive, without fields in which none has anything to say."""
    names = dict.fromkeys(
        name for fields in alive.values() for name, value in fields.items() if value
    )
    ordered = [name for name in _WORKER_FIELDS if name in names]
    ordered += sorted(names.keys() - _WORKER_FIELDS.keys())
    return [
        {"instance": instance, **{name: _field(name, fields) for name in ordered}}
        for instance, fields in alive.items()
    ]


def _field(name: str, fields: Mapping[str, str]) -> str | float | None:
    """Return a field of a heartbeat: numbers as numbers, where they are."""
    value, kind = fields.get(name), _WORKER_FIELDS.get(name, str)
    if kind is not str and value and value.isascii() and value.replace(".", "", 1).isdecimal():
        with suppress(ValueError):
            number = float(value) if kind is float else int(value)
            return number if number < _JSON_END else value
    return value


def partitions_in_ranges(partitions: object) -> dict[str, str]:
    """Return the partitions of a heartbeat for people, if it has any.

    >>> partitions_in_ranges("hotels[0],hotels[1],hotels[2],hotels[7],shops[4]")
    {'partitions': 'hotels[0-2,7] shops[4]'}
    """
    numbers: dict[str, list[int]] = {}
    for topic, number in re.findall(r"([^,\[\]]+)\[(\d{1,9})\]", str(partitions)):
        numbers.setdefault(topic, []).append(int(number))
    shown = [f"{topic}[{in_ranges(held)}]" for topic, held in numbers.items()]
    return {"partitions": " ".join(shown)} if shown else {}


def emit_audit(kind: str, entries: Sequence[AuditEntry], output: Output) -> None:
    """Print changes, the newest first."""
    rows = [changed_row(entry) for entry in entries]
    table = [
        {
            "when (UTC)": clock(e.time_ms),
            "action": e.action,
            "domain": e.domain,
            "by": _signed(e.by, automatic=e.automatic),
            "reason": e.reason,
            "detail": change_detail(e),
        }
        for e in entries
    ]
    emit(output, kind, rows, rows_name="changes", table=table, empty="no changes", columns=_CHANGE)


def _signed(by: str | None, *, automatic: bool | None) -> str | None:
    return f"{by} (by itself)" if automatic else by


def _given(name: str, value: Any) -> str:  # noqa: ANN401 - as the entry has it
    match name:
        case "for_ms":
            return f"for {span(value)}"
        case "labels":
            duels = counted(sum(value["duels"]), "duel")
            return f"labels of {counted(value['texts'], 'text')}, {duels}"
        case "keep" if isinstance(value, int | float):
            return f"keeps {value:.0%} of its counts" if value else "keeps none of its counts"
        case "exit":
            return f"exit {value}"
    return f"{name}={value}"


def change_detail(entry: AuditEntry) -> str:
    """Return what a change was, in words."""
    parts = [
        f"{name}: {said(value[0])} -> {said(value[1])}"
        if entry.action == "configure"
        else _given(name, value)
        for name, value in entry.detail.items()
    ]
    if entry.before is not None:
        parts.append(f"it had counted {counted(entry.before.stats.texts, 'text')}")
    return ", ".join(parts)
