"""Looks at the topics that are written to, in another thread: no batch waits for the answers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from consumer.errors import StreamUnavailable, TopicRefused, WorkerFenced
from consumer.process.rounds import Rounds
from consumer.worker.obstacles import Obstacle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from consumer.worker.obstacles import Obstacles

log = logging.getLogger("offramp.worker")

_EVERY_S: Final = 0.5
_AFTER_FAULT_S: Final = 1.0


class TargetWatch(Rounds):
    """Looks once at every topic that routes write to, and again at those that stand in the way."""

    def __init__(
        self, look: Callable[[str], None], obstacles: Obstacles, *, dead_letters: str
    ) -> None:
        """Look at nothing yet.

        Args:
            look: returns if a topic may be written to, else raises TopicRefused.
            obstacles: what is found goes there.
            dead_letters: the topic that only some records go to.
        """
        super().__init__("offramp-targets", first_s=_EVERY_S)
        self._look = look
        self._obstacles = obstacles
        self._dead_letters = dead_letters
        self._unseen: list[str] = []

    def follow(self, topics: Collection[str]) -> None:
        """Look at these topics, soon."""
        self._unseen = sorted(topics)

    def _round(self) -> float:
        unseen = self._unseen
        left = [topic for topic in unseen if not self._told(topic)]
        if self._unseen is unseen:  # no others have come meanwhile
            self._unseen = left
        for topic in self._obstacles.due_topics():
            self._told(topic)
        return _EVERY_S

    def _told(self, topic: str) -> bool:
        """Look at a topic and note what is found; say whether a broker told."""
        try:
            self._look(topic)
        except TopicRefused as error:
            every_record = topic != self._dead_letters
            self._obstacles.stop(Obstacle.of(error, every_record=every_record), {})
        except (StreamUnavailable, WorkerFenced) as error:  # the worker itself finds out, and ends
            log.debug("topic not looked at topic=%s error=%s", topic, error)
            return False
        except Exception:  # else no topic would be looked at again, and all would stand still
            log.exception("topic not looked at topic=%s", topic)
            self._stopped.wait(_AFTER_FAULT_S)
            return False
        else:
            self._obstacles.ready(topic)
        return True
