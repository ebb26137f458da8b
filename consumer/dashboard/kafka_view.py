"""What the dashboard shows of Kafka: how far the group is behind, and dead letters by class."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.dlq import letter_facts
from consumer.cli.output import document
from consumer.cli.topics import listed_topics
from consumer.errors import StreamUnavailable
from consumer.kafka.dead_letters import read_letters
from consumer.status.looking import letters_of_the_hour, overview_of
from policy_state.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumer.kafka.dead_letters import Recent
    from consumer.kafka.group.overview import GroupOverview
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from policy_state.store.redis.store import RedisStore

_KEPT_S: Final = 10.0
_MOST_LETTERS: Final = 20_000
_SHOWN_LETTERS: Final = 50
_OF_A_TEXT: Final = ("key", "value", "headers")


@dataclass(frozen=True, slots=True)
class Seen:
    """What Kafka knows of a group; None: it was not asked, or `errors` says why not."""

    overview: GroupOverview | None = None
    letters: Recent | None = None  # of the last hour
    errors: Mapping[str, Exception] = field(default_factory=dict)


class KafkaView:
    """Asks Kafka at most every ten seconds, however many pages are open."""

    def __init__(
        self, settings: Settings, store: RedisStore, *, asked: bool = False, texts: bool = False
    ) -> None:
        """Ask nothing yet.

        Args:
            settings: Where Kafka is, and the group.
            store: Has the positions of the group.
            asked: Whether Kafka is to be asked at all.
            texts: Whether dead letters are shown with their texts.
        """
        self._settings = settings
        self._store = store
        self._texts = texts
        self._kept: dict[str, tuple[float, Any]] = {}
        self._lock = Lock()
        self.asked = asked

    def topics(self) -> dict[str, Any]:
        """Return what `topics list` gives.

        Raises:
            InvalidInput: Kafka is not to be asked.
            StreamUnavailable: it does not answer.
        """
        found: dict[str, Any] = self._fresh("topics", self._topics)
        return found

    def dead_letters(self) -> dict[str, Any]:
        """Return how many dead letters there are of each class, and the latest ones.

        Raises:
            InvalidInput: Kafka is not to be asked.
            StreamUnavailable: it does not answer, or has no such topic.
        """
        found: dict[str, Any] = self._fresh("letters", self._dead_letters)
        return found

    def _fresh(self, name: str, find: Callable[[], Any]) -> Any:  # noqa: ANN401 - what it finds
        if not self.asked:
            raise InvalidInput(
                "this dashboard does not ask Kafka; start it with --bootstrap-servers"
            )
        with self._lock:  # the others wait for the one who asks
            found_s, found = self._kept.get(name, (0.0, None))
            if found is None or time.monotonic() - found_s > _KEPT_S:
                try:
                    found = find()
                except StreamUnavailable as error:  # so that they do not wait in turn for nothing
                    found = error
                self._kept[name] = (time.monotonic(), found)
        if isinstance(found, StreamUnavailable):
            raise found.with_traceback(None)
        return found

    def group(self, table: RouteTable | None) -> Seen:
        """Return what `status` asks of Kafka; nothing if it is not to be asked."""
        if not self.asked:
            return Seen()
        found: Seen = self._fresh("group", lambda: self._group(table))
        return found

    def _group(self, table: RouteTable | None) -> Seen:
        kafka = self._settings.kafka
        try:
            overview = overview_of(kafka, table, self._store.positions)
        except StreamUnavailable as error:
            return Seen(errors={"kafka": error})
        try:
            return Seen(overview, letters_of_the_hour(kafka))
        except StreamUnavailable as error:
            return Seen(overview, errors={"letters": error})

    def _topics(self) -> dict[str, Any]:
        settings = self._settings
        table = settings.group_routes.in_force(self._store)
        rows = listed_topics(settings.kafka, table, self._store)
        return document("topics-list", rows, rows_name="topics", group=settings.kafka.group)

    def _dead_letters(self) -> dict[str, Any]:
        classes: Counter[tuple[str, str]] = Counter()
        latest: deque[dict[str, Any]] = deque(maxlen=_SHOWN_LETTERS)
        more = False
        for letters, letter in enumerate(read_letters(self._settings.kafka)):
            if more := letters == _MOST_LETTERS:
                break
            error = letter.error
            classes[error.get("stage", "unknown"), error.get("class", "unknown")] += 1
            facts = letter_facts(letter) | {"source": letter.source}
            shown = {k: v for k, v in facts.items() if self._texts or k not in _OF_A_TEXT}
            latest.appendleft(shown | {"bytes": len(letter.value or b"")})
        return document(
            "dashboard-dead-letters",
            [
                {"stage": stage, "class": class_, "letters": letters}
                for (stage, class_), letters in classes.most_common()
            ],
            rows_name="classes",
            topic=self._settings.kafka.dead_letters,
            letters=classes.total(),
            more=more,
            latest=list(latest),
        )
