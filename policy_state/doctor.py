"""Checks that what a store holds hangs together."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from policy_state.errors import StoreCorrupt
from policy_state.offsets import Counted
from policy_state.reading import read_each
from policy_state.store import DomainSnapshot
from policy_state.transfer import list_domains

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from policy_state.admin import PolicyAdmin
    from policy_state.offsets import Range
    from policy_state.stats import ExitStats
    from policy_state.store import Totals

_PAGE: Final = 200


class Severity(StrEnum):
    """How bad a finding is."""

    PROBLEM = "problem"  # the counters cannot be trusted
    NOTE = "note"  # may well be as it should
    UNKNOWN = "unknown"  # could not be looked at


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as expected."""

    severity: Severity
    check: str  # counters, index, ledger, pin, watermark, gaps, lost, corrupt, log or kept
    place: str  # a domain, a partition, a topic, "all domains", "index" or "watermarks"
    text: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What was looked at, and what was found."""

    findings: tuple[Finding, ...]
    domains: int
    texts: int  # held by the domains
    partitions: int

    @property
    def healthy(self) -> bool:
        """Whether no problem was found."""
        return all(finding.severity is not Severity.PROBLEM for finding in self.findings)


def examine(
    store: PolicyAdmin,
    *,
    logs: Mapping[str, Range] | None = None,
    committed: Mapping[str, int] | None = None,
) -> Examination:
    """Look at everything a policy has in the store; takes a call per 200 domains.

    Args:
        store: With the policy open. Workers may count meanwhile.
        logs: First and next offset of the log of each partition, by `PartitionDeltas.source`;
            None: not known, then watermarks are not held against it.
        committed: What the group has committed, by the same names, read before this is called:
            what is committed must be counted. None: not known.
    """
    findings: list[Finding] = []
    before: Totals | None = None
    names: Sequence[str] = ()
    marks: Mapping[str, Counted] = {}
    with _told(findings, "all domains"):
        before = store.totals()
    exits = store.describe().meta.exits
    texts = domains = 0
    with _told(findings, "index"):
        names = list_domains(store)
    for first in range(0, len(names), _PAGE):
        found, damaged = read_each(store, names[first : first + _PAGE])
        findings += [_problem("corrupt", name, why) for name, why in damaged.items()]
        for name, record in found.items():
            domains += 1
            texts += record.stats.observed[0]
            findings += _domain_findings(name, record, exits)
    if before is not None:
        findings += _total_findings(before, store.totals(), texts)
    with _told(findings, "watermarks"):
        marks = store.watermarks()
    for source in sorted(marks.keys() | (committed or {}).keys()):
        findings += _gap_findings(source, marks.get(source, Counted()), logs, committed)
        findings += _mark_findings(source, marks.get(source), logs)
    return Examination(tuple(findings), domains, texts, len(marks))


@contextmanager
def _told(findings: list[Finding], place: str) -> Iterator[None]:
    """Make a finding of what cannot be read."""
    try:
        yield
    except StoreCorrupt as error:
        findings.append(_problem("corrupt", place, str(error)))


def _total_findings(before: Totals, after: Totals, texts: int) -> list[Finding]:
    findings = _counter_findings("all domains", after.stats)
    if after.lost:
        text = (
            f"{after.lost} offsets were left uncounted in more gaps than are kept, so that nothing "
            "finds them; `offramp policy rebuild --fresh --topic ..` counts everything anew"
        )
        findings.append(_problem("lost", "all domains", text))
    balances = [t.stats.observed[0] + t.brought - t.gone for t in (before, after)]
    if not min(balances) <= texts <= max(balances):
        text = (
            f"the domains hold {texts} texts; counted {after.stats.observed[0]}, brought "
            f"{after.brought}, gone {after.gone} make {balances[1]}"
        )
        findings.append(_problem("ledger", "all domains", text))
    return findings


def _domain_findings(name: str, record: DomainSnapshot, exits: int) -> list[Finding]:
    findings = _counter_findings(name, record.stats)
    if record == DomainSnapshot.unseen(exits):
        findings.append(_problem("index", name, "is listed but has no counters"))
    if record.pin is not None and not record.pin < exits:
        text = f"is pinned to exit {record.pin}, the policy has exits 0..{exits - 1}"
        findings.append(_problem("pin", name, text))
    return findings


def _counter_findings(place: str, stats: ExitStats) -> list[Finding]:
    return [_problem("counters", place, text) for text in stats.contradictions()]


def _mark_findings(
    source: str, mark: Counted | None, logs: Mapping[str, Range] | None
) -> Iterator[Finding]:
    if logs is None or mark is None:
        return
    if source not in logs:
        yield Finding(Severity.NOTE, "watermark", source, "the topic is gone, or was made anew")
    elif mark.upto > logs[source][1]:
        text = f"counted up to {mark.upto}, the log ends at {logs[source][1]}"
        yield _problem("watermark", source, text)


def _gap_findings(
    source: str,
    mark: Counted,
    logs: Mapping[str, Range] | None,
    committed: Mapping[str, int] | None,
) -> Iterator[Finding]:
    """Tell what is predicted and not counted; what is not committed yet has time."""
    end = mark.upto if committed is None or source not in committed else committed[source]
    pieces = mark.open_below(end)
    if not pieces:
        return
    missing = sum(following - first for first, following in pieces)
    text = f"{missing} offsets below {end} are not counted, in {_some(len(pieces), 'gap')}: "
    if logs is not None and source not in logs:
        yield Finding(Severity.NOTE, "gaps", source, text + "nobody can tell what they held")
        return
    if committed is not None and source not in committed:
        text += "the group has committed nothing of it, so they may well hold no texts"
        yield Finding(Severity.NOTE, "gaps", source, text)
        return
    text += (
        "held by a worker, lost with one or with Redis, or of before the policy; a worker that "
        "reads the partition counts them in a minute, `offramp policy doctor --repair` does now"
    )
    yield _problem("gaps", source, text)


def _some(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _problem(check: str, place: str, text: str) -> Finding:
    return Finding(Severity.PROBLEM, check, place, text)
