"""Races between kernels: the clearly faster one is taken, what a build of torch lacks is not."""

from __future__ import annotations

from itertools import cycle
from types import SimpleNamespace
from typing import Any, Never

import pytest
import torch
from torch.profiler import profile

from model.engine.attention import fastest_attention, kernels_of, offset_kernels, two_products
from model.engine.encoder import PackedEncoder
from model.engine.engine import Engine
from model.engine.kernels import bf16_wins, fastest, fastest_builder, plain, prepacked
from model.errors import InvalidOptions
from tests.support.tiny_model import tiny_config, tiny_network, write_tiny_model

CPU = torch.device("cpu")
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize(
    ("second_s", "winner"), [(0.5, "second"), (0.9, "first"), (1.0, "first"), (2.0, "first")]
)
def test_another_wins_only_where_it_is_clearly_faster(second_s: float, winner: str) -> None:
    """By less than the margin the first one stays; the best of the rounds counts."""
    now_s = 0.0

    def takes(*each_time_s: float):
        spent_s = cycle(each_time_s)

        def run() -> None:
            nonlocal now_s
            now_s += next(spent_s)

        return run

    runners = {"first": takes(1.0), "second": takes(50.0, second_s, 70.0)}
    assert fastest(runners, margin=1.2, clock=lambda: now_s) == winner


def test_the_builder_that_wins_is_taken() -> None:
    """Both kernels run in the race, and whichever wins builds the layers."""
    for winner, builder in (("plain", plain), ("prepacked", prepacked)):
        found = fastest_builder(torch.float32, CPU, width=32, race=lambda *_, **__: winner)  # noqa: B023
        assert found is builder


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, NotImplementedError])
def test_without_the_private_operators_the_public_one_does_the_work(
    error: type[Exception],
) -> None:
    """A build of torch that lacks or refuses oneDNN's operators still runs."""

    def missing(*_: object) -> Never:
        raise error("no such operator")

    builders: dict[str, Any] = {"prepacked": missing, "plain": plain}
    assert fastest_builder(torch.float32, CPU, width=32, builders=builders) is plain


def test_bf16_is_taken_where_it_wins() -> None:
    """On a CPU the race decides, and fp32 has the right of the first."""
    asked = []

    def race(runners, *, margin):
        asked.append(list(runners))
        return winner

    for winner in ("fp32", "bf16"):
        assert bf16_wins(CPU, width=32, race=race) is (winner == "bf16")
    assert asked == [["fp32", "bf16"]] * 2


@pytest.mark.parametrize(("first_win", "least"), [(0, 32), (2, 128), (9, 1000)])
def test_products_attend_from_the_length_on_at_which_they_win(first_win: int, least: int) -> None:
    """Shorter texts are left to fused attention, all of them where products never win."""
    races = iter(range(10))

    def race(runners, *, margin):
        return two_products.__name__ if next(races) >= first_win else "fused"

    attend = fastest_attention(torch.float32, heads=2, size=4, race=race)
    for length in (31, 32, 64, 127, 128, 256, 300):
        q = torch.randn(1, 2, length, 4)
        with profile(acc_events=True) as seen:
            attend(q, q, q, torch.empty(1, length, 2, 4))
        ran = any(event.key == "aten::bmm" for event in seen.key_averages())
        assert ran is (length >= least), length


class Flash:
    """What aten's operator over offsets looks like, with the arguments of one build of torch."""

    def __init__(self, arguments: str) -> None:
        schema = f"made_up::flash({arguments}) -> Tensor"
        self.default = SimpleNamespace(_schema=torch._C.parse_schema(schema))

    def __call__(self, *inputs, **named):
        return (*inputs, named), "no answer"


def varlen_now(*inputs, scale=None, window_size=(-1, -1), num_splits=None):
    return inputs, {"scale": scale, "num_splits": num_splits}


def varlen_2_11(*inputs, scale=None, window_size=(-1, -1)):
    return inputs, {"scale": scale}


def varlen_without_scale(*inputs, window_size=(-1, -1)):
    return inputs, {}


def test_attention_over_offsets_takes_what_the_build_has() -> None:
    """Scores stay unscaled and sums unsplit by whichever arguments there are, the public one first.

    An operator that cannot be told the scale is not taken: it would scale a second time.
    """
    old = Flash("Tensor query, *, float? scale=None")
    new = Flash("Tensor query, *, float? scale=None, int? num_splits=None")
    once, unsplit = {"scale": 1.0}, {"scale": 1.0, "num_splits": 1}
    for varlen, flash, names, given in (
        (varlen_now, new, ["varlen", "flash"], [unsplit, unsplit]),
        (varlen_2_11, old, ["varlen", "flash"], [once, once]),
        (varlen_without_scale, old, ["flash"], [once]),
        (None, new, ["flash"], [unsplit]),
        (varlen_now, None, ["varlen"], [unsplit]),
        (None, None, [], []),
    ):
        kernels = kernels_of(varlen, flash)
        assert list(kernels) == names
        assert [kernel("q", "k")[-1] for kernel in kernels.values()] == given
    assert kernels_of(None, new)["flash"]("q", "k")[:-1] == ("q", "k", 0.0, False, False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("asked", ["varlen", "flash"])
def test_attention_that_cannot_run_here_is_refused(asked: str) -> None:
    """A CPU has no kernel over offsets: it takes blocks, and says so."""
    with pytest.raises(InvalidOptions, match=f"attention is '{asked}', on this machine: blocks"):
        PackedEncoder(tiny_network(tiny_config()), precision="bf16", device=CPU, attention=asked)


@ON_GPU
@pytest.mark.parametrize(
    ("dtype", "size", "runs"),
    [(torch.bfloat16, 64, True), (torch.bfloat16, 12, False), (torch.float32, 64, False)],
)
def test_attention_over_offsets_is_for_bf16_and_even_heads(dtype, size, runs) -> None:
    """Other precisions and odd heads take the attention that runs everywhere."""
    recent = torch.cuda.get_device_capability() >= (8, 0)
    assert bool(offset_kernels(dtype, size=size, device=torch.device("cuda"))) is (runs and recent)


@ON_GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_an_engine_on_cuda_says_what_the_cpu_does(tmp_path, precision: str) -> None:
    """The whole way through a GPU, in several batches, gives the CPU's scores up to rounding."""
    folder = write_tiny_model(tmp_path)
    texts = [" ".join(["good", "bad", "film"][i % 3 :] * (1 + i % 7)) for i in range(200)]
    exits = [i % 3 for i in range(200)]
    there = Engine(folder, device="cuda", precision=precision, max_batch_tokens=300)
    here = Engine(folder, device="cpu")
    for a, b in zip(here.run(texts, exits), there.run(texts, exits), strict=True):
        assert (a.tokens, a.truncated, len(a.labels)) == (b.tokens, b.truncated, len(b.labels))
        assert a.scores == pytest.approx(b.scores, abs=0.05)
