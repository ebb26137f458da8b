"""What the plumbing costs: beside a bare Kafka loop, and stage by stage beside the model."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from benchmarks.engine_model import workload, write_model
from benchmarks.free_model import FreeModel
from benchmarks.report import Goal, Report, Table
from benchmarks.stream_load import PARTITIONS, cycled, fill
from benchmarks.stream_rivals import bare_loop
from benchmarks.stream_worker import MODEL, OTHER, STAGES, Job, Marks, run_worker
from consumer.wiring import Inference
from deploy.local.services import Services
from model.engine import Engine

EVENT_BYTES = 512
DOMAINS = ("films", "hotels", "news", "shops")
BATCHES = (256, 1024)
_RATIO_GOAL = 0.8
_SHARE_GOAL = 0.05
_BERT_BATCHES = {1: 256, 3: 256, 12: 32}  # texts a batch, by the layer where all of them stop
_BERT_GOALS = (3, 12)


def plumbing(report: Report, services: Services, *, events: int, rounds: int) -> None:
    """Compare the worker with a free model to a transactional copy loop."""
    fill(services.kafka, "plumbing", _padded(events))
    rows = []
    for batch in BATCHES:
        bare: list[Marks] = []
        ours: list[Marks] = []
        for _ in range(rounds):
            bare.append(bare_loop(services.kafka, "plumbing", events, batch))
            ours.append(_free_run(services, events, batch))
        pairs = zip(ours, bare, strict=True)
        ratio = statistics.median(mine.rate() / theirs.rate() for mine, theirs in pairs)
        name = f"plumbing over a bare loop, batches of {batch}"
        report.goals.append(Goal.at_least(name, _RATIO_GOAL, ratio))
        for who, runs in (("bare loop", bare), ("Offramp, free model", ours)):
            rate = statistics.median(run.rate() for run in runs)
            size = statistics.median(run.done / run.commits for run in runs)
            rows.append((who, batch, round(size), round(rate)))
    report.tables.append(
        Table("Plumbing", ("who", "batch", "events a commit", "events a second"), tuple(rows))
    )
    report.notes.append(
        f"Plumbing: {events} events of {EVENT_BYTES} bytes, {PARTITIONS} partitions, "
        f"{len(DOMAINS)} domains, {rounds} rounds in turns, ratios within rounds, their median. "
        "Both read, write and commit in transactions; Offramp also parses, routes, decides, "
        "encodes and counts in Redis. Broker and Redis share the machine."
    )


def stages(
    report: Report, services: Services, folder: Path, *, seconds: float, events: int
) -> None:
    """Measure the CPU time of each stage with the model in `folder` and with BERT-base."""
    runs = {"free model": _free_run(services, events, BATCHES[0])}
    short = workload("short", 256).texts
    texts = [(DOMAINS[i % len(DOMAINS)], text) for i, text in enumerate(short)]
    count = 4 * events
    fill(services.kafka, "stages", cycled(texts, count))

    def timed(engine: Inference, job: Job) -> Marks:
        return run_worker(
            services, engine, job, until=lambda m: m.enough(seconds=seconds, records=count)
        ).marks

    given = Engine(folder, precision="auto", device="cpu")
    runs[f"{folder.name}, as learnt"] = timed(given, Job("stages", policy="given"))
    with TemporaryDirectory() as scratch:
        bert = Engine(
            write_model(Path(scratch), layers=tuple(_BERT_BATCHES)), precision="auto", device="cpu"
        )
    for exit_, (layer, batch) in enumerate(_BERT_BATCHES.items()):
        job = Job("stages", policy="bert", batch=batch, pin=exit_, domains=DOMAINS)
        name = f"BERT-base, layer {layer}"
        runs[name] = timed(bert, job)
        if layer in _BERT_GOALS:
            spent = runs[name].cpu_us()
            goal = f"share of CPU time that is not the model's, {name}"
            share = 1 - spent[MODEL] / sum(spent.values())
            report.goals.append(Goal.at_most(goal, _SHARE_GOAL, share))
    report.tables += _stage_tables(runs)
    report.notes.append(
        "Stages: CPU time of the worker's process, one thread of torch; texts as long as short "
        "news, for the free model 512-byte events. *Other* is what kafka-python's own threads "
        "take, and all that is no stage's. BERT-base has random weights; all its texts are pinned "
        "to one layer, in batches of "
        + ", ".join(f"{batch} (layer {layer})" for layer, batch in _BERT_BATCHES.items())
        + "."
    )


def _stage_tables(runs: Mapping[str, Marks]) -> list[Table]:
    spent = {name: marks.cpu_us() for name, marks in runs.items()}
    columns = ("stage", *runs)
    shares = [
        (stage, *(f"{100 * of[stage] / sum(of.values()):.2f}" for of in spent.values()))
        for stage in (*STAGES, OTHER)
    ]
    times = [(stage, *(f"{of[stage]:.1f}" for of in spent.values())) for stage in (*STAGES, OTHER)]
    times.append(("together", *(f"{sum(of.values()):.0f}" for of in spent.values())))
    return [
        Table("CPU share of each stage, %", columns, tuple(shares)),
        Table("CPU microseconds an event", columns, tuple(times)),
    ]


def _free_run(services: Services, events: int, batch: int) -> Marks:
    job = Job("plumbing", batch=batch, policy=f"free-{time.time_ns()}")
    return run_worker(services, FreeModel(), job, until=lambda marks: marks.done >= events).marks


def _padded(events: int) -> Iterator[bytes]:
    """Yield events of a fixed size; their texts are of any length, as the free model needs."""
    rng = random.Random(0)
    for i in range(events):
        text = "x" * rng.randrange(100, 300)
        event = {"id": f"e{i}", "domain": rng.choice(DOMAINS), "text": text, "more": ""}
        event["more"] = "x" * (EVENT_BYTES - len(orjson.dumps(event)))
        yield orjson.dumps(event)
