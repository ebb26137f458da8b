"""What the plumbing costs: beside a bare Kafka loop, and stage by stage beside the model."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from benchmarks.engine.model import workload, write_model
from benchmarks.free_model import FreeModel
from benchmarks.report import Goal, Report, Table
from benchmarks.stream.load import PARTITIONS, cycled, fill
from benchmarks.stream.rivals import bare_loop
from benchmarks.stream.size import Size
from benchmarks.stream.worker import (
    MODEL,
    OTHER,
    READING,
    STAGES,
    WRITING,
    Job,
    Marks,
    run_worker,
)
from consumer.kafka.writing.transactions import PRODUCING
from demo.texts import read_texts, sample_files
from deploy.local.services import Services
from model.engine.engine import Engine

EVENT_BYTES = 512
DOMAINS = ("films", "hotels", "news", "shops")
BATCHES = (256, 1024)
_BARE = "bare loop, defaults"
_TUNED = "bare loop, Offramp's producer settings"
_OURS = "Offramp, free model"
_COLUMNS = (
    "who",
    "batch",
    "events a commit",
    "events a second",
    "Offramp beside it",
    "CPU microseconds an event",
    "Offramp's CPU time beside it",
)
_RATIO_GOALS = {256: 0.8, 1024: 0.9}
_TOKENISED_GOAL_US = 100.0
_SHARE_GOAL = 0.05
_BERT_LAYERS = (1, 3, 12)
_BERT_EVENTS = 10_000
_BERT_BUFFER_BYTES = 64 << 10  # little is read ahead: polling keeps the pace of the model


def plumbing(report: Report, services: Services, size: Size) -> Mapping[str, Marks]:
    """Compare the worker with a free model to a transactional copy loop; return a run for each."""
    events, rounds = size.copied_events, size.copy_rounds
    known = {}
    fill(services.kafka, "plumbing", padded(events))
    rows: list[tuple[str | int, ...]] = []
    for batch in BATCHES:
        runs: dict[str, list[Marks]] = {_BARE: [], _TUNED: [], _OURS: []}
        ways: dict[str, Callable[[], Marks]] = {
            _BARE: partial(bare_loop, services.kafka, "plumbing", events, batch),
            _TUNED: partial(bare_loop, services.kafka, "plumbing", events, batch, **PRODUCING),
            _OURS: partial(_free_run, services, events, batch),
        }
        for number in range(rounds):
            for who in list(ways)[:: -1 if number % 2 else 1]:
                runs[who].append(ways[who]())
        ratios = {who: _ratio(runs[_OURS], runs[who], Marks.rate) for who in runs}
        cpu = {who: _ratio(runs[_OURS], runs[who], Marks.all_cpu_us) for who in runs}
        name = f"plumbing over a bare loop with its producer settings, batches of {batch}"
        report.goals.append(Goal.at_least(name, _RATIO_GOALS[batch], ratios[_TUNED]))
        for who, found in runs.items():
            rate = statistics.median(run.rate() for run in found)
            commit = statistics.median(run.done / run.commits for run in found)
            spent = statistics.median(run.all_cpu_us() for run in found)
            rows.append(
                (
                    *(who, batch, round(commit), round(rate), f"{ratios[who]:.2f} x"),
                    *(round(spent), f"{cpu[who]:.2f} x"),
                )
            )
        known[f"free model, batches of {batch}"] = runs[_OURS][-1]
    report.tables.append(Table("Plumbing", _COLUMNS, tuple(rows)))
    report.notes.append(
        f"Plumbing: {events} events of {EVENT_BYTES} bytes, {PARTITIONS} partitions, "
        f"{len(DOMAINS)} domains, {rounds} rounds in turns, ratios within rounds, their median. "
        "Both read, write and commit in transactions; Offramp also parses, routes, decides, "
        "encodes and counts in Redis. Broker and Redis share the machine."
    )
    return known


def stages(report: Report, services: Services, known: Mapping[str, Marks], size: Size) -> None:
    """Add the CPU time of each stage: of BERT-base, run here, and of runs that were made before."""
    short = workload("short", 256).texts
    texts = [(DOMAINS[i % len(DOMAINS)], text) for i, text in enumerate(short)]
    fill(services.kafka, "stages", cycled(texts, _BERT_EVENTS))
    with TemporaryDirectory() as scratch:
        folder = write_model(Path(scratch), layers=_BERT_LAYERS)
        bert = Engine(folder, precision="auto", device="cpu")
    runs = dict(known)
    for layer, batch in size.bert_batches.items():
        job = Job(
            "stages",
            batch=batch,
            buffer_bytes=_BERT_BUFFER_BYTES,
            policy="bert",
            pin=_BERT_LAYERS.index(layer),
            domains=DOMAINS,
        )
        name = f"BERT-base, layer {layer}"
        runs[name] = run_worker(
            services,
            bert,
            job,
            until=lambda m: m.enough(seconds=size.bert_seconds, records=_BERT_EVENTS),
        ).marks
        if layer > 1:  # one layer is hardly a BERT-base
            spent = runs[name].cpu_us()
            goal = f"share of CPU time that is not the model's, {name}"
            share = 1 - sum(spent[stage] for stage in MODEL) / sum(spent.values())
            report.goals.append(Goal.at_most(goal, _SHARE_GOAL, share))
    profile(report, runs)
    batches = ", ".join(f"{batch} (layer {layer})" for layer, batch in size.bert_batches.items())
    report.notes.append(
        f"BERT-base ({bert.precision}) has random weights and texts as long as short news, all "
        f"pinned to one layer, in batches of {batches}."
    )


def profile(report: Report, runs: Mapping[str, Marks]) -> None:
    """Add where the CPU time of some runs went, stage by stage."""
    spent = {name: marks.cpu_us() for name, marks in runs.items()}
    columns = ("stage", *runs)
    shares: list[tuple[str, ...]] = []
    times: list[tuple[str, ...]] = []
    for stage in (*STAGES, READING, WRITING, OTHER):
        shares.append(
            (stage, *(f"{100 * of[stage] / sum(of.values()):.2f}" for of in spent.values()))
        )
        times.append((stage, *(f"{of[stage]:.1f}" for of in spent.values())))
    times.append(("together", *(f"{sum(of.values()):.0f}" for of in spent.values())))
    report.tables += [
        Table("CPU share of each stage, %", columns, tuple(shares)),
        Table("CPU microseconds an event", columns, tuple(times)),
    ]
    report.notes.append(
        "Stages: CPU time of the worker's process, each in the thread that does it; what "
        "kafka-python does in its own threads to read and to write is apart. *Other* is all else: "
        "the threads of a tokeniser written in Rust, too."
    )


def _ratio(
    ours: Sequence[Marks], theirs: Sequence[Marks], figure: Callable[[Marks], float]
) -> float:
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(figure(mine) / figure(their) for mine, their in pairs)


def _free_run(services: Services, events: int, batch: int) -> Marks:
    job = Job("plumbing", batch=batch, policy=f"free-{time.time_ns()}")
    return run_worker(services, FreeModel(), job, until=lambda marks: marks.done >= events).marks


class _Tokenised(FreeModel):
    """A free model that has its texts tokenised by a real one, and takes no heed of the tokens."""

    def __init__(self, folder: Path) -> None:
        self.real = Engine(folder, device="cpu")

    def tokenise(self, texts: Sequence[str]) -> Sequence[str]:
        """Tokenise, and return the texts all the same."""
        self.real.tokenise(texts)
        return texts


def tokenised(report: Report, services: Services, folder: Path, size: Size) -> Mapping[str, Marks]:
    """Measure the plumbing and the tokeniser of a model together, on reviews; return the runs."""
    reviews = [
        (domain, review.text)
        for domain, path in sample_files().items()
        for review in read_texts(path)[: size.texts_a_domain]
    ]
    random.Random(0).shuffle(reviews)
    fill(services.kafka, "tokenised", cycled(reviews, size.copied_events))
    model, runs = _Tokenised(folder), {}
    tokens = model.real.tokenise([text for _, text in reviews]).count / len(reviews)
    report.notes.append(f"Tokenised: reviews of {tokens:.0f} tokens on average.")
    for batch in BATCHES:
        job = Job("tokenised", batch=batch, policy=f"tokenised-{batch}")
        name = f"tokeniser and free model, batches of {batch}"
        runs[name] = run_worker(
            services, model, job, until=lambda marks: marks.done >= size.copied_events
        ).marks
        report.goals.append(
            Goal.at_most(
                f"CPU microseconds an event, {name}", _TOKENISED_GOAL_US, runs[name].all_cpu_us()
            )
        )
    return runs


def padded(events: int) -> Iterator[bytes]:
    """Yield events of a fixed size; their texts are of any length, as the free model needs."""
    rng = random.Random(0)
    for i in range(events):
        text = "x" * rng.randrange(100, 300)
        event = {"id": f"e{i}", "domain": rng.choice(DOMAINS), "text": text, "more": ""}
        event["more"] = "x" * (EVENT_BYTES - len(orjson.dumps(event)))
        yield orjson.dumps(event)
