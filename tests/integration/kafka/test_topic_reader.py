"""Readers of whole topics: what they leave behind where they cannot begin."""

import os

import psutil
import pytest
from kafka.errors import BrokerNotAvailableError

from consumer.errors import StreamUnavailable, TopicMissing
from consumer.kafka.reading import reader
from consumer.settings.sections import KafkaSettings


def connections(bootstrap):
    """Return how many connections this process has to a broker."""
    port = int(bootstrap.rpartition(":")[2])
    found = psutil.Process(os.getpid()).net_connections("tcp")
    return sum(c.raddr.port == port and c.status == "ESTABLISHED" for c in found if c.raddr)


def test_a_reader_that_cannot_begin_leaves_no_connection(kafka, monkeypatch):
    """Whether a topic is missing or the broker goes away: both clients are closed."""
    settings = KafkaSettings(bootstrap_servers=kafka)
    before = connections(kafka)
    with pytest.raises(TopicMissing):
        reader.TopicReader(settings, ["no-such-topic"])
    assert connections(kafka) == before

    def fail(_admin):
        raise BrokerNotAvailableError

    monkeypatch.setattr(reader, "topic_ids", fail)
    with pytest.raises(StreamUnavailable):
        reader.TopicReader(settings, ["no-such-topic"])
    assert connections(kafka) == before
