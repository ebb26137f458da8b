"""A real Redis that is slow, full, read-only, failing over, sharded or lost: told and survived."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from deploy.local.process import free_port, start_on_free_port, wait_until
from deploy.local.redis_server import find_redis
from deploy.local.services import Flavour, RedisServer, start_redis
from policy_state.errors import PolicyNotFound, StoreUnavailable
from policy_state.health.doctor import examine
from policy_state.health.rebuild import PredictedText, rebuild
from policy_state.stats import ExitStats
from policy_state.store.admin import Pin, Reset
from policy_state.store.pending import Pending
from policy_state.store.redis.keeping import Keeping
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.servers.flavours import FLAVOURS
from tests.support.servers.proxies import proxy
from tests.support.servers.redis_sets import Sentinel, command

META = PolicyMeta("sentiment", "f1", (1, 3, 7, 12))
ONE = ExitStats.from_labels([0, 1, 1], exits=4)


def part(first: int, upto: int, *domains: str) -> PartitionDeltas:
    """Return a part with one text of each domain."""
    return PartitionDeltas("t1", 0, first, upto, dict.fromkeys(domains, ONE))


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Return whose server."""
    return request.param


@pytest.fixture
def server(flavour: Flavour) -> Iterator[RedisServer]:
    """Yield a server of this test alone."""
    with start_redis(flavour=flavour, args=("--repl-diskless-sync-delay", "0")) as started:
        yield started


def wait_for_replica(primary: RedisServer, replica: RedisServer) -> None:
    """Return when the replica has all that the primary has."""

    def same() -> bool:
        counts = [command(server, "DBSIZE") for server in (primary, replica)]
        link = command(replica, "INFO", "replication")["master_link_status"]
        return counts[0] == counts[1] and link == "up"

    wait_until(same, timeout_s=20, what="the replica")


def change(store: RedisStore) -> object:
    """Change something."""
    return store.change("a", Reset(), by="anna", reason="")


