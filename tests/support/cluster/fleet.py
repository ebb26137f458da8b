"""Workers in a cluster, deployed with the chart, and what came of the texts that they were sent."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.cluster import committed
from tests.support.cluster.images import CHECKOUT
from tests.support.cluster.kubectl import Kubectl, Refused, run
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.cluster.found import Cluster

NAMESPACE = "offramp"
RELEASE = "fleet"
DOMAINS = ("films", "finance", "hotels", "products")
INPUTS = tuple(f"texts.{domain}" for domain in DOMAINS)
OUTPUT, DEAD = "offramp.predictions", "offramp.dead-letters"
WORKERS = "app.kubernetes.io/component=worker"
CHART = CHECKOUT / "deploy" / "helm" / "offramp"
_BACKING = Path(__file__).with_name("backing.yaml")
_REVIEWS = CHECKOUT / "demo" / "reviews"
_SETTLE_S = 300.0


@dataclass
class Outcome:
    """What went in and what came out."""

    texts: int
    predictions: int
    dead_letters: int
    twice: int
    missing: int
    unknown: int  # answers to what nobody sent
    times_ms: list[int] = field(repr=False)  # when predictions were written

    @property
    def is_settled(self) -> bool:
        """Whether every text has its answer."""
        return self.missing == 0

    def longest_gap_s(self, since: float, until: float) -> float:
        """Return the longest time without a prediction between two moments."""
        inside = sorted(t / 1000 for t in self.times_ms if since <= t / 1000 <= until)
        ends = [since, *inside, until]
        return max(later - earlier for earlier, later in pairwise(ends))


class Fleet:
    """A release of the chart in its namespace, with a Kafka, a Redis and a client beside it."""

    def __init__(self, cluster: Cluster, values: dict[str, Any]) -> None:
        """Say what to deploy; nothing is there yet."""
        self.cluster = cluster
        self.kubectl = Kubectl(cluster.kubectl, NAMESPACE)
        self.values = values

    def make_surroundings(self) -> None:
        """Make the namespace, Kafka, Redis and the client, and wait until they answer."""
        self.kubectl.make_namespace("restricted")
        wait_for(lambda: self._succeeds("get", "serviceaccount", "default"))
        backing = _BACKING.read_text().replace("WORKER_IMAGE", self.cluster.image)
        self.kubectl("apply", "--filename=-", said=backing)
        for pod in ("kafka", "redis", "client"):
            self.kubectl(
                "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=180s", timeout_s=200
            )
        self.cluster.publish_names()

    def deploy(self, *, wait: bool = True, **changes: Any) -> None:
        """Install the chart or upgrade to other values; `changes` stay for later calls."""
        _merge(self.values, changes)
        command = [
            *self.cluster.helm,
            "upgrade",
            "--install",
            RELEASE,
            str(CHART),
            f"--namespace={NAMESPACE}",
            "--values=-",
            "--timeout=5m",
        ]
        run(command, said=json.dumps(self.values), timeout_s=400)
        if wait:
            self.wait_until_rolled_out()

    def rollback(self) -> None:
        """Return to the values before the last upgrade."""
        command = [
            *self.cluster.helm,
            "rollback",
            RELEASE,
            f"--namespace={NAMESPACE}",
            "--timeout=5m",
        ]
        run(command, timeout_s=400)

    def helm_test(self) -> None:
        """Run the tests of the chart."""
        run([*self.cluster.helm, "test", RELEASE, f"--namespace={NAMESPACE}"], timeout_s=400)

    def remove(self) -> None:
        """Remove all of it, and wait until it is gone."""
        self.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s", timeout_s=150)

    def wait_until_rolled_out(self) -> None:
        """Return when every worker runs what was deployed last."""
        name = f"statefulset/{RELEASE}-worker"
        self.kubectl("rollout", "status", name, "--timeout=300s", timeout_s=320)
        self.cluster.publish_names()

    def scale(self, workers: int) -> None:
        """Set the number of workers by hand, and wait for them."""
        self.kubectl("scale", f"statefulset/{RELEASE}-worker", f"--replicas={workers}")
        wait_for(lambda: len(self.pods()) == workers)
        self.wait_until_rolled_out()

    def pods(self) -> list[dict[str, Any]]:
        """Return the pods of workers, in order of their names."""
        found = self.kubectl.json("get", "pods", f"--selector={WORKERS}")["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def pod(self, number: int) -> dict[str, Any] | None:
        """Return the pod of one worker; None while there is none."""
        name = worker(number)
        return next((p for p in self.pods() if p["metadata"]["name"] == name), None)

    def ready(self) -> list[str]:
        """Return the names of the workers that are ready and not about to end."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods()
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in pod["status"].get("conditions", ())
            )
        ]

    def offramp(self, *args: str, said: bytes | None = None, timeout_s: float = 120) -> str:
        """Run a command of Offramp in the client and return what it prints."""
        return self.kubectl.run_in("client", "offramp", *args, said=said, timeout_s=timeout_s)

    def ask(self, number: int, path: str) -> tuple[int, str]:
        """Return the status and the text with which a worker answers on its port."""
        code = _ASK.replace("PATH", path)
        status, _, text = self.kubectl.run_in(worker(number), "python", "-c", code).partition("\n")
        return int(status), text

    def gauge(self, number: int, name: str) -> float:
        """Return the sum of a metric of one worker over its labels."""
        _, text = self.ask(number, "/metrics")
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name)]
        return sum(float(value) for series, value in lines if series.partition("{")[0] == name)

    def log(self, number: int, *, previous: bool = False) -> str:
        """Return what a worker wrote, or the one before it in the same pod."""
        more = ["--previous"] if previous else []
        return self.kubectl("logs", worker(number), "--container=worker", *more)

    def produce(self, texts: int) -> None:
        """Write this many of the demo's reviews to each input, as fast as Kafka takes them."""
        for domain in DOMAINS:
            said = b"".join(islice(_reviews(domain), texts))
            self.offramp(*_produce(domain), said=said, timeout_s=600)

    @contextmanager
    def stream(self, rate: float = 3) -> Iterator[None]:
        """Write this many reviews a second to each input while the body runs."""
        command = [*self.kubectl.command, "exec", "--stdin", "client", "--", "offramp"]
        writers = [
            subprocess.Popen(
                [*command, *_produce(domain), f"--rate={rate}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for domain in DOMAINS
        ]
        stop = threading.Event()

        def write() -> None:
            for lines in zip(*map(_reviews, DOMAINS), strict=True):
                for writer, line in zip(writers, lines, strict=True):
                    assert writer.stdin is not None
                    with suppress(BrokenPipeError):  # it tells why below
                        writer.stdin.write(line)
                        writer.stdin.flush()
                if stop.wait(1 / rate):
                    return

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            complaints = [writer.communicate(timeout=120)[1] for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * len(writers), complaints

    def outcome(self) -> Outcome:
        """Return what stands in the topics now."""
        script = Path(committed.__file__).read_text()
        topics = [*INPUTS, OUTPUT, DEAD]
        command = ["python", "-", "kafka:9092", *topics]
        lines = self.kubectl.run_in("client", *command, said=script).splitlines()
        rows = [line.split(" ", 2) for line in lines]
        sent = {place for topic, _, place in rows if topic in INPUTS}
        answers = Counter(place for topic, _, place in rows if topic not in INPUTS)
        predicted = [int(time_ms) for topic, time_ms, _ in rows if topic == OUTPUT]
        return Outcome(
            texts=len(sent),
            predictions=len(predicted),
            dead_letters=sum(topic == DEAD for topic, _, _ in rows),
            twice=sum(count - 1 for count in answers.values()),
            missing=len(sent - answers.keys()),
            unknown=len(answers.keys() - sent),
            times_ms=predicted,
        )

    def settled(self) -> Outcome:
        """Wait until every text has its answer, and return what stands in the topics then."""
        deadline = time.monotonic() + _SETTLE_S
        while not (found := self.outcome()).is_settled:
            assert time.monotonic() < deadline, found
            time.sleep(2)
        return found

    def counted(self) -> int:
        """Return how many texts the counters hold."""
        return sum(row["texts"] for row in self.domains().values())

    def domains(self) -> dict[str, dict[str, Any]]:
        """Return what the policy has learnt of each domain."""
        rows = json.loads(self.offramp("policy", "list", "--output=json"))["domains"]
        return {row["domain"]: row for row in rows}

    def _succeeds(self, *args: str) -> bool:
        try:
            self.kubectl(*args)
        except Refused:
            return False
        return True


def eventually(condition: Callable[[], object]) -> None:
    """Return once this holds; a test machine may have a lot to do besides."""
    wait_for(condition, timeout_s=_SETTLE_S)


def worker(number: int) -> str:
    """Return the name of a worker's pod."""
    return f"{RELEASE}-worker-{number}"


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _reviews(domain: str) -> Iterator[bytes]:
    """Yield the lines of the demo's reviews of a domain, again and again."""
    return cycle((_REVIEWS / f"{domain}.jsonl").read_bytes().splitlines(keepends=True))


def _produce(domain: str) -> list[str]:
    return ["produce", "-", "--format=jsonl", f"--to=texts.{domain}"]


_ASK = """
from urllib.request import urlopen
from urllib.error import HTTPError
try:
    answer = urlopen("http://127.0.0.1:9464PATH", timeout=10)
except HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""
