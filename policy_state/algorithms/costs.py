"""What it costs to let a text run up to each exit."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLIT_LAYER: Final = 7
"""Last layer of the cheap half in the paper's second cost setting (CS-2)."""


def cost_vector(
    spec: str | Sequence[float], layers: Sequence[int], *, weight: float = 1.0
) -> tuple[float, ...]:
    """Return the cost of every exit, `weight` times what `spec` says.

    Args:
        spec: `"layers"`: layer / last layer (the paper's CS-1); `"split"`: 0.5 up to layer 7, 1
            after it (the paper's CS-2); or one number per exit.
        layers: The transformer layer of every exit, 1 is the first.
        weight: How much cost counts against disagreement; 1 in the paper.

    >>> cost_vector("split", (1, 3, 7, 12))
    (0.5, 0.5, 0.5, 1.0)
    >>> cost_vector("layers", (3, 6, 12), weight=0.5)
    (0.125, 0.25, 0.5)
    """
    _check_layers(layers)
    if not _is_amount(weight):
        raise InvalidInput(f"cost weight {weight!r}, expected a finite number of 0 or more")
    if not isinstance(spec, str | tuple | list):
        raise InvalidInput(f"cost {spec!r}, expected layers, split or one number per exit")
    costs = _named(spec, layers) if isinstance(spec, str) else tuple(spec)
    if len(costs) != len(layers):
        raise InvalidInput(
            f"{counted(len(costs), 'cost')} for {counted(len(layers), 'exit')} "
            f"(layers {tuple(layers)})"
        )
    for exit_, cost in enumerate(costs):
        if not _is_amount(cost):
            raise InvalidInput(
                f"cost of exit {exit_} is {cost!r}, expected a finite number of 0 or more"
            )
    return tuple(weight * cost for cost in costs)


def _is_amount(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and value >= 0


def _named(spec: str, layers: Sequence[int]) -> tuple[float, ...]:
    if spec == "layers":
        return tuple(layer / layers[-1] for layer in layers)
    if spec == "split":
        return tuple(0.5 if layer <= SPLIT_LAYER else 1.0 for layer in layers)
    raise InvalidInput(f"cost {spec!r} is unknown, expected layers, split or one number per exit")


def _check_layers(layers: Sequence[int]) -> None:
    rising = all(a < b for a, b in pairwise(layers))
    if not layers or layers[0] < 1 or not rising:
        raise InvalidInput(f"layers {tuple(layers)}, expected at least one, rising, from 1")
