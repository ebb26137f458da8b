"""Says, from counters and without labels, how far the choice of a domain can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.algorithms.arrays import Counters, constant_exits
from policy_state.algorithms.bounds import certain_rest, certain_upper_bound, last_best
from policy_state.reports.shares import Share
from policy_state.stats import COUNT_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_state.algorithms.arrays import Assessment, Bools
    from policy_state.algorithms.base import Algorithm
    from policy_state.algorithms.bounds import Exits, Floats
    from policy_state.stats import ExitStats

_SURE: Final = 3.0
"""The number of standard errors from which a difference is reported."""


@dataclass(frozen=True, slots=True)
class Falling:
    """Disagreement with exit 0 that falls from one exit to a deeper one: one of the two errs."""

    exit: int
    deeper: int
    fall: float  # share of texts, on the same texts


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether two rules with opposite biases choose the same exit.

    The paper's rule counts disagreement with the first exit, the other one that with the last.
    Under Strong Dominance both are right. Where they differ it does not hold well enough here.
    """

    first_anchored: int
    last_anchored: int

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        return self.first_anchored == self.last_anchored


@dataclass(frozen=True, slots=True)
class Confidence:
    """How clear the choice is: the runner-up, and what would make it the choice."""

    runner_up: int
    margin: float  # of estimated reward
    texts_to_flip: int  # that would all have to run deep and speak against the choice


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What speaks for and against a domain's choice. None: not enough is known."""

    two_classes: bool  # no label above 1 was seen: all that is said of Strong Dominance needs it
    violations: Share | None  # texts that surely violate Strong Dominance, at least so many
    falling: tuple[Falling, ...]
    constant: tuple[int, ...]  # exits that say the same of every text
    screened: tuple[int, ...]  # those of them that the policy leaves out
    agreement: Share | None  # of the chosen exit with the last one, on texts that reached both
    extra_error: tuple[float, ...] | None  # per exit: at most so much more than the last exit's
    certificate: Certificate | None
    confidence: Confidence | None
    drifts: int  # how often the domain was started afresh because it had drifted
    resets: int  # how often by hand

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know, one sentence each."""
        found = []
        if self.constant:
            found += [
                f"exit {exit_} gives (nearly) all texts the same label"
                + (" and is never chosen" if exit_ in self.screened else "")
                + "; train the model with a higher learning rate for its heads"
                for exit_ in self.constant
            ]
            if 0 in self.screened:
                found.append("exits are compared with the last exit, because exit 0 shows nothing")
        proof = ", so Strong Dominance does not hold" if self.two_classes else ""
        found += [
            f"exit {fall.exit} disagrees with exit 0 on {fall.fall:.1%} more of the texts than the "
            f"deeper exit {fall.deeper}; one of the two is wrong there{proof}"
            for fall in self.falling
        ]
        if self.certificate and not self.certificate.holds:
            first, last = self.certificate.first_anchored, self.certificate.last_anchored
            found.append(
                f"exit {first} is best if exits are compared with the first one, but exit {last} "
                "if they are compared with the last one; labels show which is right"
            )
        return tuple(found)


def diagnose(  # noqa: PLR0913 - the counters, and what is known besides
    stats: ExitStats,
    assessment: Assessment,
    costs: Sequence[float],
    *,
    credits: bool = False,
    epoch: int = 0,
    drifts: int = 0,
) -> Diagnosis:
    """Return what the counters say of the choice that `assessment` holds.

    Args:
        stats: Counters of the domain.
        assessment: Of them, by the algorithm.
        costs: Of every exit, weighted.
        credits: Whether the algorithm goes by credits. It then does not rely on Strong Dominance,
            and nothing is said of that.
        epoch: How often the domain was started afresh, by whomever.
        drifts: How often because it had drifted.
    """
    counters, last = Counters.of(stats), stats.exits - 1
    full = stats.observed[last]
    two_classes = not any(stats.high)
    # Of two labels one that comes back to exit 0's after leaving it was wrong before or is wrong
    # now. A text may come back at several exits, so only those of one exit are surely different.
    returns = max(range(stats.exits), key=lambda j: stats.lost[j])
    priced = any(index is not None for index in assessment.indices)  # not by a tolerance
    return Diagnosis(
        two_classes=two_classes,
        violations=(
            Share.of(stats.lost[returns], stats.observed[returns])
            if last > 1 and two_classes and not credits
            else None
        ),
        falling=() if credits else falling_disagreement(counters),
        constant=tuple(np.flatnonzero(constant_exits(counters)).tolist()),
        screened=assessment.screened,
        agreement=Share.of(full - min(full, stats.apart[assessment.exit]), full),
        extra_error=_extra_error(counters, credits=credits) if full else None,
        certificate=(
            _certificate(counters, assessment, costs) if full and priced and not credits else None
        ),
        confidence=_confidence(stats, assessment, costs, credits=credits),
        drifts=drifts,
        resets=max(0, epoch - drifts),
    )


def falling_disagreement(counters: Counters) -> tuple[Falling, ...]:
    """Return the exits whose disagreement with exit 0 surely falls towards a deeper one.

    The steps between two exits are taken on the same texts; of the deeper exits the one with the
    clearest fall is told.
    """
    found = []
    for exit_, falls, clear in _falls(counters):
        if clear.max() > 0:
            at = int(clear.argmax())
            found.append(Falling(exit_, exit_ + 1 + at, float(falls[at])))
    return tuple(found)


def alarmed(counters: Counters, algorithm: Algorithm) -> Bools:
    """Return which of many domains `Diagnosis.warnings` says anything of."""
    alarms = [constant_exits(counters).any(axis=-1)]
    if not algorithm.credits:
        alarms += [clear.max(axis=-1) > 0 for _, _, clear in _falls(counters)]
    if algorithm.priced and not algorithm.credits:
        screened = algorithm.screened(counters)
        first, last = _two_choices(counters, screened, algorithm.costs)
        known = ~screened[..., 0] & (counters.observed[..., -1] > 0)
        alarms.append((first != last) & known)
    found: Bools = np.logical_or.reduce(alarms)
    return found


def _falls(counters: Counters) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield exits, how far disagreement falls to each deeper one, and what is sure of it."""
    observed = np.maximum(counters.observed, 1)
    steps = (counters.gained - counters.lost) / observed
    variances = ((counters.gained + counters.lost) / observed - steps**2) / observed
    for exit_ in range(1, observed.shape[-1] - 1):
        falls = -steps[..., exit_ + 1 :].cumsum(axis=-1)
        errors = np.sqrt(variances[..., exit_ + 1 :].cumsum(axis=-1))
        seen = counters.observed[..., exit_ + 1 :] > 0
        yield exit_, falls, np.where(seen, falls - _SURE * errors, -1)


