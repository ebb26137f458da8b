"""`make demo`: streams reviews of several domains through two workers and shows what they learn."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from consumer.errors import ConsumerError
from consumer.settings import PRETRAINED
from consumer.topics import create_topics
from demo.fleet import WorkerDied, check_alive, feed, read_all, workers
from demo.texts import Text, draw, read_texts, sample_files
from demo.view import DomainSummary, Summary, live_table, save_picture, summary_panel
from deploy.local.process import ServerError
from deploy.local.services import Services, local_services
from model.engine import Engine
from model.errors import ModelError
from policy_state.backends.redis import RedisStore
from policy_state.errors import PolicyNotFound, PolicyStateError
from policy_state.report import DomainReport, read_reports

if TYPE_CHECKING:
    from collections.abc import Callable

PREDICTIONS = "offramp.predictions"
DEAD_LETTERS = "offramp.dead-letters"
PARTITIONS = 4
FULL_DEPTH_TEXTS = 500  # a domain: enough to compare with, even where a file has 25,000
STALLED_S = 120.0
REFRESH_S = 0.5
EXAMPLES = """examples:
  make demo
  make demo ARGS=--keep
  make demo ARGS="--input hotels=hotels.tsv --input news=news.jsonl --events 2000"
"""

console = Console(stderr=True)
if not console.is_terminal:
    console = Console(stderr=True, width=110)


def main() -> int:
    """Run the demo and return the exit code."""
    args = _arguments()
    try:
        return run(args)
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (ConsumerError, PolicyStateError, ModelError, ServerError, WorkerDied) as error:
        console.print(f"error: {error}", style="bold red", markup=False)
        return 1


def run(args: argparse.Namespace) -> int:
    """Start everything, stream, show, sum up, stop everything."""
    texts = {name: read_texts(path) for name, path in args.input.items()}
    total = args.events * len(texts)
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="offramp-demo-")))
        with console.status("starting Kafka and Redis"):
            services = stack.enter_context(local_services())
        environ = {
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": services.kafka,
            "OFFRAMP_REDIS__URL": services.redis,
            "OFFRAMP_MODEL__PATH": str(args.model),
        }
        console.print(f"Kafka {services.kafka} · Redis {services.redis} · {args.workers} workers")
        topics = dict.fromkeys([_topic(domain) for domain in texts], PARTITIONS)
        create_topics(services.kafka, {**topics, PREDICTIONS: PARTITIONS, DEAD_LETTERS: 1})
        running = stack.enter_context(workers(args.workers, environ, logs))
        feeder = threading.Thread(
            target=feed,
            args=(services.kafka, _topic, draw(texts, args.events, seed=args.seed)),
            daemon=True,
        )
        feeder.start()
        seconds, reports = _watch(
            services,
            list(texts),
            total,
            alive=lambda: check_alive(running, logs),
        )
        with console.status("comparing with full depth"):
            summary = _sum_up(services, texts, reports, total, seconds, args.model)
        console.print(summary_panel(summary))
        if args.picture:
            save_picture(args.picture, reports, summary)
        if args.output == "json":
            print(json.dumps(asdict(summary), indent=2))
        if args.keep:
            _wait(environ, next(iter(texts)), lambda: check_alive(running, logs))
    return 0 if summary.predictions == total and not summary.duplicates else 1


def _watch(
    services: Services, domains: list[str], total: int, *, alive: Callable[[], None]
) -> tuple[float, dict[str, DomainReport]]:
    """Show the table until every event is counted; return the seconds that took."""
    reports: dict[str, DomainReport] = {}
    begun = last_change = time.monotonic()
    first, done = None, 0
    with (
        RedisStore(services.redis) as store,
        Live(live_table({}, domains, total=total, rate=0), console=console) as live,
    ):
        while done < total:
            alive()
            time.sleep(REFRESH_S)
            try:
                found = read_reports(store, "default", domains=domains)
            except PolicyNotFound:  # no worker has started yet
                found = []
            reports = {report.domain: report for report in found}
            counted, now = sum(report.texts for report in found), time.monotonic()
            if counted > done:
                done, last_change = counted, now
                first = first or now - REFRESH_S
            if now - last_change > STALLED_S:
                raise WorkerDied(f"no progress for {STALLED_S:.0f} s at {done} of {total} events")
            rate = done / max(REFRESH_S, now - (first or begun)) if done else 0.0
            live.update(live_table(reports, domains, total=total, rate=rate))
    return last_change - (first or begun), reports


def _sum_up(  # noqa: PLR0913, PLR0917  (everything there is, once)
    services: Services,
    texts: dict[str, list[Text]],
    reports: dict[str, DomainReport],
    total: int,
    seconds: float,
    model: Path,
) -> Summary:
    predictions = read_all(services.kafka, PREDICTIONS)
    seen = Counter(str(p["id"]) for p in predictions)
    engine = Engine(model)
    last = engine.config.exits - 1
    domains = []
    for domain, rows in texts.items():
        said: dict[int, list[int]] = {}
        for p in predictions:
            if p["domain"] == domain:
                number = int(str(p["id"]).rsplit("-", 2)[1])
                said.setdefault(number, []).append(int(str(p["label"])))
        compared = sorted(said)[:FULL_DEPTH_TEXTS]
        results = engine.run([rows[n].text for n in compared], [last] * len(compared))
        deepest = {n: r.labels[-1] for n, r in zip(compared, results, strict=True)}
        pairs = [(label, n) for n in compared for label in said[n]]
        truth = [(label, n) for label, n in pairs if rows[n].label is not None]
        report = reports[domain]
        domains.append(
            DomainSummary(
                domain=domain,
                events=report.texts,
                exit=report.exit,
                layer=report.layer,
                layers_saved=report.layers_saved or 0.0,
                agreement=_mean([label == deepest[n] for label, n in pairs]) or 0.0,
                accuracy=_mean([label == rows[n].label for label, n in truth]),
                accuracy_last=_mean([deepest[n] == rows[n].label for _, n in truth]),
            )
        )
    depth = engine.config.exit_layers[-1]
    return Summary(
        events=total,
        predictions=len(predictions),
        duplicates=sum(count - 1 for count in seen.values()),
        events_per_second=total / max(seconds, REFRESH_S),
        layers_run=sum(int(str(p["layer"])) for p in predictions),
        layers_at_full_depth=len(predictions) * depth,
        agreement=sum(d.agreement * d.events for d in domains) / total,
        domains=tuple(domains),
    )


def _wait(environ: dict[str, str], domain: str, alive: Callable[[], None]) -> None:
    console.print("\nLeft running. In another terminal, in this folder:\n", style="bold")
    for name, value in environ.items():
        print(f"export {name}={value}", file=sys.stderr)
    for command in (
        "policy list",
        f"policy show {domain}",
        f"explain {domain}",
        f"produce demo/reviews/hotels.jsonl --to {_topic(domain)}",
    ):
        print(f".venv/bin/offramp {command}", file=sys.stderr)
    console.print("\nCtrl-C ends it.")
    try:
        while True:
            alive()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping")


def _topic(domain: str) -> str:
    return f"texts.{domain}"


def _mean(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name.replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path}: no such file")
    return name, Path(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--input",
        metavar="NAME=FILE",
        type=_named_file,
        action="append",
        help="stream this file (TSV, CSV, JSONL, lines; .zst) as a domain, instead of the samples",
    )
    parser.add_argument("--events", type=int, default=4000, help="events a domain (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (%(default)s)")
    parser.add_argument("--model", type=Path, default=PRETRAINED, help="model folder (the shipped)")
    parser.add_argument("--seed", type=int, default=0, help="order of the texts (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave it running, for exploring")
    parser.add_argument(
        "--picture", metavar="FILE.svg", type=Path, help="save the table and summary as a picture"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    args = parser.parse_args()
    args.input = dict(args.input) if args.input else sample_files()
    if args.events < 1 or args.workers < 1:
        parser.error("--events and --workers take whole numbers from 1")
    return args


if __name__ == "__main__":
    sys.exit(main())
