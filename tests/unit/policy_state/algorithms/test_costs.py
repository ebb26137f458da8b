"""Cost vectors: the paper's two settings, explicit ones, and clear refusals."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_state.algorithms.costs import cost_vector
from policy_state.errors import InvalidInput

LAYERS = (1, 3, 7, 12)


def test_layers_is_the_share_of_the_network() -> None:
    """`layers` costs layer / last layer, the paper's CS-1."""
    assert cost_vector("layers", LAYERS) == (1 / 12, 3 / 12, 7 / 12, 1.0)


def test_split_is_half_up_to_layer_seven() -> None:
    """`split` costs 0.5 up to layer 7 and 1 after it, the paper's CS-2."""
    assert cost_vector("split", LAYERS) == (0.5, 0.5, 0.5, 1.0)


@given(weight=st.floats(0, 1e6), spec=st.sampled_from(["layers", "split", (0.0, 0.1, 2, 3)]))
def test_the_weight_multiplies_every_cost(weight: float, spec: str | tuple[float, ...]) -> None:
    """A weight scales the whole vector and nothing else."""
    unweighted = cost_vector(spec, LAYERS)
    assert cost_vector(spec, LAYERS, weight=weight) == tuple(weight * c for c in unweighted)


@given(layers=st.sets(st.integers(1, 48), min_size=1).map(sorted))
def test_deeper_never_costs_less(layers: list[int]) -> None:
    """Both named settings rise with depth and end at 1 for a network of its own last layer."""
    by_layer = cost_vector("layers", layers)
    assert list(by_layer) == sorted(by_layer)
    assert by_layer[-1] == 1
    assert list(cost_vector("split", layers)) == sorted(cost_vector("split", layers))


def test_wrong_length_names_both_numbers() -> None:
    """An explicit vector must have one cost per exit; the message says how many there are."""
    with pytest.raises(InvalidInput, match=r"3 costs for 4 exits \(layers \(1, 3, 7, 12\)\)"):
        cost_vector((0.1, 0.2, 0.3), LAYERS)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1])
def test_costs_are_finite_and_not_negative(bad: float) -> None:
    """A cost or a weight that is no finite number of 0 or more is refused, with its place."""
    with pytest.raises(InvalidInput, match="cost of exit 2"):
        cost_vector((0.1, 0.2, bad, 1), LAYERS)
    with pytest.raises(InvalidInput, match="cost weight"):
        cost_vector("layers", LAYERS, weight=bad)


@pytest.mark.parametrize("bad", ["x", [1], None, True])
def test_costs_are_numbers(bad: Any) -> None:
    """What is no number is refused in the same words, with its place; so is what is no list."""
    with pytest.raises(InvalidInput, match="cost of exit 2"):
        cost_vector((0.1, 0.2, bad, 1), LAYERS)
    with pytest.raises(InvalidInput, match="cost weight"):
        cost_vector("layers", LAYERS, weight=bad)
    with pytest.raises(InvalidInput, match="expected layers, split or one number per exit"):
        cost_vector(5, LAYERS)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [(), (0, 3), (3, 3), (7, 3)])
def test_layers_rise_from_one(layers: tuple[int, ...]) -> None:
    """Layers that are none, not rising or below 1 are refused."""
    with pytest.raises(InvalidInput, match="layers"):
        cost_vector("layers", layers)


def test_an_unknown_setting_lists_the_known() -> None:
    """A misspelt name is answered with what there is."""
    with pytest.raises(InvalidInput, match="'layer' is unknown, expected layers, split or"):
        cost_vector("layer", LAYERS)