def _extra_error(counters: Counters, *, credits: bool) -> tuple[float, ...]:
    """Return the most that each exit errs more than the last one, by whichever bound is lower."""
    full = counters.observed[-1:]
    most = certain_upper_bound(counters.apart / full, full)
    if credits:
        _, upper = certain_rest(counters.observed, *counters.steps(credits=True))
        most = np.minimum(most, upper)
    return tuple(most.tolist())


def _certificate(
    counters: Counters, assessment: Assessment, costs: Sequence[float]
) -> Certificate | None:
    if 0 in assessment.screened:  # seen from exit 0 there is nothing
        return None
    screened = np.isin(np.arange(len(costs)), assessment.screened)
    return Certificate(*map(int, _two_choices(counters, screened, costs)))


def _two_choices(
    counters: Counters, screened: Bools, costs: Sequence[float]
) -> tuple[Exits, Exits]:
    """Return the exits that are best compared with the first, and compared with the last one."""
    charged = np.where(screened, np.inf, costs)
    steps = (counters.gained - counters.lost) / np.maximum(counters.observed, 1)
    last = -counters.apart / np.maximum(counters.observed[..., -1:], 1)
    values = (steps.cumsum(axis=-1) - charged, last - charged)
    by_first, by_last = (last_best(each.round(12)) for each in values)
    return by_first, by_last


def _confidence(
    stats: ExitStats, assessment: Assessment, costs: Sequence[float], *, credits: bool
) -> Confidence | None:
    """Return how clear the choice is, None where it does not rest on the rewards alone."""
    exit_ = assessment.exit
    chosen = assessment.rewards[exit_]
    # What a text that speaks against the choice takes from the difference of the two rewards. By
    # credits no text speaks for a shallower exit: at most it says that nothing is gained.
    against = {
        j: (0 if credits and j < exit_ else 1) + costs[exit_] - cost for j, cost in enumerate(costs)
    }
    rivals = [
        (reward, j)
        for j, reward in enumerate(assessment.rewards)
        if reward is not None and j != exit_ and j not in assessment.screened and against[j] > 0
    ]
    if chosen is None or assessment.indices[exit_] is None or not rivals:
        return None
    reward, runner_up = max(rivals)
    margin = chosen - reward
    if margin < 0:
        return None
    texts = stats.observed[max(runner_up, exit_, assessment.anchor)]
    needed = min(margin * texts / against[runner_up], COUNT_MAX)
    return Confidence(runner_up, margin, math.ceil(needed))