@pytest.mark.parametrize("write", [lambda s: s.apply([part(1, 2, "a", "b")]), change])
def test_a_full_server_is_told_and_not_half_written(
    server: RedisServer, write: Callable[[RedisStore], object]
) -> None:
    """With maxmemory reached nothing is written, reading continues, and later the call works."""
    with RedisStore(server.url) as store:
        store.open(META)
        store.apply([part(0, 1, "a")])
        before, log = store.read(["a", "b"]), store.audit()
        command(server, "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="its maxmemory is reached") as caught:
            write(store)
        assert caught.value.cause == "out-of-memory"
        assert (store.read(["a", "b"]), store.audit()) == (before, log)
        command(server, "CONFIG", "SET", "maxmemory", "0")
        write(store)
        assert examine(store).healthy


def test_a_replica_is_told_and_not_written(server: RedisServer, flavour: Flavour) -> None:
    """A read-only replica answers reads; a write is refused as something that passes."""
    with (
        start_redis(
            flavour=flavour, args=("--replicaof", "127.0.0.1", str(server.port))
        ) as replica,
        RedisStore(server.url) as store,
        RedisStore(replica.url) as reader,
    ):
        store.open(META)
        store.apply([part(0, 1, "a")])
        wait_for_replica(server, replica)
        reader.open(META)
        assert reader.read(["a"])["a"].stats == ONE
        for write in (lambda: reader.apply([part(1, 2, "b")]), lambda: change(reader)):
            with pytest.raises(StoreUnavailable, match="read-only replica") as caught:
                write()
            assert caught.value.cause == "read-only"


def test_a_server_that_loads_its_data_is_waited_for(server: RedisServer) -> None:
    """While a restarted server reads its log it is unavailable, then everything is there again."""
    with RedisStore(server.url) as store:
        store.open(META)
        store.apply([part(0, 1, "a")])
        server.kill()
        with pytest.raises(StoreUnavailable) as caught:
            store.apply([part(1, 2, "a")])
        assert caught.value.cause == "connection"
        server.start()
        assert store.apply([part(1, 2, "a")]).snapshots["a"].stats == ONE + ONE


def test_latency_only_slows(server: RedisServer) -> None:
    """With 200 ms on the way every call is one round trip, and the counts are exact."""
    with proxy(server.port) as between:
        with RedisStore(f"redis://127.0.0.1:{between.port}/0", timeout_s=2) as store:
            store.open(META)
            store.apply([part(100, 101, "a")])  # the server learns the script
            between.delay_s = 0.2
            begun = time.monotonic()
            for offset in range(3):
                store.apply([part(offset, offset + 1, *"abcdefgh")])
            took_s = time.monotonic() - begun
            assert 0.6 <= took_s < 1.1
            assert store.totals().stats.texts == 25
        with RedisStore(f"redis://127.0.0.1:{between.port}/0", timeout_s=0.05) as hasty:
            with pytest.raises(StoreUnavailable) as caught:
                hasty.open(META)
            assert caught.value.cause in {"timeout", "connection"}


def test_after_an_outage_everything_held_is_counted(server: RedisServer) -> None:
    """A worker continues while Redis is away and brings all of it, once, when it is back."""
    with RedisStore(server.url, timeout_s=0.2) as store:
        store.open(META)
        pending = Pending()
        for offset in range(100):
            if offset == 20:
                server.pause()
            if offset == 60:
                server.resume()
            pending.add(part(offset, offset + 1, f"d{offset % 5}"))
            if offset in {25, 30}:
                with pytest.raises(StoreUnavailable):
                    store.apply(pending.parts())
            elif not 20 <= offset < 60:
                while parts := pending.parts():
                    assert not pending.settled(store.apply(parts).outcomes)
        assert (store.totals().stats.texts, pending.texts) == (100, 0)
        assert examine(store).findings == ()


def test_an_emptied_server_is_rebuilt_while_workers_go_on(server: RedisServer) -> None:
    """After FLUSHALL workers open the policy again; a rebuild gives what was before, exactly."""
    texts = [
        PredictedText("t1", 0, offset, f"d{offset % 7}", (0, offset % 2)) for offset in range(400)
    ]
    with RedisStore(server.url) as store, RedisStore(server.url) as operator:
        store.open(META)

        def count(first: int, upto: int) -> None:
            deltas: dict[str, ExitStats] = {}
            for text in texts[first:upto]:
                one = ExitStats.from_labels(text.exit_labels, exits=4)
                deltas[text.domain] = deltas.get(text.domain, ExitStats.zeros(4)) + one
            try:
                store.apply([PartitionDeltas("t1", 0, first, upto, deltas)])
            except PolicyNotFound:
                store.open(META)
                store.apply([PartitionDeltas("t1", 0, first, upto, deltas)])

        for first in range(0, 200, 20):
            count(first, first + 20)
        expected = store.read([f"d{n}" for n in range(7)])
        command(server, "FLUSHALL")
        count(200, 220)
        operator.open(META)
        done = rebuild(operator, iter(texts[:220]), upto={("t1", 0): 220})
        assert (done.counted, done.known, done.failed_offsets) == (200, 20, 0)
        count(220, 400)
        assert store.totals().stats.texts == 400
        assert examine(store).findings == ()
        for name, snapshot in expected.items():
            assert store.read([name])[name].stats.texts > snapshot.stats.texts


def test_a_failover_is_survived_and_its_loss_is_shown(
    server: RedisServer, flavour: Flavour
) -> None:
    """With Sentinel the store finds the new primary; what that one had not got shows as a gap.

    A rebuild from the predictions then fills the gap.
    """
    executable = find_redis(flavour)
    assert executable is not None
    with ExitStack() as stack:
        replica = stack.enter_context(
            start_redis(flavour=flavour, args=("--replicaof", "127.0.0.1", str(server.port)))
        )
        sentinel = stack.enter_context(
            start_on_free_port(lambda: Sentinel(executable, port=free_port(), primary=server))
        )
        url = f"redis+sentinel://127.0.0.1:1,{sentinel.address}/fleet/0"
        store = stack.enter_context(RedisStore(url, timeout_s=1))
        store.open(META)
        store.apply([part(0, 10, "a")])
        wait_for_replica(server, replica)
        wait_until(
            lambda: bool(command(sentinel, "SENTINEL", "REPLICAS", "fleet")),
            timeout_s=20,
            what="the sentinel to know the replica",
        )
        replica.pause()
        command(server, "CLIENT", "KILL", "TYPE", "replica")  # what comes now never reaches it
        store.apply([part(10, 20, "a", "b")])
        server.kill()
        replica.resume()

        def counted() -> bool:
            try:
                outcome = store.apply([part(20, 30, "a")]).outcomes[0]
            except StoreUnavailable:
                return False
            gaps.append(outcome.gap)
            return True

        gaps: list[int] = []
        wait_until(counted, timeout_s=30, what="the failover")
        assert gaps == [10]
        (note,) = examine(store).findings
        assert (note.check, note.subject) == ("gaps", "t1/0")
        assert note.text.startswith("10 offsets below 30 are not counted")
        texts = [PredictedText("t1", 0, 15, name, (0, 1, 1)) for name in ("a", "b")]
        texts[1] = PredictedText("t1", 0, 16, "b", (0, 1, 1))
        assert rebuild(store, texts, upto={("t1", 0): 30}).counted == 2
        assert store.read(["a", "b"])["a"].stats == ONE + ONE + ONE
        assert examine(store).findings == ()


def test_policies_spread_over_a_cluster(flavour: Flavour) -> None:
    """On three nodes every policy works whole, wherever its keys are, from any node's address."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with ExitStack() as stack:
        nodes = [stack.enter_context(start_redis(flavour=flavour, args=options)) for _ in range(3)]
        for number, node in enumerate(nodes):
            first, last = number * 5462, min(16_383, number * 5462 + 5461)
            command(node, "CLUSTER", "ADDSLOTS", *range(first, last + 1))
            command(node, "CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        wait_until(
            lambda: all(
                "cluster_state:ok" in str(command(node, "CLUSTER", "INFO"))
                and command(node, "CLUSTER", "NODES").count("master") == 3
                for node in nodes
            ),
            timeout_s=20,
            what="the cluster",
        )
        url = f"redis+cluster://127.0.0.1:1,{nodes[1].address}"
        with RedisStore(url) as store:
            for number in range(6):
                meta = PolicyMeta(f"policy-{number}", "f1", (1, 3, 7, 12))
                store.open(meta)
                store.apply([part(0, 20, *(f"d{n}" for n in range(20)))])
                store.change("d1", Pin(1), by="anna", reason="")
                assert store.totals().domains == len(store.domains()) == 20
                assert store.read(["d1"])["d1"].pin == 1
                assert len(store.audit()) == 1
                assert examine(store).findings == ()
                keeping = Keeping(store, group=f"g{number}", policy=meta.name)
                kept = {key: value for key, value in keeping.news({}).items() if value}
                keys, _ = store.bound()
                store.server.command("DEL", keys.key("audit"), keys.domain("d1"))
                assert keeping.restore(kept, by="w", reason="").domains == 1
                assert store.read(["d1"])["d1"].pin == 1
                assert keeping.lost(kept) == {}
            store.heartbeat("w", {"events": 20}, ttl_s=60)
            assert store.workers() == {"w": {"events": "20"}}
            assert len(store.policies()) == 6
        assert sum(command(node, "DBSIZE") > 0 for node in nodes) > 1
