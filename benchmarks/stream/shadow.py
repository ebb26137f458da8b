"""What a shadow costs the workers: a worker with a free model, with and without one, in turns.

Starts a Kafka and a Redis on loopback, a process that sends texts at a steady rate and reads the
predictions, and the shadow as another process, with a free model too. What counts is the CPU time
of worker, broker and Redis; that of the shadow belongs to another machine. As this one may be busy
with other things, latencies are shown and not judged.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import psutil

from benchmarks.free_model import FreeModel
from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.stream.load import PARTITIONS, Load, latencies_ms
from benchmarks.stream.parts import DOMAINS
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import DEAD_LETTERS, Job, run_worker
from consumer.settings.load import load_settings
from consumer.shadow.run import Shadow, ShadowOptions
from deploy.local.services import Services, local_services
from policy_state.store.redis.shadow import RedisShadow
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PolicyMeta

_SHARE = 0.05
_GOAL = 0.03
_RATE = 1_000.0  # texts a second
_WARM_UP_S = 2.0
_TEXTS = 4_096
_PATIENCE_S = 600.0
_ALONE, _BESIDE = "without a shadow", "with a shadow"


class NextModel(FreeModel):
    """The model in the shadow."""

    fingerprint = "next-model"


@dataclass(frozen=True, slots=True)
class Run:
    """A run at a steady rate."""

    cpu_us: Mapping[str, float]  # microseconds an event, by program
    latency_ms: tuple[float, float]  # p50 and p99
    compared: int  # texts


def main() -> None:
    """Measure, print, and write the results where asked."""
    options = parser("stream.shadow", __doc__).parse_args()
    seconds, rounds = (6.0, 3) if options.quick else (12.0, 8)
    logging.getLogger("kafka").setLevel(logging.ERROR)
    logging.getLogger("offramp").setLevel(logging.ERROR)
    report = Report("shadow")
    with local_services() as services:
        create_topics(services.kafka, {DEAD_LETTERS: 1})
        _run(services, "warm", seconds, shadow=True)  # the broker compiles what it runs often
        runs: dict[str, list[Run]] = {_ALONE: [], _BESIDE: []}
        for number in range(rounds):
            for who in list(runs)[:: -1 if number % 2 else 1]:
                name = f"{number}-{who == _BESIDE:d}"
                runs[who].append(_run(services, name, seconds, shadow=who == _BESIDE))
    _tell(report, runs)
    compared = statistics.median(run.compared for run in runs[_BESIDE])
    report.notes.append(
        f"{_RATE:g} texts a second for {seconds:g} s a run, {len(DOMAINS)} domains, {PARTITIONS} "
        f"partitions, {rounds} rounds in turns after one that warms up, ratios within rounds, all "
        f"figures medians. The shadow is asked for {_SHARE:.0%} of the texts and compares "
        f"{compared:g} in a run; for this it reads all predictions and nearly all texts. CPU time "
        "is that of whole processes over the whole run."
    )
    hand_in(report, options)


def _tell(report: Report, runs: Mapping[str, Sequence[Run]]) -> None:
    """Add how runs with a shadow compare to runs without."""

    def row(name: str, figure: Callable[[Run], float], digits: int = 1) -> float:
        found = {who: [figure(run) for run in runs[who]] for who in (_ALONE, _BESIDE)}
        pairs = zip(found[_BESIDE], found[_ALONE], strict=True)
        ratio = statistics.median(mine / other for mine, other in pairs)
        medians = (round(statistics.median(each), digits) for each in found.values())
        rows.append((name, *medians, f"{ratio:.3f} x"))
        return ratio

    rows: list[tuple[object, ...]] = []
    for who in runs[_ALONE][0].cpu_us:
        row(f"{who}, CPU microseconds a text", lambda run: run.cpu_us[who])  # noqa: B023
    together = row("together, CPU microseconds a text", lambda run: sum(run.cpu_us.values()))
    row("latency p50, ms", lambda run: run.latency_ms[0], 0)
    row("latency p99, ms", lambda run: run.latency_ms[1], 0)
    name = "CPU time that a shadow adds to worker, broker and Redis"
    report.goals.append(Goal.at_most(name, _GOAL, together - 1))
    columns = ("figure", _ALONE, _BESIDE, "beside it")
    report.tables.append(Table("A worker with a free model", columns, tuple(rows)))


def _run(services: Services, name: str, seconds: float, *, shadow: bool) -> Run:
    """Let a worker predict what is sent, on topics of the run."""
    topic, output, policy = (f"shadow-{name}.{role}" for role in ("in", "out", "policy"))
    create_topics(services.kafka, {topic: PARTITIONS, output: PARTITIONS})
    with RedisStore(services.redis) as store:
        free = FreeModel()
        store.open(PolicyMeta(policy, free.fingerprint, free.config.exit_layers))
    chance = random.Random(0)
    texts = tuple((chance.choice(DOMAINS), "x" * chance.randrange(100, 300)) for _ in range(_TEXTS))
    load = Load(services.kafka, topic, output, texts, _RATE, _WARM_UP_S, seconds)
    job = Job(topic, output=output, policy=policy)

    def predict(done: Callable[[], bool]) -> None:
        run_worker(services, free, job, until=lambda _: done())

    with _shadow(services, topic, output, policy) if shadow else nullcontext():
        before = _cpu_s()
        found = sorted(latencies_ms(load, predict))
        after = _cpu_s()
    count = _RATE * (_WARM_UP_S + seconds)
    return Run(
        {who: 1e6 * (after[who] - before[who]) / count for who in before},
        (statistics.median(found), found[int(0.99 * len(found))]),
        _compared(services, policy),
    )


def _cpu_s() -> dict[str, float]:
    """Return the CPU seconds of the worker, which is this process, of the broker and of Redis."""
    programs = {"java": "broker", "redis-server": "Redis", "valkey-server": "Redis"}
    found = {"worker": time.process_time(), "broker": 0.0, "Redis": 0.0}
    for child in psutil.Process().children(recursive=True):
        if who := programs.get(child.name()):
            times = child.cpu_times()
            found[who] += times.user + times.system
    return found


@contextmanager
def _shadow(services: Services, topic: str, output: str, policy: str) -> Iterator[None]:
    """Have a shadow follow, in a separate process, from when it has begun."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    settings = {
        "kafka.bootstrap_servers": services.kafka,
        "redis.url": services.redis,
        "policy.name": policy,
        "routes": [{"topics": topic, "output": output}],
    }
    process = context.Process(target=_follow, args=(settings, begun), daemon=True)
    process.start()
    try:
        if not begun.wait(_PATIENCE_S):
            raise RuntimeError(f"the shadow did not begin within {_PATIENCE_S:g} s")
        yield
    finally:
        process.kill()
        process.join()


def _follow(options: Mapping[str, object], begun: Event) -> None:
    settings = load_settings(options=options)
    with RedisStore(settings.redis.url) as store:
        shadow = Shadow(settings, ShadowOptions(_SHARE), store, NextModel())
        shadow.follow(for_s=_PATIENCE_S, counted=begun.set)


def _compared(services: Services, policy: str) -> int:
    """Return how many texts were compared."""
    with RedisStore(services.redis) as store:
        shadow = RedisShadow(store.server, policy)
        return sum(shadow.read(p, d).texts for p in shadow.pairs() for d in shadow.domains(p))


if __name__ == "__main__":
    main()
