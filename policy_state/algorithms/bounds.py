"""Paired gains: how much deeper exits gain, each compared with the one before it on the same texts.

In the paper's letters, exits 1..K (here 0..K-1) have error rates gamma_j and costs C_j. Under
Strong Dominance the gain of exit j over the first one shows without labels, as gamma_1 - gamma_j =
P(y_j != y_1). UEE-UCB estimates it by the mean of 1{y_j != y_1} over the N_j texts that computed
exit j, and compares the means of two exits as if they came from different texts. But a text that
computes exit j computes all exits before it, so here every step is taken on the very same texts:

    step_j = mean of 1{y_j != y_1} - 1{y_(j-1) != y_1}       over the N_j texts that computed j
    gain_j = sum of step_i, i <= j                           each step from all texts it has

Where the model is calibrated the step of a text is not that 1 or -1, but its credit: what the
change of label at exit j is worth by the confidence in both labels and by the labelled texts of the
calibration, 0..1, and 0 where the label stays. The mean credit estimates gamma_(j-1) - gamma_j with
no need of Strong Dominance.

A step is 0 on most texts: its variance v_j is a fraction of that of the two means. Let L, the
leader, be the exit of the largest gain_j - C_j. What a deeper exit may gain at most is Bernstein's
bound,

    U_j = gain_j + sqrt(2 f_j V_j) + f_j / (3 N_j),  V_j = sum of v_i / N_i over L < i <= j,
    f_j = alpha ln(1 + t / N_j)                      after t texts (the rate of KL-UCB+)

Shallower exits get no bonus: playing them teaches nothing about what they lack. The next text plays
the largest U_j - C_j.

Everything works on arrays whose last axis are the exits, so that many trials of a replay go through
one call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Exits = NDArray[np.intp]

_DOUBT: Final = 0.5
"""Changed texts added to every step's variance, so that a few unchanged texts prove nothing."""

_BISECTIONS: Final = 30

DOUBT: Final = 0.05
"""How likely a bound that is looked at all the time may ever be wrong."""


class Bounds(NamedTuple):
    """What the gain of every exit is by the counters, and what it may be at most."""

    gain: Floats
    upper: Floats
    leader: Exits  # (...): the best by `gain`


def paired_bounds(  # noqa: PLR0913 - one argument per letter of the formula
    observed: Floats, sums: Floats, squares: Floats, texts: Floats, costs: Floats, *, alpha: float
) -> Bounds:
    """Return gain and U of every exit; `observed` must not hold zeros.

    Args:
        observed: N, (..., exits).
        sums: What the step to this exit gained on them, each text -1..1, (..., exits).
        squares: The same, each text squared, (..., exits).
        texts: t, (..., 1).
        costs: C, (exits,); infinite for exits that are not to be chosen.
        alpha: Width of the bound.
    """
    step = sums / observed
    variance = (squares + _DOUBT) / (observed + _DOUBT) - step * step
    variance /= observed
    gain = step.cumsum(axis=-1)
    spread = variance.cumsum(axis=-1)
    leader = last_best(gain - costs)
    spread -= np.take_along_axis(spread, leader[..., None], axis=-1)
    rate = alpha * np.log1p(texts / observed)
    bonus = np.sqrt(2 * rate * np.maximum(spread, 0)) + rate / (3 * observed)
    bonus *= np.arange(observed.shape[-1]) > leader[..., None]
    return Bounds(gain, gain + bonus, leader)


def anchored_bounds(
    full: Floats, apart: Floats, texts: Floats, costs: Floats, *, alpha: float
) -> Bounds:
    """Return minus the disagreement with the last exit, and its upper bound, of every exit.

    Under Strong Dominance P(y_j != y_K) = gamma_j - gamma_K. Only texts that ran to the last exit
    tell it, and they tell it of all exits.

    Args:
        full: Texts that ran to the last exit, not 0, (..., 1).
        apart: Those whose label differed from the last exit's, (..., exits).
        texts: t, (..., 1).
        costs: C, (exits,) or (..., exits).
        alpha: Width of the bound.
    """
    gain = -apart / full
    leader = last_best(gain - costs)
    rate = alpha * np.log1p(texts / full)
    bonus = np.sqrt(2 * rate * (apart + _DOUBT) / (full + _DOUBT) / full) + rate / (3 * full)
    bonus = bonus * (np.arange(apart.shape[-1]) != leader[..., None])
    return Bounds(gain, gain + bonus, leader)


