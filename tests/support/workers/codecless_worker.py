"""A worker that does not know lz4, as if a later Kafka had brought it."""

from consumer.kafka.reading.raw_records import CODECS

del CODECS[3]

from tests.support.workers import hanging_worker  # noqa: E402,F401  (it runs where it is imported)
