"""The names of kafka-python that it does not document, and why we use each: a release may end any.

A test finds each in the installed version, and sees that no other file knows one.
"""

from __future__ import annotations

from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer
from kafka.cluster import ClusterMetadata
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.net.manager import KafkaConnectionManager
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.selector import NetworkSelector
from kafka.producer.producer_batch import ProducerBatch
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.protocol.consumer import FetchRequest
from kafka.record import util
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecordBatch
from kafka.record.memory_records import MemoryRecordsBuilder


class Private:
    """An attribute of a class of kafka-python."""

    def __init__(self, owner: Any, name: str) -> None:  # noqa: ANN401  (kafka-python is untyped)
        self.owner = owner
        self.name = name

    def __call__(self, of: Any) -> Any:  # noqa: ANN401
        """Return what it is on an object."""
        return getattr(of, self.name)

    def replace(self, of: Any, by: Any) -> Any:  # noqa: ANN401
        """Put something else in its place, and return what was there."""
        before = getattr(of, self.name)
        setattr(of, self.name, by)
        return before


# Classes and modules.
Assignor: Final = CooperativeStickyAssignor  # named here, as other members must have the same
Batch: Final = ProducerBatch  # `send` takes single records, which is slow
Builder: Final = MemoryRecordsBuilder  # makes the bytes of such a batch
ConnectionManager: Final = KafkaConnectionManager  # tells why a login fails, which clients hide
PartitionRecords: Final = Fetcher.PartitionRecords  # subclassed: decodes what can be decoded
Selector: Final = NetworkSelector  # runs the connection of a login that is tried
TokenProvider: Final = AbstractTokenProvider  # subclassed: clients ask for tokens through it
decode_varint: Final = util.decode_varint  # for the records that kafka-python refuses as a whole

# A consumer and a producer.
accumulator_of = Private(KafkaProducer, "_accumulator")  # takes whole batches
cluster_of = Private(KafkaConsumer, "_cluster")  # topic ids, and when a broker answered
coordinator_of = Private(KafkaConsumer, "_coordinator")  # forgets joins, gives old answers
fetcher_of = Private(KafkaConsumer, "_fetcher")  # asks by topic name, loops over what is damaged
look_for = Private(KafkaProducer, "_wait_on_metadata")  # with a time limit, unlike `send`
metadata_of = Private(KafkaProducer, "_metadata")  # which topics are there
subscription_of = Private(KafkaConsumer, "_subscription")  # `position` asks brokers, and waits
sender_of = Private(KafkaProducer, "_sender")  # to be woken, and ended where `close` leaves it
transaction_of = Private(KafkaProducer, "_transaction_manager")  # steps that can be waited for

# What they know of the cluster and of the group.
answered_ms = Private(ClusterMetadata, "_last_successful_refresh_ms")  # a poll hides silence
asked_topics = Private(ClusterMetadata, "_topics")  # one that is not there is asked for for ever
kept_answers = Private(ConsumerCoordinator, "_offset_fetch_futures")  # too late for who asked
own_assignment = Private(ConsumerCoordinator, "_assignment_snapshot")  # None: the leader is back

# Fetching: replaced are the first five.
append = Private(Fetcher, "_append")  # gives out records; an error there has `poll` loop
create_requests = Private(Fetcher, "_create_fetch_requests")  # name topics, not their ids
fetchable = Private(Fetcher, "_fetchable_partitions")  # more than what is read
handle_response = Private(Fetcher, "_handle_fetch_response")  # knows topics by name alone
parse = Private(Fetcher, "_parse_fetched_data")  # an error there has `poll` loop as well
begun_answer = Private(Fetcher, "_next_partition_records")  # used up, it keeps others back
pending_nodes = Private(Fetcher, "_nodes_with_pending_fetch_requests")  # their session continues
sessions = Private(Fetcher, "_session_handlers")  # to be ended where a topic is another one
max_version = Private(FetchRequest, "_max_version")  # by which a request names topic ids
batch_bytes = Private(DefaultRecordBatch, "_buffer")  # for dead letters, and decoding anew
batch_position = Private(DefaultRecordBatch, "_pos")  # where its first record begins
old_record = Private(LegacyRecordBatch, "_read_key_value")  # its value holds the packed ones
is_unpacked = Private(LegacyRecordBatch, "_decompressed")  # by us, so that no package is missing

# Hooks of `PartitionRecords`: the first is overridden, the others are called there.
unpack = Private(PartitionRecords, "_unpack_records")  # ends at the first damage
aborted_upto = Private(PartitionRecords, "_consume_aborted_transactions_up_to")  # as it does
has_abort_marker = Private(PartitionRecords, "_contains_abort_marker")  # as it does
is_aborted = Private(PartitionRecords, "_is_batch_aborted")  # as it does

# Whole batches on their way.
batches_of = Private(RecordAccumulator, "_batches")  # where the sender takes them
incomplete = Private(RecordAccumulator, "_incomplete")  # what `flush` waits for
lock_of = Private(RecordAccumulator, "_tp_lock")  # of a partition's batches


def position(consumer: Any, partition: Any) -> int | None:  # noqa: ANN401
    """Return the offset that a consumer reads next, as far as is known without asking a broker."""
    state = subscription_of(consumer).assignment.get(partition)
    return None if state is None or state.position is None else int(state.position.offset)
