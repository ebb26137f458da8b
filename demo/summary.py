"""What came of the stream: figures of each domain, and one sentence that says why."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_state.reports.shares import Share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demo.texts import Text
    from model.engine.engine import Engine
    from policy_state.reports.domain import DomainReport

_SAMPLE = 500  # texts of a domain: enough to compare with, even where a file has 25,000


@dataclass(frozen=True, slots=True)
class Predicted:
    """One prediction of the stream."""

    domain: str
    number: int  # of its text, among the domain's
    event: str
    label: int
    exit: int
    layer: int
    same: bool | None  # of the holdout: whether the chosen exit had the label of full depth


@dataclass(frozen=True, slots=True)
class Drift:
    """A change of a domain's texts that the workers have noticed."""

    domain: str
    within: int  # texts of the later kind, at most, until it was noticed
    reason: str

    @property
    def in_words(self) -> str:
        """What has happened, as one line."""
        reason = self.reason.removeprefix("drift: ")
        return (
            f"{self.domain} has changed, noticed within {self.within:,} texts, "
            f"and is learnt anew: {reason}"
        )


@dataclass(frozen=True, slots=True)
class DomainSummary:
    """How one domain fared, or one kind of its texts. Accuracies are None without labels."""

    domain: str
    later: bool  # only its texts of the later kind; else only those before them
    events: int
    exit: int
    layer: int
    shares: tuple[float, ...]  # of the events that stopped at each exit
    layers_saved: float
    holdout: Share | None  # texts that have the label of full depth, by the holdout
    agreement: float  # the same, by running the texts to the last exit now
    accuracy: float | None
    accuracy_last: float | None
    why: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """How the whole demo fared."""

    events: int
    predictions: int
    duplicates: int
    events_per_second: float
    layers_run: int
    layers_at_full_depth: int
    agreement: float
    compute_s: float  # of the model, for the texts of all events, to the exits they had
    compute_at_full_depth_s: float  # the same, had all of them run to the last exit
    price: float  # of running all layers, in errors: the cost of the last exit
    domains: tuple[DomainSummary, ...]
    drifts: tuple[Drift, ...]


def sum_up(  # noqa: PLR0913, PLR0917  (everything there is, once)
    texts: Mapping[str, list[Text]],
    predictions: Sequence[Predicted],
    reports: Mapping[str, DomainReport],
    before: Mapping[str, DomainReport],
    drifts: Sequence[Drift],
    engine: Engine,
    *,
    total: int,
    seconds: float,
) -> Summary:
    """Return the summary; it takes a while, because it runs the texts to the last exit.

    Args:
        texts: Of each domain.
        predictions: All that the workers made.
        reports: The last report of each domain.
        before: The last one of each before its texts changed.
        drifts: That were noticed.
        engine: The model that the workers ran.
        total: Events that were sent.
        seconds: From the first prediction to the last.
    """
    domains, own_s, full_s = [], 0.0, 0.0
    engine.run([rows[0].text for rows in texts.values()], [engine.config.exits - 1] * len(texts))
    for domain, rows in texts.items():
        for later in sorted({row.later for row in rows}):
            of_it = [p for p in predictions if p.domain == domain and rows[p.number].later == later]
            if not of_it:
                continue
            sample = list({p.number: p for p in of_it}.values())[:_SAMPLE]
            _, own = _timed(engine, rows, sample, [p.exit for p in sample])
            said, full = _timed(engine, rows, sample, [engine.config.exits - 1] * len(sample))
            own_s += own * len(of_it)
            full_s += full * len(of_it)
            report = reports[domain] if later else before.get(domain, reports[domain])
            deepest = dict(zip((p.number for p in sample), said, strict=True))
            domains.append(_of_domain(report, rows, of_it, deepest, later=later))
    depth = engine.config.exit_layers[-1]
    seen = Counter(p.event for p in predictions)
    return Summary(
        events=total,
        predictions=len(predictions),
        duplicates=sum(count - 1 for count in seen.values()),
        events_per_second=total / seconds,
        layers_run=sum(p.layer for p in predictions),
        layers_at_full_depth=len(predictions) * depth,
        agreement=sum(d.agreement * d.events for d in domains) / max(1, len(predictions)),
        compute_s=own_s,
        compute_at_full_depth_s=full_s,
        price=max((r.exits[-1].cost for r in reports.values()), default=0.0),
        domains=tuple(domains),
        drifts=tuple(drifts),
    )


