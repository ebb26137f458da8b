"""What is known of one domain, worked out for people: rewards, indices, what depth was saved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from operator import add
from typing import TYPE_CHECKING, Any, Final

from policy_state.algorithms.base import build
from policy_state.counting import THOUSAND
from policy_state.reports.accuracy import estimated_accuracy
from policy_state.reports.diagnosis import Diagnosis, diagnose
from policy_state.reports.gate import GateReport, gate_report
from policy_state.reports.holdout import Holdout, holdout_of
from policy_state.store.reading import find_policy, read_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from policy_state.algorithms.base import Algorithm
    from policy_state.labelled import LabelledDuels
    from policy_state.reports.shares import Share
    from policy_state.stats import ExitStats
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.port import StatsStore
    from policy_state.store.values import DomainSnapshot, PolicyMeta


_MOST: Final = 1000  # reports, where no domains are named


@dataclass(frozen=True, slots=True)
class ExitReport:
    """One exit of one domain. Rates are None where nothing was observed."""

    exit: int
    layer: int
    cost: float  # times the cost weight
    played: int  # texts that stopped here
    share: float | None  # of all texts
    observed: int  # texts that computed this exit
    disagreement: float | None  # share of them whose label differed from exit 0's
    reward: float | None  # what it is thought to gain, minus the cost added, over `anchor`
    index: float | None  # the most that the reward may be, for all that is known
    worth: float | None  # errors saved by a change of label from the exit before; if calibrated
    credit_worth: float | None  # the same without what labels correct
    accuracy: Share | None  # estimated; if calibrated


@dataclass(frozen=True, slots=True)
class DomainReport:
    """One domain: the exit it has learnt, and what each exit was seen to do."""

    domain: str
    texts: int
    exit: int  # what its texts get, but for those that explore: see `exit_of`
    layer: int
    learnt: int  # the best by what is known; another one than `exit` where the domain is pinned
    layers_saved: float | None  # share of transformer layers not run so far
    holdout: Holdout | None  # what texts that ran to the last exit only to measure it show
    gate: GateReport | None  # None: there is none
    disagreement: float | None  # of the exit learnt with exit 0
    last_seen_ms: int | None
    anchor: int  # the exit that rewards count from: 0, or the last
    algorithm: str
    calibrated: bool  # the model is
    labels: LabelledDuels | None  # that correct what its steps are worth
    exits: tuple[ExitReport, ...]
    diagnosis: Diagnosis

    @property
    def credits(self) -> bool:
        """Whether a change of label counts as what it is worth, not as an error saved."""
        return self.calibrated and self.algorithm == "default"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know, one sentence each."""
        broken = (self.gate.warning,) if self.gate and self.gate.broken else ()
        return (*broken, *self.diagnosis.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self) | {"warnings": list(self.warnings)}


def exit_of(snapshot: DomainSnapshot, algorithm: Algorithm, *, pool: ExitStats | None) -> int:
    """Return the exit that a domain's texts get, but for those that explore.

    The one that it is pinned to; else what the algorithm, at the cost weight of their route,
    has settled on. A frozen domain's texts do not explore.

    Args:
        snapshot: Of the domain.
        algorithm: At the cost weight of its texts.
        pool: Counters of all domains together, as workers have them from the store's totals: a
            domain with few texts goes by them.
    """
    if snapshot.pin is not None:
        return snapshot.pin
    return algorithm.assess(snapshot.corrected, pool=pool).exit


def worth_of(stats: ExitStats, exit_: int) -> float | None:
    """Return how many errors a change of label at an exit saves on average, by its credits."""
    duels = stats.duels[exit_]
    return stats.credit[exit_] / (THOUSAND * duels) if duels else None


def domain_report(
    domain: str,
    snapshot: DomainSnapshot,
    meta: PolicyMeta,
    algorithm: Algorithm,
    *,
    pool: ExitStats | None,
) -> DomainReport:
    """Return the report of one domain, as its algorithm sees it.

    Args:
        domain: Its name.
        snapshot: What is known of it.
        meta: Of its policy, with the gate that its texts meet.
        algorithm: What chooses its exits.
        pool: As for `exit_of`.
    """
    stats, layers = snapshot.corrected, meta.layers
    assessment = algorithm.assess(stats, pool=pool)
    stopped = tuple(map(add, stats.played, stats.gated))
    texts = sum(stopped)
    right = estimated_accuracy(stats, classes=meta.classes) if meta.calibrated else None
    rows = tuple(
        ExitReport(
            exit=j,
            layer=layer,
            cost=algorithm.costs[j],
            played=stopped[j],
            share=stopped[j] / texts if texts else None,
            observed=stats.observed[j],
            disagreement=stats.disagreed[j] / stats.observed[j] if stats.observed[j] else None,
            reward=assessment.rewards[j],
            index=assessment.indices[j],
            worth=worth_of(stats, j) if meta.calibrated else None,
            credit_worth=worth_of(snapshot.stats, j) if meta.calibrated else None,
            accuracy=right[j] if right else None,
        )
        for j, layer in enumerate(layers)
    )
    texts_get = exit_of(snapshot, algorithm, pool=pool)
    run = sum(count * layer for count, layer in zip(stopped, layers, strict=True))
    return DomainReport(
        domain=domain,
        texts=texts,
        exit=texts_get,
        layer=layers[min(texts_get, len(layers) - 1)],
        learnt=assessment.exit,
        layers_saved=1 - run / (texts * layers[-1]) if texts else None,
        holdout=holdout_of(stats, layers),
        gate=gate_report(snapshot, meta, texts_get, meta.settings.gate),
        disagreement=rows[assessment.exit].disagreement,
        last_seen_ms=snapshot.last_seen_ms,
        anchor=assessment.anchor,
        algorithm=algorithm.name,
        calibrated=meta.calibrated,
        labels=snapshot.labels,
        exits=rows,
        diagnosis=diagnose(
            stats,
            assessment,
            algorithm.costs,
            credits=algorithm.credits,
            epoch=snapshot.epoch,
            drifts=snapshot.drifts,
        ),
    )


def read_reports(
    store: StatsStore, policy: str, *, domains: Sequence[str] | None = None
) -> list[DomainReport]:
    """Return the reports of the domains named, else of the most recently active ones.

    Raises:
        PolicyNotFound: the store has no policy of that name.
        StoreError: the store could not answer.
    """
    meta = store.open(find_policy(store, policy)).meta
    algorithm = build(meta.settings, meta.layers, credits=meta.calibrated)
    names = store.domains(limit=_MOST) if domains is None else domains
    records = store.read(names)
    pool = store.totals().stats
    return [domain_report(name, records[name], meta, algorithm, pool=pool) for name in names]


def broken_gates(
    store: PolicyAdmin, promise_of: Callable[[str], float]
) -> Iterator[tuple[str, str]]:
    """Yield the domains whose gate has closed because it broke its promise, and what to know.

    Args:
        store: Has opened a policy.
        promise_of: The promise of a domain's gate; 0: it has none.
    """
    meta, pool = store.describe().meta, store.totals().stats
    algorithm = build(meta.settings, meta.layers, credits=meta.calibrated)
    for found, _ in read_pages(store):
        for name, snapshot in found.items():
            exit_ = exit_of(snapshot, algorithm, pool=pool)
            gate = gate_report(snapshot, meta, exit_, promise_of(name))
            if gate and gate.broken:
                yield name, gate.warning
