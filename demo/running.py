"""The demo's course: start everything, stream, show, sum up, stop everything."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from consumer.errors import ConsumerError
from consumer.kafka.topics import NewTopic, create_new_topics
from consumer.settings.sections import KafkaSettings
from demo.fleet import WorkerDied, check_alive, feeding, read_all, workers
from demo.texts import Text, draw, read_texts
from demo.view import DomainSummary, Screen, Summary, live_table, save_picture, summary_panel
from deploy.local.guarded import GuardedFolder
from deploy.local.process import ServerError
from deploy.local.services import Services, local_services
from model.config import read_config
from model.engine.engine import Engine
from model.errors import ModelError
from policy_state.errors import PolicyNotFound, PolicyStateError
from policy_state.reports.domain import DomainReport, read_reports
from policy_state.store.redis.store import RedisStore

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from pathlib import Path

PREDICTIONS = "offramp.predictions"
PARTITIONS = 4
FULL_DEPTH_TEXTS = 500  # a domain: enough to compare with, even where a file has 25,000
STALLED_S = 120.0
REFRESH_S = 0.5


def run(args: argparse.Namespace) -> int:
    """Run the demo; our own errors end it with a line on stderr and exit code 1."""
    screen = Screen(json=args.output == "json")
    try:
        return _run(args, screen)
    except (ConsumerError, PolicyStateError, ModelError, ServerError, WorkerDied) as error:
        screen.say(f"error: {error}", style="bold red")
        return 1


def _run(args: argparse.Namespace, screen: Screen) -> int:
    """Start everything, stream, show, sum up, stop everything."""
    labels = read_config(args.model).labels
    texts = {name: read_texts(path, labels) for name, path in args.input.items()}
    total = args.events * len(texts)
    with ExitStack() as stack:
        logs = stack.enter_context(GuardedFolder("demo"))
        with screen.doing("starting Kafka and Redis"):
            services = stack.enter_context(local_services())
        environ = {
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": services.kafka,
            "OFFRAMP_REDIS__URL": services.redis,
            "OFFRAMP_MODEL__PATH": str(args.model),
        }
        screen.say(f"Kafka {services.kafka} · Redis {services.redis} · {args.workers} workers")
        kafka = KafkaSettings(bootstrap_servers=services.kafka)
        create_new_topics(kafka, topics_of(texts, kafka))
        running = stack.enter_context(workers(args.workers, environ, logs))
        events = draw(texts, args.events, seed=args.seed)
        stack.enter_context(feeding(services.kafka, _topic, events))
        seconds, reports = _watch(
            services, list(texts), total, screen, alive=lambda: check_alive(running, logs.path)
        )
        with screen.doing("comparing with full depth"):
            summary = _sum_up(services, texts, reports, total, seconds, args.model)
        last = live_table(reports, list(texts), total=total, rate=summary.events_per_second)
        screen.result(last, summary_panel(summary))
        if args.picture:
            save_picture(args.picture, reports, summary)
        if args.output == "json":
            print(json.dumps(asdict(summary), indent=2), flush=True)
        if args.keep:
            _wait(environ, next(iter(texts)), screen, lambda: check_alive(running, logs.path))
    return 0 if summary.predictions == total and not summary.duplicates else 1


def topics_of(domains: Iterable[str], kafka: KafkaSettings) -> list[NewTopic]:
    """Return the topics that the workers need for some domains."""
    shared = [*map(_topic, domains), PREDICTIONS]
    return [
        *(NewTopic(name, PARTITIONS) for name in shared),
        NewTopic(kafka.dead_letters, 1),
        NewTopic(kafka.policy_topic, 1, configs={"cleanup.policy": "compact"}),
    ]


def _watch(
    services: Services,
    domains: list[str],
    total: int,
    screen: Screen,
    *,
    alive: Callable[[], None],
) -> tuple[float, dict[str, DomainReport]]:
    """Show the table until every event is counted; return the seconds that took."""
    reports: dict[str, DomainReport] = {}
    begun = last_change = time.monotonic()
    first, done = None, 0
    with (
        RedisStore(services.redis) as store,
        screen.live(live_table({}, domains, total=total, rate=0)) as show,
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
            show(live_table(reports, domains, total=total, rate=rate))
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


def _wait(environ: dict[str, str], domain: str, screen: Screen, alive: Callable[[], None]) -> None:
    screen.say("\nLeft running. In another terminal, in this folder:\n", style="bold")
    for name, value in environ.items():
        screen.say(f"export {name}={value}")
    for command in (
        "policy list",
        f"policy show {domain}",
        f"explain {domain}",
        f"produce demo/reviews/hotels.jsonl --to {_topic(domain)}",
    ):
        screen.say(f".venv/bin/offramp {command}")
    screen.say("\nCtrl-C ends it.")
    try:
        while True:
            alive()
            time.sleep(1)
    except KeyboardInterrupt:
        screen.say("stopping")


def _topic(domain: str) -> str:
    return f"texts.{domain}"


def _mean(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None
