"""Topics as tests want them: names and numbers of partitions."""

from collections.abc import Mapping

from consumer.kafka.topics import NewTopic, create_new_topics
from consumer.settings.sections import KafkaSettings


def create_topics(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Create topics, each with its number of partitions, and wait until they can be used."""
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers)
    create_new_topics(kafka, [NewTopic(name, count) for name, count in partitions.items()])
