"""The worker's side of Kafka, on a real broker: what was read comes out exactly once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from consumer.errors import StreamUnavailable, WorkerFenced
from consumer.settings.sections import BatchSettings
from deploy.local.kafka_server import broker_answers
from deploy.local.process import wait_until
from deploy.local.services import start_kafka
from tests.support.members import AT_ONCE, EVENTS, SESSION_S, Members, produce, read_until
from tests.support.servers.proxies import proxy
from tests.support.topics import create_topics
from tests.support.waiting import wait_for


def test_a_member_let_go_while_it_joins_does_not_commit_again_what_others_did(members):
    """What it had read before is forgotten, even where the partition comes back to it.

    kafka-python tells no listener when the group lets a member go that is joining already.
    """
    frozen = members.join("frozen")
    deadline = time.monotonic() + 30
    while not frozen.assigned() and time.monotonic() < deadline:
        frozen.keep_up(100)
    produce(members)
    while frozen._buffer.events < EVENTS and time.monotonic() < deadline:
        frozen.keep_up(100)
    assert frozen._buffer.events == EVENTS
    under_way = frozen.collect(AT_ONCE.model_copy(update={"max_events": EVENTS // 2}))

    frozen._member.consumer._coordinator._disable_heartbeat()  # as if the process stood still
    other = members.join("other")
    members.copy(other, EVENTS)
    other.close()
    # As if a heartbeat had told of the other just before.
    frozen._member.consumer._coordinator.request_rejoin()
    begun = time.monotonic()
    while time.monotonic() < begun + SESSION_S + 4 or not frozen.assigned():
        frozen.keep_up(100)  # until the other has been let go as well
    produce(members)
    members.copy(frozen, 2 * EVENTS)
    with pytest.raises(StreamUnavailable, match="left the group"):  # not fenced: it was itself
        members.commit(frozen, under_way)
    frozen.rewind([under_way])
    produce(members)
    members.copy(frozen, 3 * EVENTS)
    assert members.copied() == list(range(3 * EVENTS))


@pytest.mark.parametrize("step", ["begin", "commit"])
def test_what_cannot_be_given_back_now_is_given_back_later(step):
    """A broker that stands still in a commit, and while it is given back, costs no record.

    Nor does one come twice: where it stood still at the very commit, that may count or not.
    """
    with start_kafka() as server:
        members = Members(server.address, partitions=2, request_timeout_s=3, session_timeout_s=30)
        freeze = {step: server.pause}
        stream = members.join("a", lambda name: freeze.pop(name, lambda: None)())
        produce(members)
        read_until(stream, lambda: stream._buffer.events == EVENTS)
        batch = stream.collect(AT_ONCE)
        assert batch is not None
        try:
            with pytest.raises(StreamUnavailable):
                members.commit(stream, batch)
            with pytest.raises(StreamUnavailable):
                stream.rewind([batch])
        finally:
            server.resume()
        wait_until(lambda: broker_answers(server.address), timeout_s=30, what="the broker")
        stream.rewind([])  # as for a later batch, of other partitions
        produce(members)
        members.copy(stream, 2 * EVENTS)
        assert sorted(members.copied()) == list(range(2 * EVENTS))
        read = [TopicPartition(members.topic, partition) for partition in range(2)]
        assert sum(stream._member.consumer.committed(tp) for tp in read) == 2 * EVENTS
        members.close()


def stand_still_in_commit(members):
    """Have a worker stand still between its offsets and its commit; return what lets it continue.

    It had all partitions and commits what there is in the first one.
    """
    go, reached = threading.Event(), threading.Event()

    def at(step):
        if step == "commit":
            reached.set()
            go.wait(60)

    still = members.join("still", reached=at)
    produce(members, partition=0)
    read_until(still, lambda: still._buffer.events == EVENTS)
    batch = still.collect(AT_ONCE)
    thread = ThreadPoolExecutor(1)
    committed = thread.submit(members.commit, still, batch)
    assert reached.wait(30)
    still._member.consumer._coordinator._disable_heartbeat()

    def end():
        go.set()
        thread.shutdown()
        committed.result()

    return end


def test_offsets_of_an_open_transaction_are_waited_for_and_hold_up_nothing_else(kafka):
    """Another worker reads other partitions meanwhile, and that one once it is known how it ended.

    It may end either way: a zombie commits after all, or its successor aborts what it left open.
    """
    groups = [Members(kafka, partitions=2), Members(kafka, partitions=2)]
    ends = [stand_still_in_commit(members) for members in groups]
    for members in groups:
        produce(members, partition=1)
    others = [members.join("other") for members in groups]
    for other in others:
        read_until(other, lambda o=other: len(o.assigned()) == 2, timeout_s=60)
    for members, other in zip(groups, others, strict=True):
        read_until(other, lambda o=other: o._buffer.events == EVENTS)
        batch = other.collect(AT_ONCE)  # the output shows it later: a transaction is open there
        assert batch is not None
        assert {record.partition for record in batch.records} == {1}
        members.commit(other, batch)
    ends[0]()
    successor = groups[1].join("still")  # as far as Kafka is asked: it never reads
    with pytest.raises(WorkerFenced):
        ends[1]()
    successor.close()
    for members, other in zip(groups, others, strict=True):
        produce(members, partition=0)
        members.copy(other, 3 * EVENTS)
        assert sorted(members.copied()) == list(range(3 * EVENTS))
        members.close()


def keep_up_until(stream, message):
    """Let a stream take part in its group until it raises this, and nothing worse before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            stream.keep_up(100)
        except StreamUnavailable as error:
            if message in str(error):
                return
    raise AssertionError(f"not raised: {message}")


