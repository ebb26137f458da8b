"""Batches are bounded, and running out of memory halves them instead of ending the run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.engine.budget import TokenBudget, batches, is_out_of_memory, run_batches
from model.errors import OutOfMemory

lengths = st.lists(st.integers(2, 40), max_size=50)


@given(lengths, st.integers(40, 200))
def test_a_batch_never_holds_more_tokens_than_allowed(lengths: list[int], max_tokens: int) -> None:
    """Every text is in one batch, in order, and no batch is over the budget."""
    order = np.random.default_rng(0).permutation(len(lengths))
    found = list(batches(order, np.array(lengths, dtype=int), max_tokens=max_tokens))
    assert [text for batch in found for text in batch] == order.tolist()
    for batch, following in pairwise(found):
        assert sum(lengths[text] for text in [*batch, following[0]]) > max_tokens
    assert all(sum(lengths[text] for text in batch) <= max_tokens for batch in found)


@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 12))
def test_running_out_of_memory_halves_the_batch_and_goes_on(
    texts: int, size: int, fits: int
) -> None:
    """Whatever number of texts fits at once, every text is answered exactly once, in order."""
    in_flight: list[int] = []

    def launch(batch: list[int]):
        if sum(in_flight) + len(batch) > fits:
            raise torch.OutOfMemoryError
        in_flight.append(len(batch))

        def wait() -> list[str]:
            in_flight.remove(len(batch))
            return [f"answer {text}" for text in batch]

        return wait

    todo = (list(range(i, min(i + size, texts))) for i in range(0, texts, size))
    answers = [
        pair for rows, found in run_batches(todo, launch) for pair in zip(rows, found, strict=True)
    ]
    assert answers == [(text, f"answer {text}") for text in range(texts)]
    assert not in_flight


def test_one_batch_is_launched_ahead() -> None:
    """While the device works on a batch, the next one is prepared; never more than that."""
    events: list[str] = []

    def launch(batch: list[int]):
        events.append(f"launch {batch[0]}")
        return lambda: events.append(f"wait {batch[0]}")

    list(run_batches(iter([[0], [1], [2]]), launch))
    assert events == ["launch 0", "launch 1", "wait 0", "launch 2", "wait 1", "wait 2"]


def test_a_text_that_does_not_fit_alone_is_an_error() -> None:
    """When halving comes to an end the error says so, with its cause."""

    def launch(batch: list[int]):
        raise torch.OutOfMemoryError("allocation failed")

    with pytest.raises(OutOfMemory, match="a single text does not fit") as caught:
        list(run_batches(iter([[0, 1, 2]]), launch))
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_a_lack_of_host_memory_is_recognised() -> None:
    """What torch raises when the CPU's memory is used up counts as running out of memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**56, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    refused = RuntimeError("could not create a primitive")  # oneDNN's words: its status is lost
    assert is_out_of_memory(refused)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_a_lack_of_gpu_memory_outside_the_allocator_is_recognised(words: str) -> None:
    """CUDA itself, cuBLAS and Triton tell it in plain errors, which halve the batch, too."""
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_other_errors_pass_through() -> None:
    """Only a lack of memory is answered by halving."""

    def launch(batch: list[int]):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(run_batches(iter([[0]]), launch))


def test_a_budget_shrinks_at_once_and_grows_back_slowly() -> None:
    """After a hundred batches that went well twice as much is tried, up to what was asked."""
    budget = TokenBudget(4096, least=512)
    budget.failed(held=3000)
    assert budget.tokens == 1500
    for _ in range(99):
        budget.went_well()
    assert budget.tokens == 1500
    budget.went_well()
    assert budget.tokens == 3000
    for _ in range(100):
        budget.went_well()
    assert budget.tokens == 4096


def test_a_budget_stays_small_while_memory_is_short() -> None:
    """A failure starts the count anew, never enlarges a batch, and a single text always may run."""
    budget = TokenBudget(4096, least=512)
    budget.failed(held=2000)
    for _ in range(99):
        budget.went_well()
    budget.failed(held=4000)
    budget.went_well()
    assert budget.tokens == 1000
    budget.failed(held=600)
    assert budget.tokens == 512
