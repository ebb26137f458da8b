"""One fleet for all tests of this folder, and the figures that they leave."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.report import Report, Table
from tests.support.cluster.fleet import INPUTS, Fleet, eventually
from tests.support.cluster.found import Cluster, cluster
from tests.support.cluster.kubectl import Refused
from tests.support.cluster.node import Nodes
from tests.support.cluster.programs import MissingError

ROUTE = {"topics": r"texts\.(?P<domain>.+)", "output": "offramp.predictions"}


@pytest.fixture(scope="session")
def target() -> Iterator[Cluster]:
    """The cluster that the tests run on."""
    try:
        found = cluster()
        with found as reached:
            yield reached
    except MissingError as error:
        pytest.fail(str(error))


@dataclass
class Trial:
    """A fleet, what was done to it, and what came of it."""

    fleet: Fleet
    nodes: Nodes
    rows: list[tuple[object, ...]] = field(default_factory=list)
    steps: list[tuple[object, ...]] = field(default_factory=list)
    texts: int = 0  # that were sent before

    @contextmanager
    def event(self, name: str, *, streamed: bool = True) -> Iterator[None]:
        """Stream texts while the body does something to the fleet, and check what came of it.

        Every text has one answer and no second one, and every prediction is counted once.
        """
        since = time.time()
        if streamed:
            with self.fleet.stream():
                yield
                took_s = time.time() - since
                time.sleep(3)  # the stream outlasts what was done
        else:
            yield
            took_s = time.time() - since
        until = time.time()
        found = self.fleet.settled()
        settled_s = time.time() - until
        assert (found.twice, found.missing, found.unknown, found.dead_letters) == (0, 0, 0, 0)
        eventually(self._is_well)
        assert self.fleet.counted() == found.predictions
        gap = round(found.longest_gap_s(since, until), 1) if streamed else "not streamed"
        texts = found.texts - self.texts
        self.texts = found.texts
        self.rows.append((name, round(took_s, 1), texts, gap, round(settled_s, 1), 0, 0))

    def _is_well(self) -> bool:
        try:
            self.fleet.offramp("policy", "doctor")
        except Refused:
            return False
        return True


@pytest.fixture(scope="session")
def trial(target: Cluster) -> Iterator[Trial]:
    """A fleet of two workers, deployed with the chart."""
    name, _, tag = target.image.rpartition(":")
    values = {
        "image": {"repository": name, "tag": tag},
        "control": {"image": {"tag": tag}},
        "settings": {
            "kafka": {"bootstrap_servers": "kafka:9092"},
            "redis": {"url": "redis://redis:6379/0"},
            "worker": {"give_up_s": 30},
            "routes": [ROUTE],
        },
        "worker": {
            "resources": {
                "requests": {"cpu": "250m", "memory": "1Gi"},
                "limits": {"memory": "2Gi"},
            }
        },
        "topics": {"inputs": list(INPUTS), "partitions": 4},
    }
    fleet = Fleet(target, values)
    steps: list[tuple[object, ...]] = []
    nodes = Nodes(target)
    try:
        begun = time.monotonic()
        fleet.make_surroundings()
        steps.append(("Kafka, Redis and a client are ready", round(time.monotonic() - begun, 1)))
        begun = time.monotonic()
        fleet.deploy()
        steps.append(("`helm install` until both workers run", round(time.monotonic() - begun, 1)))
        trial = Trial(fleet, nodes, steps=steps)
        yield trial
        hand_in(trial)
    finally:
        nodes.remove()
        fleet.remove()


def hand_in(trial: Trial) -> None:
    """Write the figures into the folder that OFFRAMP_CLUSTER_RESULTS names."""
    folder = os.environ.get("OFFRAMP_CLUSTER_RESULTS")
    if folder is None:
        return
    version = trial.fleet.kubectl.json("version")["serverVersion"]["gitVersion"]
    columns = (
        "what happens",
        "takes (s)",
        "texts meanwhile",
        "longest time without a prediction (s)",
        "until every text has its answer (s)",
        "twice",
        "missing",
    )
    Report(
        "cluster",
        tables=[
            Table("The start", ("step", "takes (s)"), tuple(trial.steps)),
            Table("What happens to the workers", columns, tuple(trial.rows)),
        ],
        notes=[
            f"Kubernetes {version}: {trial.fleet.cluster.kind}.",
            "Each row fails if a text has two answers or none, or is not counted once.",
            "Times include the commands that cause and watch the event.",
        ],
        made_by="make cluster",
    ).write(Path(folder))
