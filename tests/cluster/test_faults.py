"""What breaks while workers run: they are killed, and Redis and Kafka are cut off or lost."""

import time
from contextlib import contextmanager
from functools import partial

from tests.support.cluster.fleet import eventually, worker
from tests.support.cluster.kubectl import Refused

CUT = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "cut"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "redis"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchExpressions": [
            {"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["worker"]}
        ]}}]}],
    },
}  # fmt: skip


def restarts(fleet, number):
    """Return how often the container of a worker was started again."""
    pod = fleet.pod(number)
    states = [] if pod is None else pod["status"].get("containerStatuses", [])
    return sum(state["restartCount"] for state in states)


def redis_cli(fleet, *command):
    return fleet.kubectl.run_in("redis", "redis-cli", *command)


def reaches_redis(fleet, number):
    """Return whether a new connection from a worker to Redis is accepted."""
    code = "import socket; socket.create_connection(('redis', 6379), timeout=2)"
    try:
        fleet.kubectl.run_in(worker(number), "python", "-c", code)
    except Refused:
        return False
    return True


@contextmanager
def redis_cut_off(trial):
    """Cut workers from Redis: by a network policy if the cluster enforces it, else freeze it."""
    fleet = trial.fleet
    fleet.kubectl.apply(CUT)
    deadline = time.monotonic() + 10
    while (open_yet := reaches_redis(fleet, 0)) and time.monotonic() < deadline:
        time.sleep(0.5)
    pod = fleet.kubectl.json("get", "pod", "redis")
    try:
        if open_yet:
            trial.nodes.signal(pod, "STOP")
        else:
            redis_cli(fleet, "client", "kill", "type", "normal")
        yield
    finally:
        fleet.kubectl("delete", "networkpolicy", "cut")
        if open_yet:
            trial.nodes.signal(pod, "CONT")


def test_a_killed_worker_returns_and_reads_its_batch_again(trial):
    """Nothing of the open batch is visible, and the restarted worker has its name."""
    fleet = trial.fleet
    before = restarts(fleet, 0)
    with trial.event("kill -9 of one worker"):
        trial.nodes.signal(fleet.pod(0), "KILL")
        eventually(lambda: restarts(fleet, 0) > before)
        eventually(lambda: worker(0) in fleet.ready())


def test_a_worker_that_does_not_end_is_killed(trial):
    """A worker that heeds no SIGTERM is killed when its time is over, and nothing is lost."""
    fleet = trial.fleet
    old = fleet.pod(1)
    with trial.event("a frozen worker is asked to end: it is killed after its grace period"):
        trial.nodes.signal(old, "STOP")
        fleet.kubectl("delete", "pod", worker(1), "--grace-period=15")
        fleet.wait_until_rolled_out()
    assert fleet.pod(1)["metadata"]["uid"] != old["metadata"]["uid"]


def test_a_worker_ends_at_once_while_it_starts(trial):
    """SIGTERM during loading ends a worker within seconds: no rollout waits for it."""
    fleet = trial.fleet
    old = fleet.pod(1)["metadata"]["uid"]
    with trial.event("a worker is asked to end while it starts"):
        fleet.kubectl("delete", "pod", worker(1))
        eventually(lambda: is_another(fleet.pod(1), old))
        begun = time.monotonic()
        fleet.kubectl("delete", "pod", worker(1))
        assert time.monotonic() - begun < 25  # of 60 that it may take
        fleet.wait_until_rolled_out()


def is_another(pod, uid):
    return pod is not None and pod["metadata"]["uid"] != uid and pod["status"]["phase"] == "Running"


def test_of_two_workers_with_one_name_one_is_fenced(trial):
    """A twin of a worker costs an error of one of them, and never a double prediction."""
    fleet = trial.fleet
    twin = fleet.pod(0)
    twin = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "twin", "labels": {"app": "twin"}},
        "spec": {**twin["spec"], "restartPolicy": "Never", "hostname": "twin"},
    }
    for name in ("nodeName", "subdomain"):
        twin["spec"].pop(name, None)
    for container in (*twin["spec"]["initContainers"], *twin["spec"]["containers"]):
        for variable in container["env"]:
            if variable["name"] == "OFFRAMP_INSTANCE":
                variable.clear()
                variable.update(name="OFFRAMP_INSTANCE", value=worker(0))
    before = restarts(fleet, 0)

    def one_was_fenced():
        phase = fleet.kubectl.json("get", "pod", "twin")["status"]["phase"]
        return restarts(fleet, 0) > before or phase == "Failed"

    with trial.event("a second worker has the name of the first"):
        fleet.kubectl.apply(twin)
        eventually(one_was_fenced)
        fleet.kubectl("delete", "pod", "twin")
        eventually(lambda: worker(0) in fleet.ready())


