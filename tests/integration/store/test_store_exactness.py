"""Every text counted once, whatever happens between the workers and a real Redis."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest

from deploy.local.services import RedisServer, start_redis
from policy_state.errors import StoreUnavailable
from policy_state.health.doctor import examine
from policy_state.stats import ExitStats
from policy_state.store.admin import Remove, Reset
from policy_state.store.pending import Pending
from policy_state.store.redis.stats import Server
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import Limits, PartitionDeltas, PolicyMeta
from tests.support.servers.proxies import Proxy, proxy

META = PolicyMeta("sentiment", "f1", (1, 3, 7, 12))
DOMAINS = ["hotels", "books", "music", "旅館"]
TEXTS = 6000
PARTITIONS = 3


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Yield a server that may be killed."""
    with start_redis() as started:
        yield started


class Log:
    """A topic's partition: the labels of every text, and how far the group has committed."""

    def __init__(self, topic_id: str, number: int, rng: Random) -> None:
        self.topic_id = topic_id
        self.number = number
        self.committed = 0
        self.texts = [
            (rng.choice(DOMAINS), [rng.randrange(2) for _ in range(rng.randrange(1, 5))])
            for _ in range(TEXTS // PARTITIONS)
        ]

    def part(self, first: int, upto: int) -> PartitionDeltas:
        """Return what some of its texts add."""
        deltas: dict[str, ExitStats] = {}
        for domain, labels in self.texts[first:upto]:
            one = ExitStats.from_labels(labels, exits=4)
            deltas[domain] = deltas[domain] + one if domain in deltas else one
        return PartitionDeltas(self.topic_id, self.number, first, upto, deltas)


def work(store: RedisStore, log: Log, rng: Random, stop: threading.Event) -> None:
    """Count the log as a worker does: hold, send, commit; now and then crash and start over.

    A crash before the commit forgets what is held and reads the same texts again, cut otherwise.
    While it holds texts that it committed without Redis the worker lives: they are only there.
    """
    pending = Pending()
    may_crash = True
    while (log.committed < len(log.texts) or len(pending)) and not stop.is_set():
        first = log.committed
        upto = min(len(log.texts), first + rng.randrange(1, 40))
        if first < upto:
            for piece in pending.add(log.part(first, upto)).missing:
                pending.add(log.part(*piece))
        try:
            send_all(store, pending, log)
        except StoreUnavailable:
            if may_crash and rng.random() < 0.3:
                pending = Pending()  # dies, and the store may have counted or not
            elif rng.random() < 0.3:
                log.committed, may_crash = upto, False  # Redis is away: predictions continue
            else:
                time.sleep(0.01)
            continue
        may_crash = True
        if rng.random() < 0.1:
            pending = Pending()  # dies between the counters and the commit
        else:
            log.committed = upto


def send_all(store: RedisStore, pending: Pending, log: Log) -> None:
    """Bring the store what is pending; what it counted in part is cut and brought again."""
    while parts := pending.parts():
        for _, outcome in pending.settled(store.apply(parts).outcomes):
            for piece in outcome.missing:  # whose texts are gone is left to a rebuild
                pending.add(log.part(*piece))


def run(server: RedisServer, seed: int, *, denying: bool = False) -> tuple[int, RedisStore]:
    """Let workers count three logs while things go wrong; return the texts and the store."""
    rng = Random(seed)
    logs = [Log("t1", number, rng) for number in range(PARTITIONS)]
    logs.append(Log("t2", 0, rng))  # the topic was deleted and made anew: offset 0 again
    stop = threading.Event()
    with proxy(server.port) as between:
        url = f"redis://127.0.0.1:{between.port}/0"
        stores = [RedisStore(url, timeout_s=2.0, resends=rng.randrange(2)) for _ in logs]
        for store in stores:
            store.open(META)
            if denying:
                store.server = Denying(store.server)
        threads = [
            threading.Thread(target=work, args=(store, log, Random(rng.random()), stop))
            for store, log in zip(stores, logs, strict=True)
        ]
        for thread in threads:
            thread.start()
        break_things(server, between, rng, threads)
        for thread in threads:
            thread.join(20)
        stop.set()
        assert not any(thread.is_alive() for thread in threads)
        for store in stores:
            store.close()
    store = RedisStore(server.url)
    store.open(META)
    return sum(len(log.texts) for log in logs), store


def break_things(
    server: RedisServer, between: Proxy, rng: Random, threads: Sequence[threading.Thread]
) -> None:
    """Lose answers, cut connections, pause and kill the server, until the work is done."""
    kills = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
        match rng.randrange(8):
            case 0 | 1 | 2:
                between.answers_to_lose = rng.randrange(1, 4)
            case 3 | 4:
                between.cut()
            case 5:
                server.pause()
                time.sleep(0.02)
                server.resume()
            case 6 if kills < 2:
                kills += 1
                server.kill()
                server.start()


class Denying:
    """A server that denies what was counted: all below a watermark is a gap, before each part."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run a script, with nothing held for counted."""
        if name == "apply.lua":
            _, marks, gaps = keys[:3]
            for source in self._server.command("HKEYS", marks):
                upto = self._server.command("HGET", marks, source)
                self._server.command("HSET", gaps, source, f"0-{upto}")
        return self._server.script(name, keys, args)

    def command(self, *words: str | int) -> Any:
        """Run a command."""
        return self._server.command(*words)

    def evictions(self) -> frozenset[str]:
        """Say where keys are evicted."""
        return self._server.evictions()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_text_counts_once_whatever_breaks(server: RedisServer, seed: int) -> None:
    """Lost answers, cuts, kills, crashes of workers and texts read again: the sums are exact."""
    texts, store = run(server, seed)
    with store:
        held = store.read(store.domains()).values()
        assert sum(record.stats.observed[0] for record in held) == texts
        assert store.totals().stats.texts == texts
        examination = examine(store)
        assert examination.findings == ()
        assert examination.texts == texts


def test_where_nothing_is_held_for_counted_the_same_test_fails(server: RedisServer) -> None:
    """A test of the test above: with all of it a gap again, texts are counted twice."""
    texts, store = run(server, 1, denying=True)
    with store:
        assert store.totals().stats.texts > texts


def test_the_counters_are_those_of_the_texts(server: RedisServer) -> None:
    """Not only how many: each counter of each domain is that of its texts."""
    rng = Random(7)
    log = Log("t1", 0, rng)
    with proxy(server.port) as between, RedisStore(f"redis://127.0.0.1:{between.port}/0") as store:
        store.open(META)
        for first in range(0, len(log.texts), 25):
            between.answers_to_lose = rng.randrange(2)
            store.apply([log.part(first, first + 25)])
        expected = log.part(0, len(log.texts)).deltas
        assert {n: r.stats for n, r in store.read(expected.keys()).items()} == expected


def test_a_change_whose_answer_is_lost_is_done_once(server: RedisServer) -> None:
    """Sent again with its token it changes nothing more: half is half, and one entry is audited."""
    many = ExitStats((64,) * 4, (0, 8, 8, 8), (0, 0, 0, 64))
    with proxy(server.port) as between, RedisStore(f"redis://127.0.0.1:{between.port}/0") as store:
        store.open(META)
        store.apply([PartitionDeltas("t1", 0, 0, 64, {"hotels": many})])
        store.note("begin", {}, by="anna", reason="")  # the server learns the script

        def lost(change: Callable[[], object]) -> None:
            between.answers_to_lose = 1
            change()
            assert between.answers_to_lose == 0

        sign: dict[str, Any] = {"by": "anna", "reason": ""}
        opened = store.describe()
        lost(lambda: store.change("hotels", Reset(keep=0.5), **sign))
        assert store.read(["hotels"])["hotels"].stats.texts == 32
        lost(lambda: store.change("hotels", Reset(), **sign))
        assert store.read(["hotels"])["hotels"].epoch == 1
        lost(
            lambda: store.configure(
                opened.meta.settings, Limits(domains=7), revision=opened.revision, **sign
            )
        )
        assert store.describe().revision == opened.revision + 1
        lost(lambda: store.note("something", {"a": 1}, **sign))
        lost(lambda: store.restart(**sign))
        lost(lambda: store.change("hotels", Remove(), **sign))
        actions = [entry.action for entry in store.audit()]
        assert actions == ["remove", "restart", "something", "configure", "reset", "reset", "begin"]
        route = {"name": "x", "topics": "x"}
        store.write_routes("g", [], revision=0, action="begin", detail={}, **sign)
        lost(lambda: store.write_routes("g", [route], revision=1, action="add", detail={}, **sign))
        assert (store.routes("g").revision, len(store.route_history("g"))) == (2, 2)
        assert {finding.check for finding in examine(store).findings} == {"gaps"}  # the restart
