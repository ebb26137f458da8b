"""Prepares one batch while it computes another and commits a third; commits stay in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

In = TypeVar("In")
Ready = TypeVar("Ready")
Out = TypeVar("Out")


class Abandoned(Exception):
    """A batch before this one failed, so this one must not be committed."""


@dataclass(frozen=True, slots=True)
class _InFlight(Generic[In]):
    batch: In
    done: Future[None]
    since: float = field(default_factory=time.monotonic)


class _Thread:
    """One thread that does one call after another.

    Unlike an executor's thread it does not keep the process from ending: a call may hang forever.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._calls = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:  # noqa: ANN401
        done: Future[Any] = Future()
        self._calls.put((done, call, args))
        return done

    def close(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (task := self._calls.get()) is not None:
            done, call, args = task
            try:
                done.set_result(call(*args))
            except BaseException as error:  # noqa: BLE001  (whoever asks for the result gets it)
                done.set_exception(error)


class Pipeline(Generic[In, Ready, Out]):
    """Three threads, which prepare, compute and commit batches in the order they came.

    After a failure no later batch is committed until `abandon` is called.
    """

    def __init__(
        self,
        prepare: Callable[[In], Ready],
        compute: Callable[[Ready], Out],
        commit: Callable[[In, Out], None],
        *,
        depth: int = 3,
    ) -> None:
        """Prepare the threads.

        Args:
            prepare: runs while the batch before is computed.
            compute: runs while the batch before is committed.
            commit: runs after all earlier batches are committed.
            depth: how many batches may be open at once.
        """
        self._prepare = prepare
        self._compute = compute
        self._commit = commit
        self._depth = depth
        self._preparing = _Thread("offramp-prepare")
        self._computing = _Thread("offramp-compute")
        self._committing = _Thread("offramp-commit")
        self._in_flight: deque[_InFlight[In]] = deque()
        self._failed = False
        self._settled_at = 0.0
        self._finished_at = 0.0
        self.busy_s = 0.0
        """How long there was a batch to work on, up to the latest commit."""

    @property
    def has_room(self) -> bool:
        """Whether another batch may be submitted."""
        return len(self._in_flight) < self._depth

    @property
    def idle(self) -> bool:
        """Whether no batch is open."""
        return not self._in_flight

    @property
    def batches(self) -> list[In]:
        """The open batches, the oldest first."""
        return [flight.batch for flight in self._in_flight]

    @property
    def oldest_s(self) -> float:
        """How long the oldest batch has been open with none before it."""
        if not self._in_flight:
            return 0.0
        return time.monotonic() - max(self._in_flight[0].since, self._settled_at)

    def submit(self, batch: In) -> None:
        """Start a batch."""
        ready = self._preparing.submit(self._prepare, batch)
        computed = self._computing.submit(lambda: self._compute(ready.result()))
        done = self._committing.submit(self._finish, batch, computed, time.monotonic())
        self._in_flight.append(_InFlight(batch, done))

    def settle(self) -> int:
        """Forget the batches that are committed, and return how many there were.

        Raises:
            Exception: the error that the oldest batch failed with.
        """
        settled = 0
        while self._in_flight and self._in_flight[0].done.done():
            self._in_flight[0].done.result()
            self._in_flight.popleft()
            self._settled_at = time.monotonic()
            settled += 1
        return settled

    def wait(self, timeout_s: float) -> bool:
        """Wait for the oldest batch, at most for `timeout_s`; return whether it is done."""
        if not self._in_flight:
            return True
        return bool(wait([self._in_flight[0].done], timeout=timeout_s).done)

    def abandon(self, *, timeout_s: float) -> list[In]:
        """Return the batches that are not committed, once nothing runs any more.

        Raises:
            TimeoutError: something still runs after `timeout_s`.
        """
        if wait([flight.done for flight in self._in_flight], timeout=timeout_s).not_done:
            raise TimeoutError(f"a batch was not finished in {timeout_s:.0f} s")
        left = [f.batch for f in self._in_flight if f.done.exception() is not None]
        self._in_flight.clear()
        self._failed = False
        return left

    def close(self) -> None:
        """Commit nothing more and let the threads end, without waiting for open batches."""
        self._failed = True
        self._preparing.close()
        self._computing.close()
        self._committing.close()

    def _check_order(self) -> None:
        if self._failed:
            raise Abandoned("a batch before this one failed")

    def _finish(self, batch: In, computed: Future[Out], since: float) -> None:
        try:
            result = computed.result()
            self._check_order()
            self._commit(batch, result)
        except BaseException:
            self._failed = True
            raise
        now = time.monotonic()
        self.busy_s += now - max(since, self._finished_at)
        self._finished_at = now
