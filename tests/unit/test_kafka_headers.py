"""Headers as they come from Kafka's own bytes."""

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from consumer.raw_records import decoded


def test_a_header_without_a_value_is_not_an_empty_one():
    """What Java's clients write as null arrives as None, so that routes can tell it from empty."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 16)
    builder.append(0, 5, None, b"x", [("null", None), ("empty", b"")])
    ((*_, headers),) = decoded(DefaultRecordBatch(bytes(builder.build())))
    assert headers == (("null", None), ("empty", b""))
