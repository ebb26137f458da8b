"""When errors have gone on for too long."""

import pytest

from consumer.worker.waiting import Trouble


@pytest.fixture
def clock():
    return [1_000.0]


@pytest.fixture
def trouble(clock):
    return Trouble(give_up_s=120, clock=lambda: clock[0])


def test_errors_without_a_commit_end_it(trouble, clock):
    """Pauses grow up to five seconds; after the time for it there is none."""
    pauses = []
    while (pause_s := trouble.failed()) is not None:
        pauses.append(pause_s)
        clock[0] += 10
    assert pauses == [0.1, 0.5, 1.0, 2.0] + [5.0] * 9


def test_a_commit_ends_the_trouble(trouble, clock):
    """An error after it is the first of another trouble."""
    for _ in range(3):
        assert trouble.failed() == 0.1
        clock[0] += 1_000
        trouble.committed()


def test_two_errors_hours_apart_are_two_troubles(trouble, clock):
    """Also where no text came in between, so that nothing was committed."""
    assert trouble.failed() == 0.1
    for _ in range(100):
        clock[0] += 600
        trouble.idle()
    assert trouble.failed() == 0.1


def test_idling_for_a_moment_ends_no_trouble(trouble, clock):
    """Between an error and the next try there is nothing to do: that is no recovery."""
    paused = 0
    while trouble.failed() is not None:
        clock[0] += 20
        trouble.idle()
        paused += 1
    assert paused == 7
