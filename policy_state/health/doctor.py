"""Checks that the counters, watermarks and keys of a policy agree with each other."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Final

from policy_state.contradictions import contradictions
from policy_state.errors import StoreCorrupt
from policy_state.health.findings import COUNT_ANEW, Finding, Severity, note, problem
from policy_state.health.missing import missing_findings
from policy_state.store.offsets import Counted
from policy_state.store.reading import read_pages
from policy_state.store.values import DomainSnapshot
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from policy_state.stats import ExitStats
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.values import Totals

_REPAIR: Final = "offramp policy doctor --repair"


@dataclass(frozen=True, slots=True)
class Examination:
    """What was checked, and what was found."""

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
    ends: Mapping[str, int] | None = None,
    committed: Mapping[str, int] | None = None,
    now_ms: int | None = None,
) -> Examination:
    """Look at everything a policy has in the store; takes a call per 200 domains.

    Args:
        store: With the policy open. Workers may count meanwhile.
        ends: Next offset of the log of each partition, by `PartitionDeltas.source`;
            None: not known, then watermarks are not held against it.
        committed: What the group has committed, by the same names, read before this is called:
            what is committed must be counted. None: not known.
        now_ms: The time; None: not known, then pins for a time are not held against the audit.
    """
    findings: list[Finding] = []
    before: Totals | None = None
    marks: Mapping[str, Counted] = {}
    with _told(findings, "all domains"):
        before = store.totals()
    exits = store.describe().meta.exits
    texts = domains = 0
    with _told(findings, "index"):
        for found, damaged in read_pages(store):
            for name, why in damaged.items():
                fix = f"{COUNT_ANEW}, or offramp policy remove {quote(name)}"
                findings.append(problem("corrupt", name, why, fix))
            for name, record in found.items():
                domains += 1
                texts += record.stats.observed[0]
                findings += _domain_findings(name, record, exits)
    if before is not None:
        findings += _total_findings(before, store.totals(), domains, texts)
    with _told(findings, "keys"):
        findings += missing_findings(store, held=texts, now_ms=now_ms)
    with _told(findings, "watermarks"):
        marks = store.watermarks()
    # Where watermarks went missing, nothing tells what of their partitions is counted.
    are_all_there = all(found.subject != "watermarks" for found in findings)
    known = marks.keys() | (committed or {}).keys() if are_all_there else marks.keys()
    for source in sorted(known):
        findings += _gap_findings(source, marks.get(source, Counted()), ends, committed)
        findings += _mark_findings(source, marks.get(source), ends)
    return Examination(tuple(findings), domains, texts, len(marks))


@contextmanager
def _told(findings: list[Finding], subject: str) -> Iterator[None]:
    """Make a finding of what cannot be read."""
    try:
        yield
    except StoreCorrupt as error:
        findings.append(problem("corrupt", subject, str(error), COUNT_ANEW))


def _total_findings(before: Totals, after: Totals, domains: int, texts: int) -> list[Finding]:
    findings = _counter_findings("all domains", after.stats)
    if after.lost:
        text = (
            f"{counted(after.lost, 'offset was', 'offsets were')} left uncounted in more gaps than "
            "are kept, so no worker can count them"
        )
        findings.append(problem("lost", "all domains", text, COUNT_ANEW))
    balances = [t.stats.observed[0] + t.brought - t.gone for t in (before, after)]
    if not min(balances) <= texts <= max(balances):
        text = (
            f"the domains hold {counted(texts, 'text')}, but {after.stats.observed[0]} counted "
            f"plus {after.brought} imported minus {after.gone} removed make {balances[1]}"
        )
        if not domains:
            text += ": the index of domains is missing"
        elif not (after.stats.observed[0] or after.brought):
            text += ": the sums are missing"
        elif texts < min(balances):
            text += ": domains are missing, or their names in the index"
        findings.append(problem("ledger", "all domains", text, COUNT_ANEW))
    return findings


def _domain_findings(name: str, record: DomainSnapshot, exits: int) -> list[Finding]:
    findings = _counter_findings(name, record.stats)
    if record == DomainSnapshot.unseen(exits):
        text = "the index lists it, but its key is missing"
        findings.append(problem("index", name, text, f"offramp policy remove {quote(name)}"))
    if record.pin is not None and not record.pin < exits:
        text = f"it is pinned to exit {record.pin}, but the policy has exits 0..{exits - 1}"
        findings.append(problem("pin", name, text, f"offramp unpin {quote(name)}"))
    return findings


def _counter_findings(subject: str, stats: ExitStats) -> list[Finding]:
    return [problem("counters", subject, text, COUNT_ANEW) for text in contradictions(stats)]


def _mark_findings(
    source: str, mark: Counted | None, ends: Mapping[str, int] | None
) -> Iterator[Finding]:
    if ends is None or mark is None:
        return
    if source not in ends:
        yield note("watermark", source, "the topic was deleted, or deleted and created again")
    elif mark.upto > ends[source]:
        text = f"counted up to {mark.upto}, but the log ends at {ends[source]}"
        yield problem("watermark", source, text, COUNT_ANEW)


def _gap_findings(
    source: str,
    mark: Counted,
    ends: Mapping[str, int] | None,
    committed: Mapping[str, int] | None,
) -> Iterator[Finding]:
    """Yield committed offsets that are not counted; those not committed yet may still be."""
    end = mark.upto if committed is None or source not in committed else committed[source]
    pieces = mark.open_below(end)
    if not pieces:
        return
    missing = sum(following - first for first, following in pieces)
    text = (
        f"{counted(missing, 'offset')} below {end} {'is' if missing == 1 else 'are'} not counted, "
        f"in {counted(len(pieces), 'gap')}: "
    )
    if ends is not None and source not in ends:
        yield note("gaps", source, text + "the topic is gone, so what they held is unknown")
        return
    if committed is not None and source not in committed:
        text += "the group has committed nothing of it, so they may hold no texts"
        yield note("gaps", source, text)
        return
    text += (
        "a worker still holds them, they were lost with a worker or with Redis, or they are older "
        "than the policy; a worker that reads the partition counts them within a minute"
    )
    yield problem("gaps", source, text, _REPAIR)
