"""Fleets of 1 to 500 workers: what they do, what Redis does, what they learn, how they scale.

The fleets are simulated. Real workers, as many as this machine can run, say whether the simulation
is right, and a real Redis says what a worker costs it. `offramp plan` uses these costs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.scaling.autoscaler import CHART, RULES, Pods, loads, scaled
from benchmarks.scaling.fleet import Pace, Run, simulate
from benchmarks.scaling.real import Device, Window, idle_commands, measured
from benchmarks.scaling.redis_load import apply_costs, fitted, look_us
from benchmarks.stream.load import cycled, fill
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import DEAD_LETTERS, OUTPUT, Job
from consumer.process.log_lines import log_to_stderr
from consumer.sizing.plan import COMMIT_S, PLUMBING_BATCH_S, PLUMBING_TEXT_S
from consumer.sizing.redis_load import (
    APPLY_COUNTER_S,
    APPLY_S,
    LOOK_S,
    idle_commands_per_s,
)
from deploy.local.services import Services, local_services
from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.outcomes import Scale, outcome
from policy_state.simulation.replay import Fleet, replay, shuffles
from policy_state.simulation.synthetic import SyntheticDomain

DOMAINS, EXITS = 10, 4
LAYERS = (1, 3, 7, 12)
FLEETS = (1, 4, 16, 64, 256, 500)
BATCH, DEVICE = 64, Device(0.3, 0.0005)  # of real workers
# BERT-base on an H200, texts of 50 tokens at mixed exits: benchmarks/results/gpu.md.
GPU = Pace(
    compute_s=(0.9e-3, 11e-6),
    prepare_s=(PLUMBING_BATCH_S, PLUMBING_TEXT_S + 20e-6),
    commit_s=COMMIT_S,
    apply_s=APPLY_S + APPLY_COUNTER_S * DOMAINS * EXITS,
)
PACES = {
    "batches of 256 in 50 ms": GPU,
    "batches of 2,048 in 500 ms": replace(GPU, max_events=2048, max_wait_s=0.5),
}
DOMAIN = SyntheticDomain((0.2, 0.1, 0.08, 0.075), violations=0.1)
_DEVIATION = 0.15
_USED = 0.7  # of what a worker can do, where events come evenly


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    workers: tuple[int, ...]  # real ones
    seconds: float  # of real workers
    idle_s: float
    calls: int  # of `apply.lua`
    simulated_s: float
    texts: int  # of a domain
    trials: int
    hours: int  # of autoscaling


FULL = Size((1, 2, 3, 4), 8.0, 8.0, 100, 10.0, 20_000, 1, 12)
QUICK = Size((1, 2), 3.0, 4.0, 20, 3.0, 5_000, 1, 2)


def main() -> None:
    """Measure, simulate, print, and write the results where asked."""
    options = parser("scale", __doc__).parse_args()
    log_to_stderr("error")
    logging.getLogger().setLevel(logging.ERROR)
    size = QUICK if options.quick else FULL
    report = Report("scale")
    with local_services() as services:
        create_topics(services.kafka, {OUTPUT: 8, DEAD_LETTERS: 1, "empty": 8})
        real_part(report, services, size)
        idle_part(report, services, size)
    redis_part(report, size)
    look_part(report, size)
    fleets = fleet_part(report, size)
    regret_part(report, fleets, size)
    autoscaling_part(report, size)
    hand_in(report, options)


def real_part(report: Report, services: Services, size: Size) -> None:
    """Compare real workers with the simulation, which knows one of them."""
    rows, worst, pace = [], 0.0, None
    for count in size.workers:
        topic = f"scale-{count}"
        events = [(f"d{i % DOMAINS}", f"text {i}") for i in range(100)]
        rate = count * BATCH / (DEVICE.batch_s + BATCH * DEVICE.text_s)
        amount = int(1.5 * rate * (size.seconds + 40))
        fill(services.kafka, topic, cycled(events, amount), partitions=2 * count)
        job = Job(topic, batch=BATCH, group=topic, policy=topic)
        found = measured(services, job, DEVICE, count, seconds=size.seconds)
        pace = pace or _pace(found)
        told = simulate(pace, count, seconds=60)
        apart = told.texts_per_s / found.texts_per_s - 1
        worst = max(worst, abs(apart))
        rows.append(_compared(count, found, told, apart))
    report.goals.append(
        Goal.at_most(
            "simulated texts a second against real ones, furthest apart", _DEVIATION, worst
        )
    )
    columns = ("workers", "texts/s", "simulated", "apart", "texts a batch")
    more = ("commit, ms", "of that Redis, ms", "age of counters, ms", "simulated")
    report.tables.append(Table("Real workers and simulated ones", (*columns, *more), tuple(rows)))
    report.notes.append(
        "Real workers: processes with Kafka, Redis and all of a worker's Python; the model waits "
        "as long as a made-up device would compute. The simulation knows the times of one worker "
        "(the first row) and tells the others. This holds as long as the cores of "
        "the machine are not the limit: workers on separate machines, each with a device."
    )


def _pace(found: Window) -> Pace:
    """Return the times of one worker, as it was measured alone."""
    apply_s = found.redis_cpu_s / len(found.commits)
    over_s = max(0.0, found.compute_s - DEVICE.batch_s - found.batch * DEVICE.text_s)
    return Pace(
        compute_s=(DEVICE.batch_s + over_s, DEVICE.text_s),
        prepare_s=(PLUMBING_BATCH_S, PLUMBING_TEXT_S),
        commit_s=max(0.0, found.mean("commit_s") - apply_s),
        apply_s=apply_s,
        max_events=BATCH,
    )


def _compared(count: int, found: Window, told: Run, apart: float) -> tuple[object, ...]:
    return (
        *(count, round(found.texts_per_s), round(told.texts_per_s), f"{apart:+.1%}"),
        *(round(found.batch), round(1e3 * found.mean("commit_s"), 1)),
        *(round(1e3 * found.mean("apply_s"), 1), round(1e3 * found.age_s)),
        round(1e3 * told.age_s),
    )


def redis_part(report: Report, size: Size) -> None:
    """Measure what a counted batch and an idle worker cost, beside what `offramp plan` says."""
    costs = apply_costs((4, 12), (1, 4, 16, 64), calls=size.calls)
    rows, worst = [], 0.0
    for cost in costs:
        counters = cost.domains * cost.exits
        planned_us = 1e6 * (APPLY_S + APPLY_COUNTER_S * counters)
        worst = max(worst, cost.cpu_us / planned_us)
        both = round(cost.bytes_in + cost.bytes_out)
        rows.append((cost.exits, cost.domains, round(cost.cpu_us), round(planned_us), both))
    columns = ("exits", "domains", "CPU microseconds", "in a plan", "bytes")
    title = "What a counted batch of two partitions costs Redis"
    report.tables.append(Table(title, columns, tuple(rows)))
    report.goals.append(
        Goal.at_most("Redis's CPU time of a batch over that of a plan, worst", 1.25, worst)
    )
    for name in ("cpu_us", "bytes_in", "bytes_out"):
        a, b, c = fitted(costs, name)
        report.notes.append(f"{name}, a batch: {a:.0f} + domains x ({b:.1f} + {c:.1f} x exits)")


def idle_part(report: Report, services: Services, size: Size) -> None:
    """Count what workers without texts send to Redis."""
    rows, worst = [], 0.0
    for count in (size.workers[0], size.workers[-1]):
        job = Job("empty", group=f"idle-{count}", policy="idle")
        sent = idle_commands(services, job, count, seconds=size.idle_s)
        planned = sum(idle_commands_per_s(count))
        rows.append((count, round(sent, 2), round(planned, 2)))
        worst = max(worst, sent / planned)
    columns = ("workers", "commands/s", "in a plan")
    report.tables.append(Table("Workers without texts", columns, tuple(rows)))
    report.goals.append(
        Goal.at_most("commands of idle workers over those of a plan, worst", 1.25, worst)
    )


def look_part(report: Report, size: Size) -> None:
    """Measure what it costs that each worker looks at every other one."""
    found = look_us(max(FLEETS)) if size is FULL else look_us(20)
    report.goals.append(
        Goal.at_most("CPU of a look at one worker over that of a plan", 1.25, found / 1e6 / LOOK_S)
    )


def fleet_part(report: Report, size: Size) -> dict[int, Run]:
    """Add simulated fleets, with a backlog and with even events; return the latter by workers."""
    paced: dict[int, Run] = {}
    for name, pace in PACES.items():
        rows = []
        alone = simulate(pace, 1, seconds=size.simulated_s)
        for count in FLEETS:
            full = simulate(pace, count, seconds=size.simulated_s)
            share = full.texts_per_s / alone.texts_per_s / count
            rate = _USED * full.texts_per_s
            even = simulate(pace, count, seconds=size.simulated_s, events_per_s=rate)
            paced.setdefault(count, even)  # those of the first setting
            rows.append(
                (
                    *(count, round(full.texts_per_s), f"{share:.0%}", f"{full.redis_busy:.0%}"),
                    *(round(even.texts_per_s), f"{even.redis_busy:.0%}", round(even.batch)),
                    *(round(1e3 * even.latency_p50_s), round(1e3 * even.latency_p99_s)),
                    *(round(1e3 * even.age_s), round(even.unseen)),
                )
            )
        columns = ("workers", "texts/s", "of as many alone", "Redis busy")
        more = ("texts/s at 70 %", "Redis busy", "texts a batch", "latency p50, ms", "p99, ms")
        last = ("age of counters, ms", "texts not in them")
        title = f"Simulated fleets, {name}, {DOMAINS} domains, {EXITS} exits, one Redis"
        report.tables.append(Table(title, (*columns, *more, *last), tuple(rows)))
    report.notes.append(
        "Simulated fleets: each worker has a GPU (BERT-base, 50 tokens, mixed exits). Texts not in "
        "the counters: of all workers, decided on before an exit is chosen and not in the counters "
        "that it is chosen with."
    )
    return paced


def regret_part(report: Report, fleets: dict[int, Run], size: Size) -> None:
    """Add what a domain loses because its counters lag behind its texts."""
    rng = np.random.default_rng(0)
    labels, truth = DOMAIN.texts(20_000, rng)
    orders = shuffles(len(labels), size.trials, texts=size.texts)
    rows = []
    regrets: dict[tuple[str, int], float] = {}
    for count, run in fleets.items():
        batch = max(1, round(run.batch / DOMAINS))
        delay = max(0, round(run.unseen / (count * run.batch)))
        found = []
        for name in ("default", "uee-ucb"):
            algorithm = build(PolicySettings(algorithm=name), LAYERS)
            played = replay(algorithm, labels, orders, fleet=Fleet(count, batch, delay))
            scale = Scale(labels, truth, algorithm.costs, LAYERS)
            regrets[name, count] = outcome(played, scale).regret["end"].mean
            found += [round(regrets[name, count], 1), f"{regrets[name, count] / size.texts:.3%}"]
        rows.append((count, batch, delay, *found))
    report.goals.append(
        Goal.at_most(
            "regret of 16 workers over that of one, default algorithm",
            3,
            regrets["default", 16] / regrets["default", 1],
        )
    )
    columns = ("workers", "texts of the domain a batch", "rounds behind")
    more = ("default", "a text", "uee-ucb", "a text")
    title = f"Regret of a new domain over {size.texts:,} texts"
    report.tables.append(Table(title, (*columns, *more), tuple(rows)))
    report.notes.append(
        "Regret: as in benchmarks.policy.regret, of a made-up domain; batches and rounds behind "
        "are those of the simulated fleets with even events."
    )


def autoscaling_part(report: Report, size: Size) -> None:
    """Add what the chart's autoscaling does to kinds of load, beside fewer triggers."""
    rows, turns, waits = [], [], []
    seconds = 3600 * size.hours
    for capacity in (200, 2000):
        for load_name, load in loads(capacity).items():
            for name, rules in RULES.items():
                found = scaled(load, rules, Pods(capacity), seconds=seconds)
                if rules is CHART:
                    turns.append(found.turns_per_hour if load_name in {"steady", "a day"} else 0.0)
                    waits.append(found.worst_wait_s)
                pods = f"{found.pod_hours / found.pod_hours_needed:.2f}"
                rows.append(
                    (
                        *(capacity, load_name, name, round(found.turns_per_hour, 2)),
                        *(round(found.worst_wait_s), round(found.mean_wait_s, 1), pods),
                    )
                )
    report.goals += [
        Goal.at_most("the chart's flaps an hour, steady load and a day", 0.1, max(turns)),
        Goal.at_most("the chart's longest wait, seconds, any load", 120, max(waits)),
    ]
    columns = ("texts/s a pod", "load", "triggers", "flaps an hour")
    more = ("longest wait, s", "mean wait, s", "pod hours over those needed")
    title = f"Autoscaling over {size.hours} hours"
    report.tables.append(Table(title, (*columns, *more), tuple(rows)))
    like = Pods(0)
    report.notes.append(
        "Autoscaling: KEDA and the autoscaler of Kubernetes second by second, by the rules of "
        f"deploy/helm/offramp. A pod begins {like.start_s} s after it is asked for, and each "
        f"change of the group stops all partitions for {like.pause_s} s. Flaps: a pod less after "
        "one more, or the other way round. Needed: the load at 70 % use, without any delay."
    )


if __name__ == "__main__":
    main()
