"""The pipeline: overlap, order, and what happens behind a failure."""

import threading
import time

import pytest

from consumer.worker.pipeline import Pipeline


def finish(pipeline):
    while not pipeline.idle:
        pipeline.wait(5)
        pipeline.settle()


def test_batches_are_committed_in_order_and_once():
    """Commits come in the order of submission, each with what was computed for it."""
    done: list[tuple[int, int]] = []
    pipeline: Pipeline[int, int, int] = Pipeline(
        lambda n: n * 2, lambda n: n * 5, lambda n, r: done.append((n, r))
    )
    for n in range(20):
        while not pipeline.has_room:
            pipeline.wait(5)
            pipeline.settle()
        pipeline.submit(n)
    finish(pipeline)
    pipeline.close()
    assert done == [(n, n * 10) for n in range(20)]


def test_the_next_batch_is_computed_while_the_last_one_commits():
    """A commit that waits for the next computation comes to an end."""
    computed_next = threading.Event()

    def commit(n: int, _: object) -> None:
        assert n == 1 or computed_next.wait(5), "not overlapped"

    pipeline = Pipeline(lambda n: n, lambda n: computed_next.set() if n == 1 else None, commit)
    pipeline.submit(0)
    pipeline.submit(1)
    finish(pipeline)
    pipeline.close()


def test_the_next_batch_is_prepared_while_the_last_one_is_computed():
    """A computation that waits for the next preparation comes to an end."""
    prepared_next = threading.Event()
    done: list[tuple[int, int]] = []

    def prepare(n):
        if n == 1:
            prepared_next.set()
        return n

    pipeline = Pipeline(
        prepare, lambda n: n == 1 or prepared_next.wait(5), lambda n, well: done.append((n, well))
    )
    pipeline.submit(0)
    pipeline.submit(1)
    finish(pipeline)
    pipeline.close()
    assert done == [(0, True), (1, True)]


@pytest.mark.parametrize("stage", ["prepare", "compute", "commit"])
def test_nothing_behind_a_failure_is_committed(stage):
    """The failing batch and those behind it are given back, and afterwards all continues."""
    done: list[int] = []
    broken = [True]

    def fail(n, where):
        if where == stage and n == 1 and broken[0]:
            raise OSError("broken")

    def commit(n, _):
        fail(n, "commit")
        done.append(n)

    def prepare(n):
        fail(n, "prepare")
        return n

    pipeline = Pipeline(prepare, lambda n: fail(n, "compute"), commit)
    for n in range(3):
        pipeline.submit(n)
    with pytest.raises(OSError, match="broken"):
        finish(pipeline)
    assert pipeline.abandon(timeout_s=5) == [1, 2]
    assert done == [0]
    broken[0] = False
    for n in (1, 2):
        pipeline.submit(n)
    finish(pipeline)
    pipeline.close()
    assert done == [0, 1, 2]


def test_time_with_several_batches_open_counts_once():
    """The time at work is never longer than the time that went by, however many batches overlap."""
    begun = time.monotonic()
    pipeline: Pipeline[int, int, None] = Pipeline(
        lambda n: n, lambda _: time.sleep(0.02), lambda *_: None
    )
    for n in range(3):
        pipeline.submit(n)
    finish(pipeline)
    pipeline.close()
    assert 0.06 <= pipeline.busy_s <= time.monotonic() - begun