def test_without_redis_workers_predict_and_count_later(trial):
    """A cut from Redis stops no prediction and no probe; the counts arrive when it is over."""
    fleet = trial.fleet
    with trial.event("workers are cut from Redis"):
        with redis_cut_off(trial):
            eventually(lambda: [fleet.gauge(n, "offramp_degraded") for n in (0, 1)] == [1, 1])
            for number in (0, 1):
                assert fleet.ask(number, "/live")[0] == 200
                assert fleet.ask(number, "/ready")[0] == 200
            eventually(lambda: fleet.gauge(0, "offramp_held_texts") > 0)
        eventually(lambda: fleet.gauge(0, "offramp_degraded") == 0)
    assert fleet.ready() == [worker(0), worker(1)]
    assert trial.rows[-1][3] < 15, "a cut from Redis stops predictions"


def test_a_worker_killed_without_redis_waits_for_it_and_gives_up_in_time(trial):
    """What it held is counted from the predictions; meanwhile it waits, and says for whom."""
    fleet = trial.fleet
    before = restarts(fleet, 1)
    with trial.event("kill -9 of a worker that is cut from Redis"):
        with redis_cut_off(trial):
            eventually(lambda: fleet.gauge(1, "offramp_held_texts") > 0)
            trial.nodes.signal(fleet.pod(1), "KILL")
            eventually(lambda: restarts(fleet, 1) == before + 1)
            eventually(lambda: "waiting for Redis at" in fleet.log(1))
            assert fleet.ask(1, "/live")[0] == 200
            assert fleet.ask(1, "/ready")[0] == 503
            eventually(lambda: restarts(fleet, 1) == before + 2)
            assert "gives up on Redis at" in fleet.log(1, previous=True)
        eventually(lambda: worker(1) in fleet.ready())


def test_a_worker_that_ends_without_redis_leaves_nothing_uncounted(trial):
    """The next worker of its partitions counts what it could not bring."""
    fleet = trial.fleet
    with trial.event("a worker that is cut from Redis is asked to end"):
        with redis_cut_off(trial):
            eventually(lambda: fleet.gauge(1, "offramp_held_texts") > 0)
            uid = fleet.pod(1)["metadata"]["uid"]
            fleet.kubectl("delete", "pod", worker(1))
            eventually(lambda: fleet.pod(1) and fleet.pod(1)["metadata"]["uid"] != uid)
            assert worker(1) not in fleet.ready()
        fleet.wait_until_rolled_out()


def test_redis_without_memory_costs_no_prediction(trial):
    """Workers hold their counts while Redis refuses writes, and bring them when it has memory."""
    fleet = trial.fleet
    with trial.event("Redis reaches its `maxmemory`"):
        redis_cli(fleet, "config", "set", "maxmemory", "1kb")
        try:
            eventually(lambda: fleet.gauge(0, "offramp_held_texts") > 0)
        finally:
            redis_cli(fleet, "config", "set", "maxmemory", "0")
        eventually(lambda: fleet.gauge(0, "offramp_held_texts") < 50)


def test_an_emptied_redis_is_filled_from_the_predictions(trial):
    """Workers count all predictions again, each once, without anybody's help."""
    with trial.event("Redis is emptied"):
        redis_cli(trial.fleet, "flushall")


def test_a_killed_redis_and_a_killed_broker_cost_nothing(trial):
    """Both return with their data, and workers continue."""
    fleet = trial.fleet
    for name in ("redis", "kafka"):
        with trial.event(f"kill -9 of {name.title()}", streamed=name == "redis"):
            fleet.produce(200)
            trial.nodes.signal(fleet.kubectl.json("get", "pod", name), "KILL")
            eventually(partial(was_restarted, fleet, name))
            fleet.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")
        assert fleet.ready() == [worker(0), worker(1)]


def was_restarted(fleet, name):
    (state,) = fleet.kubectl.json("get", "pod", name)["status"]["containerStatuses"]
    return state["restartCount"] == 1


def test_workers_end_when_the_broker_stays_away(trial):
    """They give up after `give_up_s`, are started again, and continue where they were."""
    fleet = trial.fleet
    before = restarts(fleet, 0)
    kafka = fleet.kubectl.json("get", "pod", "kafka")
    with trial.event("Kafka is frozen for longer than `give_up_s`", streamed=False):
        fleet.produce(500)
        trial.nodes.signal(kafka, "STOP")
        try:
            assert fleet.ask(0, "/live")[0] == 200
            eventually(lambda: restarts(fleet, 0) > before)
        finally:
            trial.nodes.signal(kafka, "CONT")
        eventually(lambda: fleet.ready() == [worker(0), worker(1)])
