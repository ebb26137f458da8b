"""What stands still, until when, and what is said of it; by a clock that the test moves."""

import logging

import pytest

from consumer.events.record import Record
from consumer.worker.obstacles import Obstacle, Obstacles

ILL = Obstacle("topic out", "does not exist", "`offramp topics init`", "out", every_record=True)
SCHEMA = Obstacle("texts of b", "cannot be read", "see kafka.registry")
A0, A1, B0 = ("a", 0), ("a", 1), ("b", 0)
OUTPUTS = {A0: "out", A1: "out", B0: "other"}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def obstacles(clock):
    return Obstacles(clock=clock)


def record(partition, offset):
    topic, number = partition
    return Record(topic, number, offset, 0, None, b"text")


def keep(obstacles, outputs=OUTPUTS, busy=()):
    obstacles.keep(outputs, busy=busy, written={"out", "other", "dead"})


def test_a_topic_that_takes_nothing_holds_up_every_partition_of_its_routes(obstacles):
    """Also those that have read nothing yet, and no others."""
    obstacles.stop(ILL, {A0: 7})
    assert obstacles.standing() == {A0}
    keep(obstacles)
    assert obstacles.standing() == {A0, A1}
    assert obstacles.passable([record(A0, 7), record(B0, 1)]) == (record(B0, 1),)


def test_pauses_between_tries_grow_up_to_half_a_minute(obstacles, clock):
    """Each try that fails is followed by a longer pause, the first by a second."""
    pauses = []
    for _ in range(8):
        obstacles.stop(SCHEMA, {B0: 3})
        begun = clock.now
        while obstacles.standing():
            clock.now += 0.5
            obstacles.try_again(busy=())
        pauses.append(clock.now - begun)
    assert pauses == [1, 2, 5, 10, 20, 30, 30, 30]


def test_a_topic_is_looked_at_before_anything_is_read_for_it(obstacles, clock):
    """Until brokers tell nothing against it its partitions stand still."""
    obstacles.stop(ILL, {A0: 7})
    clock.now += 1
    assert obstacles.due_topics() == ["out"]
    obstacles.stop(ILL, {})  # it still is not there
    assert obstacles.due_topics() == []
    clock.now += 2
    obstacles.try_again(busy=())
    assert obstacles.standing() == {A0}
    obstacles.ready("out")
    obstacles.try_again(busy=())
    assert obstacles.standing() == frozenset()


def test_what_is_under_way_is_waited_for(obstacles, clock):
    """A partition continues only after all batches that it was left out of, also if it has gone."""
    obstacles.stop(SCHEMA, {B0: 3})
    clock.now += 2
    obstacles.try_again(busy={B0})
    keep(obstacles, {}, busy={B0})
    assert obstacles.standing() == {B0}
    keep(obstacles, {})
    assert obstacles.standing() == frozenset()
    assert not obstacles


def test_it_is_over_with_the_record_that_did_not_get_past(obstacles, clock, caplog):
    """One line when it begins, one a minute, one when it is over, with cause and remedy."""
    caplog.set_level(logging.INFO, "offramp.worker")
    obstacles.stop(SCHEMA, {B0: 3})
    keep(obstacles)
    clock.now += 61
    keep(obstacles)
    obstacles.try_again(busy=())
    obstacles.passed([record(B0, 2)])
    assert obstacles.said() == "texts of b cannot be read (b[0])"
    obstacles.passed([record(B0, 3)])
    assert obstacles.said() == ""
    lines = [r.getMessage() for r in caplog.records]
    said = "what='texts of b' cause='cannot be read' fix='see kafka.registry'"
    assert lines == [
        f"stands still partitions=b[0] {said} for_s=0 tries=1",
        f"stands still partitions=b[0] {said} for_s=61 tries=1",
        "continues what='texts of b' for_s=61",
    ]


def test_a_worker_without_one_partition_that_goes_on_says_so_once_a_minute(
    obstacles, clock, caplog
):
    """It lives, and whoever reads its log sees that it does nothing."""
    obstacles.stop(ILL, {})
    for _ in range(130):
        keep(obstacles, {A0: "out", A1: "out"})
        clock.now += 1
    assert caplog.text.count("all stand still") == 3


def test_each_try_that_fails_is_not_told_anew_as_all_stand_still(obstacles, clock, caplog):
    """A partition that is read for a moment to see whether it can continue stands still."""
    for _ in range(130):
        if not obstacles.standing():
            obstacles.stop(SCHEMA, {B0: 3})
        keep(obstacles, {B0: "other"})
        clock.now += 1
        obstacles.try_again(busy=())
        keep(obstacles, {B0: "other"})
    assert caplog.text.count("all stand still") == 3
