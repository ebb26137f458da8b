"""Splitting ordered texts into batches of bounded size; running out of memory halves a batch."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np
import torch

from model.errors import OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

T = TypeVar("T")
B = TypeVar("B", bound="Batch")

_GROWS_AFTER = 100  # batches: where memory stays short, one in a hundred is run again in halves
_IN_FLIGHT = 2  # while the device works on one batch, the next one is packed

# What torch's allocator says, what CUDA and its libraries say beside it, and what oneDNN says where
# its scratch memory is refused: torch keeps oneDNN's words and drops its status, so a primitive
# refused for another reason reads alike. It is then refused for a single text as well, and the
# error says so.
_NO_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "could not create a primitive",
    "could not create a memory object",
    "could not execute a primitive",
)


class TokenBudget:
    """How many tokens may run at once: less after a lack of memory, then slowly more again.

    A neighbour on the machine may have taken the memory for a moment only.
    """

    def __init__(self, most: int, *, least: int) -> None:
        """Begin with `most`, which is never exceeded; never go below `least`, a single text's."""
        self.tokens = most
        self._most = most
        self._least = least
        self._gone_well = 0

    def failed(self, held: int) -> None:
        """Note that a batch of `held` tokens did not fit."""
        self.tokens = max(self._least, min(self.tokens, held // 2))
        self._gone_well = 0

    def went_well(self) -> None:
        """Note that a batch fitted; after many in a row, twice as much is tried."""
        if self.tokens == self._most:
            return
        self._gone_well += 1
        if self._gone_well == _GROWS_AFTER:
            self.tokens = min(self._most, 2 * self.tokens)
            self._gone_well = 0


def batches(
    order: NDArray[np.int64], lengths: NDArray[np.int64], *, max_tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Yield runs of `order` of at most `max_tokens` tokens together, each of one text at least."""
    ends = np.cumsum(lengths[order])
    first = before = 0
    while first < len(order):
        end = max(first + 1, int(np.searchsorted(ends, before + max_tokens, side="right")))
        yield order[first:end]
        first, before = end, int(ends[end - 1])


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on a GPU or on the CPU."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in _NO_MEMORY)


class Batch(Protocol):
    """Texts that run at once, and can be taken in parts."""

    def __len__(self) -> int:
        """Return how many texts there are."""

    def __getitem__(self, part: slice, /) -> Self:
        """Return some of them."""


def run_batches(todo: Iterator[B], launch: Callable[[B], Callable[[], T]]) -> Iterator[tuple[B, T]]:
    """Yield each batch with its result, launching one batch ahead of the one that is waited for.

    Args:
        todo: the batches; each is asked for once there is room for it.
        launch: starts a batch and returns the function that waits for its result.

    Raises:
        OutOfMemory: a single text does not fit.
    """
    waiting: deque[B] = deque()
    running: deque[tuple[B, Callable[[], T]]] = deque()
    while True:
        batch = waiting.popleft() if waiting else next(todo, None)
        if batch is not None:
            try:
                running.append((batch, launch(batch)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if running:  # their memory comes first
                    waiting.appendleft(batch)
                elif len(batch) == 1:
                    raise OutOfMemory(
                        f"a single text does not fit into memory; lower max_tokens: {error}"
                    ) from error
                else:
                    half = len(batch) // 2
                    waiting.extendleft((batch[half:], batch[:half]))
        if running and (batch is None or waiting or len(running) == _IN_FLIGHT):
            done, wait = running.popleft()
            yield done, wait()
        elif batch is None:
            return
