"""Kernels in Triton compute what torch does; without a GPU, Triton's interpreter runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import accumulate, pairwise

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

if find_spec("triton") is None:
    pytest.skip("this build of torch comes without Triton", allow_module_level=True)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def kernels():
    """Return the module, interpreted where no GPU is."""
    if DEVICE.type == "cpu" and "TRITON_INTERPRET" not in os.environ:
        pytest.skip("no GPU; the last test of this file interprets them")
    from model.engine import triton_kernels

    return triton_kernels


def norm_of(width: int) -> dict:
    weight, bias = torch.randn(2, width, device=DEVICE)
    return {"weight": weight, "bias": bias, "eps": 1e-12}


@pytest.mark.parametrize("width", [32, 96, 768])
def test_a_sum_is_normalised_as_torch_does(kernels, width: int) -> None:
    """Of two tensors row by row, and of the rows that are named of each."""
    a, b = torch.randn(2, 7, width, device=DEVICE)
    norm = norm_of(width)

    def expected(x):
        return F.layer_norm(x, (width,), **norm)

    torch.testing.assert_close(
        kernels.add_norm(a, b, **norm), expected(a + b), atol=1e-5, rtol=1e-5
    )
    first, second = torch.randint(0, 7, (2, 20), device=DEVICE, dtype=torch.int32)
    torch.testing.assert_close(
        kernels.add_norm(a, b, (first, second), **norm),
        expected(a[first] + b[second]),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("one_query", [False, True])
def test_every_text_attends_to_itself_alone(kernels, one_query: bool) -> None:  # noqa: FBT001
    """Lengths below, at and above a tile, and keys and values that lie side by side."""
    lengths = [130, 64, 1, 65, 7]
    k_starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=DEVICE)
    q_starts = torch.arange(6, dtype=torch.int32, device=DEVICE) if one_query else k_starts
    dtype = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
    q = torch.randn(int(q_starts[-1]), 4, 32, device=DEVICE).to(dtype)
    k, v = torch.randn(sum(lengths), 2, 4, 32, device=DEVICE).to(dtype).unbind(1)
    out = kernels.attend(q, k, v, q_starts, k_starts, 1 if one_query else 130, 130)
    for (a, b), (c, d) in zip(
        pairwise(q_starts.tolist()), pairwise(k_starts.tolist()), strict=True
    ):
        scores = torch.einsum("qhs,khs->hqk", q[a:b].double(), k[c:d].double())
        expected = torch.einsum("hqk,khs->qhs", scores.softmax(-1), v[c:d].double())
        atol = 2e-2 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(out[a:b].double(), expected, atol=atol, rtol=atol)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="there is a GPU")
def test_an_interpreter_runs_them_without_a_gpu() -> None:
    """The tests above pass in a process of their own: Triton reads its setting when imported."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", __file__, "-k", "not interpreter"]
    environ = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if "InterpreterError" in done.stdout:
        pytest.skip("this Triton cannot interpret with this numpy")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