def _timed(
    engine: Engine, rows: Sequence[Text], sample: Sequence[Predicted], exits: Sequence[int]
) -> tuple[list[int], float]:
    """Return the labels of the sample's texts at some exits, and the seconds each took."""
    begun = time.perf_counter()
    results = engine.run([rows[p.number].text for p in sample], exits)
    return [r.labels[-1] for r in results], (time.perf_counter() - begun) / len(sample)


def _of_domain(
    report: DomainReport,
    rows: Sequence[Text],
    predictions: Sequence[Predicted],
    deepest: Mapping[int, int],
    *,
    later: bool,
) -> DomainSummary:
    """Return how a domain fared, given the labels at full depth of the texts compared."""
    compared = [p for p in predictions if p.number in deepest]
    known = [p for p in compared if rows[p.number].label is not None]
    held = [p.same for p in predictions if p.same is not None]
    layers = [row.layer for row in report.exits]
    stopped = Counter(p.exit for p in predictions)
    return DomainSummary(
        domain=report.domain,
        later=later,
        events=len(predictions),
        exit=report.exit,
        layer=report.layer,
        shares=tuple(stopped[j] / len(predictions) for j in range(len(layers))),
        layers_saved=1 - sum(p.layer for p in predictions) / (len(predictions) * layers[-1]),
        holdout=Share.of(sum(held), len(held)),
        agreement=_mean([p.label == deepest[p.number] for p in compared]) or 0.0,
        accuracy=_mean([p.label == rows[p.number].label for p in known]),
        accuracy_last=_mean([deepest[p.number] == rows[p.number].label for p in known]),
        why=why(report),
        warnings=(*_out_of_reach(rows, deepest), *report.warnings),
    )


def why(report: DomainReport) -> str:
    """Return one sentence on the exit of a domain: what depth saves up to it, and behind it."""
    here, last, first = report.exits[report.learnt], report.exits[-1], report.exits[0]
    rewards = [row.reward for row in report.exits]
    if not report.credits or report.anchor or None in rewards:
        return f"Exit {here.exit} (layer {here.layer}) has the best estimated reward."
    # A reward is the share of errors saved minus the cost, both compared with exit 0.
    saves = [(row.reward or 0.0) + row.cost - first.cost for row in report.exits]
    saved = f"{100 * saves[here.exit]:.1f} errors in 100 texts"
    price = f"{100 * (here.cost - first.cost):.1f}"
    if here is last:
        return f"All {last.layer} layers pay: they save {saved} for the price of {price}."
    deeper = max(report.exits[here.exit + 1 :], key=lambda row: row.reward or 0.0)
    more = f"{100 * (saves[deeper.exit] - saves[here.exit]):.1f}"
    dearer = f"{100 * (deeper.cost - here.cost):.1f}"
    if here is first:
        return (
            f"Layer {here.layer} is enough: down to layer {deeper.layer}, depth would save {more} "
            f"errors in 100 texts for the price of {dearer}."
        )
    return (
        f"Down to layer {here.layer}, depth saves {saved} for the price of {price}; down to "
        f"layer {deeper.layer}, it would save {more} more for {dearer}."
    )


def _out_of_reach(rows: Sequence[Text], deepest: Mapping[int, int]) -> tuple[str, ...]:
    """Return a warning if full depth is no better than one label for all texts, by the labels."""
    truth = [rows[number].label for number in deepest]
    right = Share.of(sum(rows[n].label == label for n, label in deepest.items()), len(deepest))
    if right is None or None in truth:
        return ()
    always = Counter(truth).most_common(1)[0][1] / len(truth)
    if right.low > always:
        return ()
    found = f"{right.share:.0%} of these texts, and one label for all would be about {always:.0%}"
    return (f"even full depth is right about only {found}; the model may not fit them at any exit",)


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
