"""Records and their headers as they come from Kafka's own bytes."""

from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from consumer.kafka.reading.raw_records import decoded


def test_a_header_without_a_value_is_not_an_empty_one():
    """What Java's clients write as null arrives as None, so that routes can tell it from empty."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 16)
    builder.append(0, 5, None, b"x", [("null", None), ("empty", b"")])
    ((*_, headers),) = decoded(DefaultRecordBatch(bytes(builder.build())))
    assert headers == (("null", None), ("empty", b""))


SIZES = st.sampled_from([0, 1, 63, 64, 8191, 8192, 1 << 20]) | st.integers(0, 300)


@given(st.lists(st.tuples(SIZES, SIZES, st.integers(-(2**40), 2**40)), min_size=1, max_size=4))
def test_records_of_any_length_and_time_are_read_as_they_were_written(rows):
    """Lengths and times of one byte, of two and of more are read as kafka-python wrote them."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    began = 2**41
    written = [
        (offset, began + later * bool(offset), b"k" * key, b"v" * value)
        for offset, (key, value, later) in enumerate(rows)
    ]
    for row in written:
        builder.append(*row, [])
    found = decoded(DefaultRecordBatch(bytes(builder.build())))
    assert [row[:4] for row in found] == written
