"""Topics, settings and workers of one storm, and what was sent."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from kafka import KafkaProducer

from consumer.kafka.group.offsets import kafka_state
from consumer.settings.sections import KafkaSettings
from policy_state.errors import PolicyNotFound, StoreUnavailable
from policy_state.health.doctor import examine
from policy_state.health.findings import Severity
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import committed_records
from tests.support.topics import create_topics
from tests.support.workers.storm_fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.chaos.outcome import Report

DOMAINS = ("a", "b", "c")


@dataclass(frozen=True)
class Storm:
    """What is to happen. Times are in seconds."""

    events: int = 1_500
    partitions: int = 8
    workers: int = 3
    kills: int = 6
    zombies: int = 1
    seed: int = 0
    bad_share: float = 0.05
    new_topics: int = 1
    rolling_restarts: int = 0
    scalings: int = 0  # down to one worker, up to four, down to one
    broker_restarts: int = 0
    redis_freezes: int = 0
    gate: float = 0.0  # share of texts that keep their label at the gate of a calibrated model
    brokers: int = 1  # these and the next are of a storm of faults that meet
    faults: tuple[str, ...] = ()
    quiet_s: float = 1.0  # between two blows
    settle_s: float = 120.0  # after the last blow, until everything has to be through


class Arena:
    """Topics and settings of one storm on a running broker and Redis."""

    def __init__(
        self,
        kafka: str,
        redis_url: str,
        logs: Path,
        storm: Storm,
        *,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.prefix = f"s{time.time_ns()}"
        self.storm = storm
        self.sent: dict[str, bool] = {}  # id -> whether it can be predicted
        self.inputs: dict[str, list[str]] = {}  # by topic, the ids of what stands there
        self.gone: set[str] = set()  # ids of what stood in topics that were deleted
        self.out, self.dead = f"{self.prefix}-out", f"{self.prefix}-dead"
        self.policy_topic = f"{self.prefix}-policy"
        self.environ = {
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "OFFRAMP_KAFKA__GROUP": self.prefix,
            "OFFRAMP_KAFKA__DEAD_LETTERS": self.dead,
            "OFFRAMP_KAFKA__POLICY_TOPIC": self.policy_topic,
            "OFFRAMP_KAFKA__METADATA_MAX_AGE_S": "2",
            "OFFRAMP_KAFKA__SESSION_TIMEOUT_S": "6",
            "OFFRAMP_KAFKA__REQUEST_TIMEOUT_S": "10",
            "OFFRAMP_REDIS__URL": redis_url,
            "OFFRAMP_BATCH__MAX_EVENTS": "32",
            "OFFRAMP_ROUTES": orjson.dumps(
                [
                    {
                        "topics": rf"{self.prefix}\.in\d+",
                        "domain": "header:domain",
                        "output": self.out,
                    }
                ]
            ).decode(),
        }
        if storm.gate:  # with depth for free, so that texts are bound for the last exit
            self.environ["OFFRAMP_POLICY__GATE"] = str(storm.gate)
            self.environ["OFFRAMP_POLICY__COST"] = "[1, 1, 1]"
        self.fleet = Fleet(self.environ, logs, own=own)
        create_topics(kafka, {f"{self.prefix}.in0": storm.partitions, self.out: 3, self.dead: 1})

    def produce(self, count: int, *, topic: int = 0) -> None:
        """Write events, some of which cannot be parsed; each has an id in its key."""
        producer = KafkaProducer(bootstrap_servers=self.kafka.split(","), acks="all", linger_ms=10)
        rng = random.Random(f"{self.storm.seed}/{topic}/{len(self.sent)}")
        name = f"{self.prefix}.in{topic}"
        for _ in range(count):
            event_id = f"e{len(self.sent)}"
            good = rng.random() >= self.storm.bad_share
            self.note(event_id, name, good=good)
            text = "good film ." if rng.random() < 0.5 else "the room was not good !"
            value = orjson.dumps({"id": event_id, "text": text}) if good else b'{"text": \xff'
            producer.send(
                name,
                key=event_id.encode(),
                value=value,
                headers=[("domain", rng.choice(DOMAINS).encode())],
            )
        producer.flush(timeout=60)
        producer.close()

    def note(self, event_id: str, topic: str, *, good: bool = True) -> None:
        """Note what is sent, and where to."""
        self.sent[event_id] = good
        self.inputs.setdefault(topic, []).append(event_id)

    def forget(self, topic: str) -> None:
        """Note that a topic was deleted: what stood there may be answered, and need not be."""
        self.gone.update(self.inputs.pop(topic, ()))

    def counted(self) -> int:
        """Return how many texts the counters hold; -1 where Redis does not tell."""
        try:
            with RedisStore(self.redis_url) as store:
                return sum(r.texts for r in read_reports(store, "default"))
        except Exception:  # noqa: BLE001  (frozen or restarting: that is the storm)
            return -1

    def examine(self, report: Report, *, at_the_end: bool = False) -> None:
        """Enter what `offramp policy doctor` finds; nothing where Redis cannot tell (yet).

        Before the end there may be gaps, of what a worker holds or has left behind.
        """
        kafka = None
        if at_the_end:
            kafka = kafka_state(KafkaSettings(bootstrap_servers=self.kafka, group=self.prefix))
        try:
            with RedisStore(self.redis_url) as store:
                read_reports(store, "default", domains=[])  # opens it
                if kafka is None:
                    findings = [f for f in examine(store).findings if f.check != "gaps"]
                else:
                    known = examine(store, ends=kafka.ends, committed=kafka.committed)
                    findings = list(known.findings)
        except (StoreUnavailable, PolicyNotFound):
            return
        report.examinations += 1
        report.problems += [str(f) for f in findings if f.severity is Severity.PROBLEM]

    def read(self, topic: str) -> list:
        """Return the committed records of a topic."""
        return committed_records(self.kafka, topic)
