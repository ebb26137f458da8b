"""The demo's course: start everything, stream, show, sum up, stop everything."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from consumer.errors import ConsumerError
from consumer.kafka.topics import NewTopic, create_new_topics
from consumer.settings.sections import KafkaSettings
from demo.fleet import WorkerDied, check_alive, feeding, following, threads_each, workers
from demo.summary import Drift, Predicted, sum_up
from demo.texts import Text, draw, number_of, read_domains
from demo.view import Screen, live_table, next_steps, save_picture, summary_view
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
    from collections.abc import Callable, Iterable, Mapping

PREDICTIONS = "offramp.predictions"
POLICY = "default"
PARTITIONS = 4
HOLDOUT = 0.03  # three times the default: a demo is short, and its figures rest on these texts
STALLED_S = 120.0
REFRESH_S = 0.5


@dataclass(slots=True)
class Course:
    """What has been seen of the stream up to now."""

    predictions: list[Predicted] = field(default_factory=list)
    reports: dict[str, DomainReport] = field(default_factory=dict)  # by domain, the latest
    before: dict[str, DomainReport] = field(default_factory=dict)  # the latest before it turned
    drifts: list[Drift] = field(default_factory=list)
    first: float | None = None  # when, by the monotonic clock, there were predictions
    latest: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """From the first prediction to the latest."""
        return max(REFRESH_S, self.latest - (self.first or self.latest) + REFRESH_S)


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
    texts = read_domains(args.input, args.later, read_config(args.model).labels)
    total = args.events * len(texts)
    with ExitStack() as stack:
        logs = stack.enter_context(GuardedFolder("demo"))
        with screen.doing("starting Kafka and Redis"):
            services = stack.enter_context(local_services())
        environ = {
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": services.kafka,
            "OFFRAMP_REDIS__URL": services.redis,
            "OFFRAMP_MODEL__PATH": str(args.model),
            "OFFRAMP_POLICY__HOLDOUT": str(HOLDOUT),
        }
        screen.say(f"Kafka {services.kafka} · Redis {services.redis} · {args.workers} workers")
        kafka = KafkaSettings(bootstrap_servers=services.kafka)
        create_new_topics(kafka, topics_of(texts, kafka))
        running = stack.enter_context(workers(args.workers, environ, logs))
        events, course = draw(texts, args.events, seed=args.seed), Course()
        stack.enter_context(
            feeding(services.kafka, _topic, events, done=lambda: len(course.predictions))
        )
        _watch(
            services, texts, total, course, screen, alive=lambda: check_alive(running, logs.path)
        )
        torch.set_num_threads(threads_each(args.workers))  # to take as long as a worker does
        with screen.doing("comparing with full depth"):
            summary = sum_up(
                texts,
                course.predictions,
                course.reports,
                course.before,
                course.drifts,
                Engine(args.model),
                total=total,
                seconds=course.seconds,
            )
        screen.result(summary_view(summary), "", next_steps())
        if args.picture:
            save_picture(args.picture, summary)
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


def _watch(  # noqa: PLR0913, PLR0917  (everything there is, once)
    services: Services,
    texts: Mapping[str, list[Text]],
    total: int,
    course: Course,
    screen: Screen,
    alive: Callable[[], None],
) -> None:
    """Show the table until every event has its prediction, and say when something happens."""
    with (
        RedisStore(services.redis) as store,
        following(services.kafka, PREDICTIONS) as read,
        screen.live(live_table({}, {}, list(texts), total=total, rate=0)) as show,
    ):
        while len(course.predictions) < total:
            alive()
            found = [_predicted(row) for row in read(REFRESH_S)]
            now = time.monotonic()
            if found:
                course.first, course.latest = course.first or now, now
            if now - course.latest > STALLED_S:
                done = f"{len(course.predictions)} of {total}"
                raise WorkerDied(f"no progress for {STALLED_S:.0f} s at {done} events")
            course.predictions += found
            later = Counter(p.domain for p in course.predictions if texts[p.domain][p.number].later)
            new = Counter(p.domain for p in found if texts[p.domain][p.number].later)
            for domain in (domain for domain in later if later[domain] == new[domain]):
                screen.say(f"{domain}: from here on its texts are of another kind", style="bold")
            for drift in _note(store, texts, course, later):
                screen.say(drift.in_words, style="bold yellow")
            counts = Counter(p.domain for p in course.predictions)
            rate = len(course.predictions) / course.seconds
            show(live_table(course.reports, counts, list(texts), total=total, rate=rate))


def _note(
    store: RedisStore, domains: Iterable[str], course: Course, later: Mapping[str, int]
) -> list[Drift]:
    """Take down what the policy knows of each domain; return the drifts noticed since.

    Args:
        store: Where the policy is.
        domains: All of the demo.
        course: What has been seen before, and is brought up to date.
        later: How many texts of the later kind each domain has had.
    """
    try:
        reports = read_reports(store, POLICY, domains=list(domains))
    except PolicyNotFound:  # no worker has started yet
        return []
    noticed = []
    for report in reports:
        name = report.domain
        known = course.reports.get(name, report)
        if report.diagnosis.drifts > known.diagnosis.drifts:
            reason = store.audit(domain=name, limit=1)[0].reason
            noticed.append(Drift(name, later[name], reason))
        if not later[name]:
            course.before[name] = report
        course.reports[name] = report
    course.drifts += noticed
    return noticed


def _predicted(row: Mapping[str, Any]) -> Predicted:
    chosen, labels = row.get("chosen_exit"), row["exit_labels"]
    return Predicted(
        domain=row["domain"],
        number=number_of(row["id"]),
        event=row["id"],
        label=row["label"],
        exit=row["exit"],
        layer=row["layer"],
        same=None if chosen is None else labels[chosen] == labels[-1],
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