def test_a_join_that_does_not_end_is_begun_anew(kafka):
    """Once the broker can be reached for that; it ends where the member that held it up is gone."""
    host, port = kafka.split(",")[0].rsplit(":", 1)
    with proxy(int(port)) as first_contact:
        first = f"{host}:{first_contact.port}"
        members = Members(kafka, bootstrap=first, join_timeout_s=2, request_timeout_s=2)
        silent = KafkaConsumer(
            members.topic,
            bootstrap_servers=kafka,
            group_id=members.topic,
            partition_assignment_strategy=[CooperativeStickyAssignor],
        )
        deadline = time.monotonic() + 30
        while not silent.assignment():  # from then on its heartbeats continue, and nothing else
            assert time.monotonic() < deadline
            silent.poll(timeout_ms=500)
        stream = members.join("a")
        first_contact.target = 1  # nobody listens there
        keep_up_until(stream, "joining anew")
        first_contact.target = int(port)
        keep_up_until(stream, "joining the group took longer than 2")
        silent.close()
        produce(members)
        members.copy(stream, EVENTS)
        assert members.copied() == list(range(EVENTS))
        members.close()


def test_latest_is_where_the_group_began_not_where_a_batch_failed(kafka):
    """A batch given back before anything was committed is read again, from `latest` too."""
    members = Members(kafka, start="latest")
    produce(members)
    stream = members.join("a")
    read_until(stream, stream.assigned)
    produce(members)
    read_until(stream, lambda: stream._buffer.events == EVENTS)
    batch = stream.collect(AT_ONCE)
    assert batch is not None
    stream.rewind([batch])
    members.copy(stream, EVENTS)
    assert members.copied() == list(range(EVENTS, 2 * EVENTS))
    members.close()


def test_a_member_with_a_backlog_makes_room_for_another(kafka):
    """One that always has a batch to take still takes part in the rebalance of another."""
    members = Members(kafka, partitions=2)
    busy = members.join("busy")
    produce(members, 8_000)
    read_until(busy, lambda: busy._buffer.events > EVENTS)
    one_by_one = AT_ONCE.model_copy(update={"max_events": 1})
    stop = threading.Event()

    def work():
        while not stop.is_set():
            try:
                if (batch := busy.collect(one_by_one)) is not None:
                    members.commit(busy, batch)
            except StreamUnavailable:
                busy.rewind([])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        other = members.join("other")
        read_until(other, other.assigned, timeout_s=20)
        wait_for(lambda: busy._buffer.events, timeout_s=20)  # its backlog is not yet done
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive(), "a stream is not read to its end"
    members.close()


def test_a_hot_partition_is_read_ahead_of_within_limits_and_starves_no_other(kafka):
    """It stands still while its share is full, and is read on when there is room again."""
    hot = 4_000  # of about 70 bytes; a poll gives 500 at most
    members = Members(kafka, partitions=2, buffer_bytes=128 << 10)
    stream = members.join("a")
    read_until(stream, lambda: len(stream.assigned()) == 2)
    produce(members, hot, partition=0)
    read_until(stream, lambda: stream._buffer.events)
    produce(members, EVENTS, partition=1)
    for _ in range(20):
        stream.keep_up(100)
    assert stream._buffer.events < hot / 2
    seen: list[int] = []
    deadline = time.monotonic() + 60
    while len(seen) < hot + EVENTS:
        assert time.monotonic() < deadline
        if (batch := stream.collect(AT_ONCE)) is not None:
            seen += [record.partition for record in batch.records]
        assert stream._buffer.events < hot / 2
    assert seen[: hot // 2].count(1) == EVENTS
    members.close()


@pytest.mark.parametrize(
    ("limit", "size"), [({"max_events": 5}, 5), ({"max_tokens": 82}, 5), ({}, EVENTS + 1)]
)
def test_a_batch_is_given_when_it_is_full_or_has_waited(members, limit, size):
    """Where it is full nothing is waited for; else what comes within the wait is in it."""
    stream = members.join("a")
    read_until(stream, stream.assigned)
    produce(members)
    read_until(stream, lambda: stream._buffer.events == EVENTS)
    produce(members, 1)
    wait_ms = 60_000 if limit else 4_000
    begun = time.monotonic()
    batch = stream.collect(BatchSettings(max_wait_ms=wait_ms, **limit))
    assert len(batch.records) == size
    assert time.monotonic() - begun < 30


def test_a_topic_made_anew_has_another_id(kafka):
    """So that its offsets, which begin again, are not taken for counted ones."""
    members = Members(kafka, metadata_max_age_s=1)
    stream = members.join("a")
    read_until(stream, stream.assigned)
    before = stream._member.topic_id(members.topic)
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([members.topic])
        read_until(stream, lambda: members.topic not in admin.list_topics())
    create_topics(kafka, {members.topic: 1})
    read_until(stream, lambda: stream._member.topic_id(members.topic) != before)
    members.close()
