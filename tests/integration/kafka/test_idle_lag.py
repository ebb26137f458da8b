"""What other programs call lag: it reaches zero while there are no texts, and nothing is lost."""

import sys
from random import Random

from confluent_kafka import Producer
from kafka import KafkaAdminClient, OffsetSpec, TopicPartition

from consumer.kafka.group.offsets import kafka_state
from consumer.settings.sections import KafkaSettings
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.chaos.other_client import write_transactions
from tests.chaos.outcome import Report, check
from tests.chaos.storm import CRASH_STEPS
from tests.support.long_form import IS_LONG
from tests.support.waiting import wait_for

STEPS = CRASH_STEPS if IS_LONG else ("commit",)


def lag(arena):
    """Return the lag of all partitions as `kafka-consumer-groups` counts it; None: no offset."""
    topic = f"{arena.prefix}.in0"
    partitions = [TopicPartition(topic, number) for number in range(arena.storm.partitions)]
    with KafkaAdminClient(bootstrap_servers=arena.kafka) as admin:
        committed = admin.list_group_offsets([arena.prefix])[arena.prefix]
        ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    if any(tp not in committed for tp in partitions):
        return None
    return sum(ends[tp].offset - committed[tp].offset for tp in partitions)


def marks(arena):
    """Return whether the watermarks stand where the logs end, with no gap below."""
    ends = kafka_state(KafkaSettings(bootstrap_servers=arena.kafka, group=arena.prefix)).ends
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        found = store.watermarks()
    return all(mark.upto == ends[source] and not mark.gaps for source, mark in found.items())


def write_aborted(arena):
    """Write a transaction that is aborted: offsets in every partition, and nothing to read."""
    producer = Producer(
        {"bootstrap.servers": arena.kafka, "transactional.id": f"{arena.prefix}-aborts"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(arena.storm.partitions):
        producer.produce(f"{arena.prefix}.in0", b"{}", partition=number)
    producer.flush(30)
    producer.abort_transaction(30)


def test_the_lag_of_an_idle_worker_reaches_zero_whatever_ends_it(arena):
    """Behind transactions, aborted ones too, and where a worker dies in a commit of positions."""
    write_transactions(arena, 40, topic=0, rng=Random(1))
    wait_for(lambda: arena.counted() == len(arena.sent))
    wait_for(lambda: lag(arena) == 0, 30)
    assert marks(arena)
    for step in STEPS:
        arena.fleet.kill("w0")
        write_aborted(arena)
        assert lag(arena) > 0
        arena.fleet.start("w0", crash_at=step)
        wait_for(lambda: arena.fleet.running["w0"].poll() is not None, 60)
        arena.fleet.start("w0")
        write_transactions(arena, 10, topic=0, rng=Random(2))
        wait_for(lambda: arena.counted() == len(arena.sent))
        wait_for(lambda: lag(arena) == 0, 30)
        assert marks(arena)
    report = check(arena, Report())
    sys.stdout.write(f"\n{report.summary()}\n")
    assert (report.twice, report.missing, report.disordered, report.problems) == (0, 0, 0, [])
    assert report.predictions == report.counted == len(arena.sent)
