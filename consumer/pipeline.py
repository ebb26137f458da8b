"""Lets the next batch compute while the last one commits; commits stay in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

In = TypeVar("In")
Out = TypeVar("Out")


class Abandoned(Exception):
    """A batch before this one failed, so this one must not be committed."""


@dataclass(frozen=True, slots=True)
class _InFlight(Generic[In]):
    batch: In
    done: Future[None]


class Pipeline(Generic[In, Out]):
    """Two threads: one computes batches, one commits them, each in the order they came.

    After a failure nothing behind it is committed until `abandon` was called.
    """

    def __init__(
        self, compute: Callable[[In], Out], commit: Callable[[In, Out], None], *, depth: int = 3
    ) -> None:
        """Prepare the threads.

        Args:
            compute: what is done to a batch; runs beside the commit of the batch before.
            commit: what follows; never before all earlier batches are committed.
            depth: how many batches may be under way.
        """
        self._compute = compute
        self._commit = commit
        self._depth = depth
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="offramp-compute")
        self._committing = ThreadPoolExecutor(1, thread_name_prefix="offramp-commit")
        self._in_flight: deque[_InFlight[In]] = deque()
        self._failed = False

    @property
    def has_room(self) -> bool:
        """Whether another batch may be submitted."""
        return len(self._in_flight) < self._depth

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._in_flight

    def submit(self, batch: In) -> None:
        """Start a batch."""
        computed = self._computing.submit(self._compute, batch)
        done = self._committing.submit(self._finish, batch, computed)
        self._in_flight.append(_InFlight(batch, done))

    def settle(self) -> int:
        """Forget the batches that are committed and return how many.

        Raises:
            Exception: what the oldest batch failed with.
        """
        settled = 0
        while self._in_flight and self._in_flight[0].done.done():
            self._in_flight[0].done.result()
            self._in_flight.popleft()
            settled += 1
        return settled

    def wait(self, timeout_s: float) -> None:
        """Return when the oldest batch is done, or after `timeout_s`."""
        if self._in_flight:
            wait([self._in_flight[0].done], timeout=timeout_s)

    def abandon(self) -> list[In]:
        """Return the batches that are not committed, once nothing runs any more."""
        wait([flight.done for flight in self._in_flight])
        left = [f.batch for f in self._in_flight if f.done.exception() is not None]
        self._in_flight.clear()
        self._failed = False
        return left

    def close(self) -> None:
        """End the threads; what is under way is not waited for."""
        self._computing.shutdown(wait=False, cancel_futures=True)
        self._committing.shutdown(wait=False, cancel_futures=True)

    def _check_order(self) -> None:
        if self._failed:
            raise Abandoned("a batch before this one failed")

    def _finish(self, batch: In, computed: Future[Out]) -> None:
        try:
            result = computed.result()
            self._check_order()
            self._commit(batch, result)
        except BaseException:
            self._failed = True
            raise
