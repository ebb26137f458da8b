"""Topics as benchmarks want them: names and numbers of partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.kafka.topics import NewTopic, create_new_topics
from consumer.settings.sections import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Mapping


def create_topics(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Create topics, each with its number of partitions, and wait until they can be used."""
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers)
    create_new_topics(kafka, [NewTopic(name, count) for name, count in partitions.items()])
