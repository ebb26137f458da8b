"""What people change while workers run: settings, images, the number of workers."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster.fleet import DOMAINS, WORKERS, eventually, worker
from tests.support.cluster.kubectl import Refused


def fewest_ready(fleet, until):
    """Return a list that gets the number of ready workers again and again until an event is set."""
    seen = []

    def watch():
        while not until.wait(0.5):
            seen.append(len(fleet.ready()))

    thread = threading.Thread(target=watch)
    thread.start()
    return seen, thread


def test_every_text_is_answered_once_and_each_domain_finds_its_exit(trial):
    """Two workers share what they learn, and the counters hold every prediction."""
    with trial.event("1,600 texts at once", streamed=False):
        trial.fleet.produce(400)
    domains = trial.fleet.domains()
    assert set(DOMAINS) <= domains.keys()
    assert all(domains[domain]["texts"] >= 400 for domain in DOMAINS)
    assert all(domains[domain]["exit"] is not None for domain in DOMAINS), domains


def test_helm_finds_the_release_well(trial):
    """`helm test` asks status and metrics of the release, from pods that its policies let out."""
    trial.fleet.helm_test()


def test_a_changed_setting_replaces_one_worker_at_a_time(trial):
    """An upgrade rolls the workers while texts come, and one of them always runs."""
    fleet, done = trial.fleet, threading.Event()
    old = {pod["metadata"]["uid"] for pod in fleet.pods()}
    with trial.event("a setting changes: both workers are replaced"):
        seen, watch = fewest_ready(fleet, done)
        try:
            fleet.deploy(settings={"worker": {"drain_s": 19}})
        finally:
            done.set()
            watch.join()
    assert min(seen) == 1, seen
    assert not old & {pod["metadata"]["uid"] for pod in fleet.pods()}


def test_a_bad_image_stops_the_rollout_and_is_undone(trial):
    """A worker whose image is missing takes no other with it, and a rollback brings it back."""
    fleet = trial.fleet
    first = fleet.pod(0)["metadata"]["uid"]
    tag = fleet.values["image"]["tag"]
    with trial.event("an image that is missing, and its rollback"):
        fleet.deploy(wait=False, image={"tag": "0.1.0-missing"})
        eventually(lambda: waits_for_image(fleet.pod(1)))
        time.sleep(5)
        assert fleet.ready() == [worker(0)]
        assert fleet.pod(0)["metadata"]["uid"] == first
        fleet.rollback()
        fleet.values["image"]["tag"] = tag
        fleet.wait_until_rolled_out()


def waits_for_image(pod):
    states = [] if pod is None else pod["status"].get("initContainerStatuses", [])
    return any(
        state["state"].get("waiting", {}).get("reason") in {"ErrImagePull", "ImagePullBackOff"}
        for state in states
    )


def test_a_backlog_shows_and_more_workers_share_it(trial):
    """Backlog and lag are metrics that say when to scale; after it, both return to nothing."""
    fleet = trial.fleet
    with trial.event("16,000 texts at once, from two to three workers and to one"):
        with ThreadPoolExecutor(1) as pool:
            produced = pool.submit(fleet.produce, 4000)
            eventually(lambda: fleet.gauge(0, "offramp_partition_lag_records") > 100)
            eventually(lambda: fleet.gauge(0, "offramp_backlog_seconds") > 0)
            produced.result()
        fleet.scale(3)
        eventually(lambda: all(partitions(fleet, number) for number in (0, 1, 2)))
        fleet.scale(1)
        eventually(lambda: partitions(fleet, 0) == 4 * len(DOMAINS))
        eventually(lambda: fleet.gauge(0, "offramp_backlog_seconds") < 5)
    fleet.scale(2)
    eventually(lambda: partitions(fleet, 1) == 2 * len(DOMAINS))


def partitions(fleet, number):
    """Return how many partitions a worker reads."""
    return fleet.gauge(number, "offramp_partitions_assigned")


def test_a_wrong_password_stops_the_rollout(trial):
    """A worker that Redis refuses ends before it takes a partition, and the others go on."""
    fleet = trial.fleet
    url = fleet.values["settings"]["redis"]["url"]
    with trial.event("settings with a login that Redis refuses, and their rollback"):
        fleet.deploy(wait=False, settings={"redis": {"url": "redis://nobody@redis:6379/0"}})
        eventually(lambda: refused(fleet.pod(1)))
        assert fleet.ready() == [worker(0)]
        fleet.rollback()
        fleet.values["settings"]["redis"]["url"] = url
        fleet.wait_until_rolled_out()


def refused(pod):
    states = [] if pod is None else pod["status"].get("initContainerStatuses", [])
    return any(state["restartCount"] > 0 for state in states)


def test_a_secret_that_is_missing_is_waited_for(trial):
    """A pod starts as soon as the secret that it mounts is made."""
    fleet = trial.fleet
    with trial.event("a secret that is missing for a while"):
        fleet.deploy(wait=False, secrets={"later": "later"}, topics={"enabled": False})
        eventually(lambda: "FailedMount" in fleet.kubectl("get", "events"))
        assert fleet.ready() == [worker(0)]
        fleet.kubectl("create", "secret", "generic", "later", "--from-literal=password=x")
        fleet.wait_until_rolled_out()


def test_an_eviction_waits_for_the_disruption_budget(trial):
    """One worker at a time may be evicted: a second one is refused while the first is away."""
    fleet = trial.fleet
    with trial.event("two evictions: the second is refused until the first is back"):
        evict(fleet, 1)
        with pytest.raises(Refused, match="disruption budget"):
            evict(fleet, 0)
        fleet.wait_until_rolled_out()
        evict(fleet, 0)
        fleet.wait_until_rolled_out()


def evict(fleet, number):
    name = worker(number)
    path = f"/api/v1/namespaces/{fleet.kubectl.namespace}/pods/{name}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    fleet.kubectl("create", f"--raw={path}", "--filename=-", said=json.dumps(eviction))


def test_draining_a_node_lets_the_others_take_over(trial):
    """A drain takes one worker; nothing can replace it, so the other one reads its partitions."""
    fleet = trial.fleet
    nodes = {pod["spec"]["nodeName"] for pod in fleet.pods()}
    with trial.event("the node is drained, and returns"):
        try:
            for node in nodes:
                fleet.kubectl("cordon", node)
            emptied = "--delete-emptydir-data"  # of /tmp, which a worker needs no longer
            drain = ["drain", *nodes, f"--pod-selector={WORKERS}", emptied, "--timeout=20s"]
            with pytest.raises(Refused, match="global timeout reached"):
                fleet.kubectl(*drain)
            assert len(fleet.ready()) == 1
            (last,) = fleet.ready()
            number = int(last.rpartition("-")[2])
            eventually(lambda: partitions(fleet, number) == 4 * len(DOMAINS))
        finally:
            for node in nodes:
                fleet.kubectl("uncordon", node)
        fleet.wait_until_rolled_out()