def certain_upper_bound(mean: Floats, texts: Floats) -> Floats:
    """Return what a share may be at most, however often one looks; 1 where nothing was seen.

    Of all domains at most `DOUBT` ever see their true share above the bound, at any time.
    """
    return np.where(texts > 0, coin_upper_bound(mean, _certain_room(texts)), 1.0)


def certainly_at_most(limit: float, mean: Floats, texts: Floats) -> Bools:
    """Return whether `certain_upper_bound` is at most the limit, without working the bound out.

    How many texts that all agree it takes, by limit:

    >>> import numpy as np
    >>> texts = np.arange(1.0, 1000)
    >>> certain = [certainly_at_most(limit, 0 * texts, texts) for limit in (0.01, 0.02, 0.05)]
    >>> [int(each.argmax()) + 1 for each in certain]
    [701, 339, 128]
    """
    far = coin_divergence(mean, np.full_like(mean, limit)) >= _certain_room(texts)
    return (texts > 0) & (mean <= limit) & far


def _certain_room(texts: Floats) -> Floats:
    many = np.maximum(texts, 1)
    room: Floats = (math.log(1 / DOUBT) + 2 * np.log1p(np.log(many))) / many
    return room


def certain_rest(observed: Floats, sums: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Return what all steps behind each exit gain, and at most, by Bernstein's bound.

    The bound has the room of `certain_upper_bound`. How many texts without any step it takes:

    >>> import numpy as np
    >>> seen = np.full((1000, 2), np.arange(1.0, 1001)[:, None])
    >>> _, upper = certain_rest(seen, 0 * seen, 0 * seen)
    >>> [int(np.argmax(upper[:, 0] <= limit)) + 1 for limit in (0.01, 0.02, 0.05)]
    [496, 243, 94]

    Args:
        observed: N without zeros, (..., exits).
        sums: What the step to each exit gained on them, each text 0..1, (..., exits).
        squares: The same, each text squared, (..., exits).
    """
    step, full = sums / observed, observed[..., -1:]
    variance = np.maximum(squares / observed - step * step, 0) / observed
    # Steps may come on the same hard texts. However they do, the deviation of their sum is at most
    # the sum of their deviations.
    rest, spread = _behind(step), _behind(np.sqrt(variance)) ** 2
    room = _certain_room(full)
    spread = spread + _DOUBT / full**2
    return rest, rest + np.sqrt(2 * room * full * spread) + room / 3


def _behind(steps: Floats) -> Floats:
    """Return for each exit the sum of what stands behind it."""
    sums: Floats = steps[..., ::-1].cumsum(axis=-1)[..., ::-1] - steps
    return sums


def coin_upper_bound(mean: Floats, room: Floats | float) -> Floats:
    """Return the largest q with kl(mean, q) <= room, kl between two coins."""
    low, high = mean, np.minimum(mean + np.sqrt(room / 2), 1.0)  # Pinsker: never beyond
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        inside = coin_divergence(mean, middle) <= room
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high


def at_most_deeper(upper: Floats) -> Floats:
    """Return every bound lowered to that of any deeper exit: a deeper exit is never worse."""
    return np.minimum.accumulate(upper[..., ::-1], axis=-1)[..., ::-1]


def last_best(values: Floats) -> Exits:
    """Return the index of the largest value, the last one of equals."""
    last: Exits = values.shape[-1] - 1 - values[..., ::-1].argmax(axis=-1)
    return last


def coin_divergence(p: Floats, q: Floats) -> Floats:
    """Return kl(p, q) = p ln(p/q) + (1-p) ln((1-p)/(1-q)), with 0 ln 0 = 0."""
    tiny = np.finfo(np.float64).tiny
    q = np.clip(q, tiny, 1 - 1e-16)
    ones = p * np.log(np.maximum(p, tiny) / q)
    zeros = (1 - p) * np.log(np.maximum(1 - p, tiny) / (1 - q))
    return ones + zeros
