"""The thread that looks at topics continues, whatever a look comes to."""

import threading

from consumer.errors import TopicRefused
from consumer.worker.obstacles import _AFTER_FAULT_S, Obstacles, TargetWatch


def test_a_look_that_fails_in_an_unforeseen_way_is_made_again():
    """A producer that is replaced meanwhile may raise anything; what stood still is tried again."""
    answers = [TopicRefused("out", "does not exist", "make it"), OSError("closed"), None]
    asked = threading.Event()

    def look(_):
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        asked.set()

    obstacles = Obstacles()
    watch = TargetWatch(look, obstacles, dead_letters="dead")
    watch.follow(["out"])
    watch.start()
    try:
        assert asked.wait(5 * _AFTER_FAULT_S)
    finally:
        watch.close()
    obstacles.try_again(busy=())
    assert not obstacles
