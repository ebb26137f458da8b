"""What becomes of fetched bytes, whatever is wrong with them; the bytes are kafka-python's own."""

from collections import deque
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.codec import snappy_encode
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from consumer.events.record import header_name
from consumer.kafka.reading.fetching import _Records
from consumer.kafka.reading.raw_records import CODECS

TP = TopicPartition("films", 3)
PER_BATCH = 4
BATCHES = 3
END = PER_BATCH * BATCHES
NAMES = {0: "none", **{number: name for number, (name, _) in CODECS.items()}}


def batch(first, *, codec=0, headers=(), magic=2):
    builder = MemoryRecordsBuilder(magic, codec, 1 << 16, offset=0)
    for i in range(PER_BATCH):
        builder.append(1_000 + i, b"k%d" % (first + i), b"v" * 9, list(headers))
    builder.close()
    made = bytearray(builder.buffer())
    made[:8] = first.to_bytes(8, "big")  # where the broker puts it
    return made


def signed(made):
    """Return a batch with a checksum that is right."""
    made[17:21] = calc_crc32c(memoryview(made)[21:]).to_bytes(4, "big")
    return made


def read(data, *, suspects=None, first=0, end=END):
    """Return what comes of an answer, and from where the next one would be asked for."""
    records = _Records(
        first,
        TP,
        MemoryRecords(bytes(data)),
        end=lambda _: end,
        suspects={} if suspects is None else suspects,
        isolation_level=1,
        aborted_transactions=[],
    )
    found = []
    while records:
        found += records.take()
    return found, records.next_fetch_offset


def read_on(segment):
    """Read a log of batches as a consumer does, answer by answer; fail where it stands still."""
    found, position, suspects, tries = deque[Any](), 0, dict[int, int](), 0
    while position < END:
        wanted = b"".join(made for first, made in segment if first + PER_BATCH > position)
        came, following = read(wanted, suspects=suspects, first=position)
        assert [r for r in came if r.offset < position] == []
        found += came
        tries = tries + 1 if following == position else 0
        assert tries < 3, f"stands still at {position}"
        position = following
    return found


@pytest.mark.parametrize("codec", NAMES, ids=NAMES.get)
def test_each_codec_of_kafka_is_read(codec):
    """A topic's `compression.type` asks no reader: each is there, and gives all records."""
    found, following = read(b"".join(batch(i * PER_BATCH, codec=codec) for i in range(BATCHES)))
    assert [(r.offset, r.key, r.timestamp_ms) for r in found] == [
        (i, b"k%d" % i, 1_000 + i % PER_BATCH) for i in range(END)
    ]
    assert following == END


@pytest.mark.parametrize("codec", [0, 1, 2, 3], ids=NAMES.get)
def test_batches_of_the_older_form_are_read(codec):
    """What Kafka wrote before 0.11 may still lie in a topic, compressed or not."""
    found, following = read(batch(0, magic=1, codec=codec), end=PER_BATCH)
    assert [(r.key, r.value) for r in found] == [(b"k%d" % i, b"v" * 9) for i in range(len(found))]
    assert (len(found), following) == (PER_BATCH, PER_BATCH)


def test_snappy_is_read_as_clients_in_c_write_it():
    """Without the blocks that Java puts around it."""
    data = b"a text " * 9000
    assert CODECS[2][1](snappy_encode(data, xerial_compatible=False)) == data
    assert CODECS[2][1](snappy_encode(data)) == data


def test_a_header_whose_name_is_no_text_costs_nothing():
    """The record is there, with the name's bytes as they were."""
    name = header_name(b"a\xff")
    found, _ = read(batch(0, headers=[(name, b"1"), ("b", b"2")]))
    assert len(found) == PER_BATCH
    assert [(n.encode(), v) for n, v in found[0].headers] == [(b"a\xff", b"1"), (b"b", b"2")]
    assert found[0].fault is None


def test_one_wrong_byte_costs_its_batch_at_most():
    """Wherever it is: each offset comes once, in order, and what is said to be well is unharmed."""
    clean = [batch(i * PER_BATCH, codec=1) for i in range(BATCHES)]
    whole = {r.offset: r for r in read(b"".join(clean))[0]}
    for byte in range(21, len(clean[1])):  # behind what the checksum is not for
        spoilt = clean[1][:]
        spoilt[byte] ^= 0x41
        segment = [(0, clean[0]), (PER_BATCH, spoilt), (2 * PER_BATCH, clean[2])]
        found = read_on(segment)
        (fault,) = [r for r in found if r.fault]
        assert (fault.offset, fault.next_offset) == (PER_BATCH, 2 * PER_BATCH), byte
        assert fault.fault.error_class == "wrong-checksum"
        assert fault.value == bytes(spoilt)
        assert [r for r in found if not r.fault] == [
            r for i, r in whole.items() if not PER_BATCH <= i < 2 * PER_BATCH
        ]


def test_a_wrong_checksum_is_read_again_before_it_counts():
    """A byte that was spoilt on its way is well the second time."""
    spoilt, suspects = batch(0), dict[int, int]()
    spoilt[-1] ^= 1
    assert read(spoilt, suspects=suspects) == ([], 0)
    found, following = read(batch(0), suspects=suspects)
    assert (len(found), following) == (PER_BATCH, PER_BATCH)


def test_a_damaged_record_costs_none_before_it():
    """Those up to it are read, and the rest of the batch is one, with its bytes."""
    made = batch(0)
    third = made.index(b"k2") - 5  # where its length stands
    made[third] = 0x7E
    found, following = read(signed(made), end=PER_BATCH)
    assert [r.key for r in found[:2]] == [b"k0", b"k1"]
    assert (found[2].offset, found[2].fault.last_offset) == (2, PER_BATCH - 1)
    assert found[2].fault.error_class == "invalid-record"
    assert found[2].value == bytes(made[third:])
    assert found[2].position == "films[3]@2-3"
    assert (len(found), following) == (3, PER_BATCH)


@pytest.mark.parametrize(
    ("codec", "error_class"),
    [(7, "no-codec"), *((codec, "invalid-compression") for codec in (1, 2, 3, 4))],
)
def test_what_cannot_be_decompressed_is_one_letter(codec, error_class):
    """A codec of a later Kafka, or bytes that are not what their codec writes."""
    made = batch(0)
    made[22] = codec
    (only,), following = read(signed(made), end=PER_BATCH)
    assert (only.offset, only.next_offset, following) == (0, PER_BATCH, PER_BATCH)
    assert (only.fault.error_class, only.value) == (error_class, bytes(made))


@pytest.mark.parametrize("last", [-1, PER_BATCH, 2**31 - 1])
def test_a_batch_that_does_not_say_where_it_ends_is_not_passed_over(last):
    """A wrong end could leave records out, or lead behind the log: an error for people instead."""
    made, suspects = batch(0), dict[int, int]()
    made[23:27] = last.to_bytes(4, "big", signed=True)
    read(made, suspects=suspects)
    with pytest.raises(Exception, match="it says that its offsets are 0"):
        read(made, suspects=suspects, end=PER_BATCH)


def test_bytes_that_are_no_batch_cost_none_before_them():
    """They are an error once all before them is read."""
    data = batch(0) + b"\x00" * 8 + (1).to_bytes(4, "big") + b"\x00"
    found = []
    records = _Records(
        0, TP, MemoryRecords(bytes(data)), end=lambda _: END, suspects={}, aborted_transactions=[]
    )
    found = records.take()
    assert len(found) == PER_BATCH
    with pytest.raises(Exception, match="less than the minimum"):
        records.take()
