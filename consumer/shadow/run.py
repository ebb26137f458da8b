"""Follows the predictions of the live model, looks their texts up, and compares."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidEvent, InvalidSettings
from consumer.events.predictions import prediction_of_any
from consumer.kafka.predicted_to import where_predicted
from consumer.kafka.reading.follow import FollowedTopics, RecordLookup
from consumer.offramp import parser_of
from consumer.opening import load_engine, open_store
from consumer.process.log_lines import log_to_stderr
from consumer.process.signals import START_S, Heed, Stopped
from consumer.routes.route import route_for
from consumer.shadow.compare import Answered, Comparison, is_sampled
from consumer.worker.waiting import UNREACHABLE, Trouble, is_final
from policy_state.shadowed import ComparedModel
from policy_state.store.reading import find_policy
from policy_state.store.redis.shadow import RedisShadow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from consumer.events.codec import EventBody
    from consumer.events.predictions import ReadPrediction
    from consumer.events.record import Record
    from consumer.opening import Inference
    from consumer.routes.route import Route
    from consumer.settings.load import Settings
    from policy_state.store.redis.store import RedisStore

log = logging.getLogger("offramp.shadow")

_BATCH: Final = 256  # texts compared at once, about
_POLL_S: Final = 0.2
_LOOK_S: Final = 60.0  # until routes, topics and live models are looked for again


@dataclass(frozen=True, slots=True)
class ShadowOptions:
    """What a shadow is asked to do."""

    share: float = 0.05  # of the predictions
    since_ms: int = 0  # a partition that was never read begins with predictions as young as this
    texts: int | None = None  # the shadow ends after so many; None: at a signal
    names: Mapping[str, str] = field(default_factory=dict)  # see `Comparison`
    wait_s: float = 5.0  # for the texts of a batch: fewer and larger ones cost brokers less


def run_shadow(
    settings: Settings,
    options: ShadowOptions,
    *,
    log_level: str,
    engine: Inference | None = None,
) -> None:
    """Compare until a signal, or until enough texts are compared; a signal may come at any time.

    Args:
        settings: Of the workers, with the new model.
        options: What to compare.
        log_level: debug, info, warning or error.
        engine: The new model; by default the one that the settings name.

    Raises:
        ConsumerError, PolicyStateError, ModelError: it cannot start, or cannot continue.
    """
    log_to_stderr(log_level, form=settings.log.format, instance=settings.instance)
    try:
        Heed(code=0, within_s=START_S).begin()
        with open_store(settings) as store:
            find_policy(store, settings.policy.name)  # loading a model takes longer
            shadow = Shadow(settings, options, store, engine or load_engine(settings))
            trouble = Trouble(give_up_s=settings.worker.give_up_s)
            while not shadow.done:
                try:
                    shadow.follow(for_s=_LOOK_S, counted=trouble.committed)
                except UNREACHABLE as error:
                    pause_s = None if is_final(error) else trouble.failed()
                    if pause_s is None:
                        raise
                    log.warning("shadow tries again pause_s=%g error=%s", pause_s, error)
                    time.sleep(pause_s)
    except Stopped as stopped:
        log.info("shadow stopped by=%s", stopped)


class Shadow:
    """A new model in the shadow of the live ones of a policy."""

    def __init__(
        self, settings: Settings, options: ShadowOptions, store: RedisStore, engine: Inference
    ) -> None:
        """Take the new model.

        Raises:
            InvalidSettings: It is the live model, or has no such label.
        """
        self._settings = settings
        self._options = options
        self._store = store
        self._comparison = Comparison(engine, options.names)
        self._shadow = RedisShadow(store.server, settings.policy.name)
        self._parse = parser_of(settings.kafka)
        self._left_out = Counter[str]()  # since the last line of the log, by reason
        self._texts = 0
        new, meta = self._comparison.model, store.find(settings.policy.name)
        if meta is not None and meta.fingerprint == new.fingerprint:
            raise InvalidSettings(
                f"{settings.model.path} is the live model of policy {meta.name} (fingerprint "
                f"{new.fingerprint}): name the new one with --model"
            )
        log.info(
            "shadow model=%s layers=%s policy=%s share=%g",
            new.fingerprint,
            ",".join(map(str, new.layers)),
            settings.policy.name,
            options.share,
        )

    @property
    def done(self) -> bool:
        """Whether as many texts were compared as were asked for."""
        return self._options.texts is not None and self._texts >= self._options.texts

    def follow(self, *, for_s: float, counted: Callable[[], None] = lambda: None) -> None:
        """Compare for a while, by the routes and the live models that there are now.

        It begins where the last text was counted, so it may be called again after any failure.

        Args:
            for_s: In seconds.
            counted: Called whenever something is counted.

        Raises:
            ConsumerError, PolicyStateError: it cannot continue.
        """
        kafka = self._settings.kafka
        routes = self._settings.group_routes.in_force(self._store).routes
        topics = where_predicted(self._settings, routes, ()).topics
        if not topics:
            raise InvalidSettings(
                "no topic of predictions exists yet; `offramp topics init` creates them"
            )
        models = self._live_models()
        with FollowedTopics(kafka, topics) as predictions, RecordLookup(kafka) as inputs:
            known = self._shadow.positions(self._comparison.model.fingerprint)
            predictions.begin(known, since_ms=self._options.since_ms)
            self._count(predictions, [], models)
            counted()
            until = time.monotonic() + for_s
            while time.monotonic() < until and not self.done:
                answers = self._sample(predictions, models)
                self._count(predictions, list(self._texts_of(inputs, answers, routes)), models)
                counted()

    def _live_models(self) -> Mapping[str, ComparedModel]:
        """Return the models of all policies but the new one, by fingerprint."""
        return {
            meta.fingerprint: ComparedModel(
                meta.fingerprint, meta.layers, meta.classes, meta.calibrated
            )
            for meta in self._store.policies()
            if meta.fingerprint != self._comparison.model.fingerprint
        }

    def _sample(
        self, predictions: FollowedTopics, models: Mapping[str, ComparedModel]
    ) -> list[ReadPrediction]:
        """Return the next predictions of the share."""
        exits = {fingerprint: model.exits for fingerprint, model in models.items()}
        found: list[ReadPrediction] = []
        until = time.monotonic() + self._options.wait_s
        while len(found) < _BATCH and time.monotonic() < until:
            for record in predictions.poll(timeout_s=_POLL_S):
                if not is_sampled(record, predictions.ids[record.topic], self._options.share):
                    continue
                answer = prediction_of_any(record.value, exits)
                if answer is None or answer.source is None or answer.label_name is None:
                    self._left_out["not_live"] += 1
                else:
                    found.append(answer)
        return found

    def _texts_of(
        self, inputs: RecordLookup, answers: Sequence[ReadPrediction], routes: Collection[Route]
    ) -> Iterator[Answered]:
        """Yield the texts that were predicted, as far as they can still be read."""
        wanted: defaultdict[tuple[str, int], dict[int, ReadPrediction]] = defaultdict(dict)
        for answer in answers:
            source = answer.source
            if source and self._is_input(inputs, source.topic, source.topic_id, routes):
                wanted[source.topic, source.partition][source.offset] = answer
        found = 0
        for record in inputs.at(wanted):
            if (body := self._body(record)) is not None:
                answer = wanted[record.topic, record.partition][record.offset]
                found += 1
                yield Answered(record, body.text, answer)
        self._left_out["unreadable"] += len(answers) - found

    def _is_input(
        self, inputs: RecordLookup, topic: str, topic_id: str | None, routes: Collection[Route]
    ) -> bool:
        """Return whether texts come from a topic: a forged prediction may name any."""
        return route_for(tuple(routes), topic) is not None and inputs.known(topic, topic_id)

    def _body(self, record: Record) -> EventBody | None:
        try:
            return self._parse(record)
        except InvalidEvent:
            return None

    def _count(
        self,
        predictions: FollowedTopics,
        texts: Sequence[Answered],
        models: Mapping[str, ComparedModel],
    ) -> None:
        """Compare the texts, and write what they add with where the predictions were read up to."""
        moves = predictions.moves()
        if not moves:
            return
        compared = self._comparison.compare(texts, models)
        new = self._comparison.model
        for live in self._shadow.count(new, moves, compared.counts):
            log.warning("too many pairs of models are kept: not counted live_model=%s", live)
        predictions.counted(moves)
        self._texts += compared.texts
        if texts or self._left_out:
            log.info(
                "compared texts=%d same=%d failed=%d unreadable=%d not_live=%d behind=%d",
                *(compared.texts, compared.same, compared.failed),
                *(self._left_out["unreadable"], self._left_out["not_live"], predictions.behind),
            )
        self._left_out.clear()
