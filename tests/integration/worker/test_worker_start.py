"""How a worker starts while Redis or Kafka is away, and what it does not wait for."""

import signal
import ssl
import subprocess
import sys
import time

import pytest
import redis
import trustme

from deploy.local.process import free_port
from deploy.local.redis_server import RedisServer, find_redis
from deploy.local.services import start_kafka, start_redis
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PolicyMeta
from tests.support.kafka_records import good, ids, send
from tests.support.servers.proxies import proxy
from tests.support.servers.redis_users import add_shipped_users
from tests.support.started import workers
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

IN, OUT, DEAD = "starts.films", "starts.out", "starts.dead"
AT_ONCE_S = 30.0  # beside the 120 s that it waits for what may come back


@pytest.fixture
def start(kafka, redis_url, tmp_path):
    """Return what starts a worker, and reads its log."""
    create_topics(kafka, {IN: 1, OUT: 1, DEAD: 1})
    shared = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka,
        "KAFKA__DEAD_LETTERS": DEAD,
        "REDIS__URL": redis_url,
        "ROUTES": f'[{{"topics": "{IN}", "output": "{OUT}"}}]',
        "INSTANCE": "w",
    }
    with workers(tmp_path, **shared) as run:

        def started(module="tests.support.workers.crashing_worker", **settings):
            return run(module, **{"KAFKA__GROUP": f"starts-{time.time_ns()}", **settings})

        yield started


def test_redis_is_waited_for(start):
    """A worker that starts during an outage says what it waits for, and works once it is there."""
    program = find_redis("auto")
    assert program is not None
    server = RedisServer(program, port=free_port())
    with server:
        worker, log = start(REDIS__URL=server.url)
        wait_for(lambda: f"waiting for Redis at {server.url} waited_s=2 error=redis" in log())
        assert worker.poll() is None
        server.start()
        wait_for(lambda: "started instance=w" in log())
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(AT_ONCE_S) == 0


def test_kafka_is_waited_for(start):
    """The same with Kafka, which comes back where it was."""
    with start_kafka() as server:
        create_topics(server.address, {IN: 1, OUT: 1, DEAD: 1})
        server.kill()
        worker, log = start(KAFKA__BOOTSTRAP_SERVERS=server.address)
        wait_for(lambda: f"waiting for Kafka at {server.address}" in log())
        server.restart()
        wait_for(lambda: "started instance=w" in log())
        send(server.address, IN, good(3))
        assert ids(server.address, OUT, want=3), log()
        assert worker.poll() is None


@pytest.mark.parametrize("host", ["127.0.0.1", "not-there-yet.invalid"])
@pytest.mark.parametrize("service", ["Redis", "Kafka"])
def test_a_start_ends_when_it_has_waited_for_give_up_s(start, service, host):
    """With an error that says what did not answer, also if its name is not known so far."""
    address = f"{host}:{free_port()}"
    url = f"redis://{address}/0"
    own = {"REDIS__URL": url} if service == "Redis" else {"KAFKA__BOOTSTRAP_SERVERS": address}
    worker, log = start(**own, KAFKA__REQUEST_TIMEOUT_S="1", WORKER__GIVE_UP_S="3")
    assert worker.wait(AT_ONCE_S) == 1
    what = f"{service} at {url if service == 'Redis' else address}"
    assert f"waiting for {what} waited_s=2 " in log()
    assert f"gives up on {what} after worker.give_up_s=3" in log()
    last = log().splitlines()[-1]
    assert "Unavailable" in last
    assert address in last


@pytest.fixture
def users():
    """A Redis with the users of the shipped file."""
    with start_redis() as server, redis.Redis.from_url(server.url) as raw:
        add_shipped_users(raw)
        yield server, raw


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        ("viewer", "change-me-viewer", "lets this user not do that"),
        ("worker", "wrong", "refused the login"),
    ],
)
def test_a_user_that_cannot_count_ends_the_start(start, users, user, password, expected):
    """Before it takes a partition, and without waiting, also where the policy is there already."""
    server, _ = users
    with RedisStore(server.url) as store:
        store.open(PolicyMeta("default", "free-model", (1, 3, 12)))
    worker, log = start(REDIS__URL=f"redis://offramp-{user}:{password}@{server.address}/0")
    assert worker.wait(AT_ONCE_S) == 1
    assert f"StoreRefused: redis {expected}" in log().splitlines()[-1]
    assert "waiting for" not in log()
    assert password not in log()


def test_another_model_ends_the_start(start, redis_url):
    """A policy of another fingerprint is no outage."""
    with RedisStore(redis_url) as store:
        store.open(PolicyMeta("default", "other", (1, 3, 12)))
    worker, log = start()
    assert worker.wait(AT_ONCE_S) == 1
    assert "FingerprintMismatch" in log().splitlines()[-1]
    assert "waiting for" not in log()


def test_a_certificate_that_is_not_trusted_ends_the_start(start, tmp_path):
    """Waiting does not help there, though to the client it looks like a server that is away."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    trustme.CA().cert_pem.write_to_path(ca := tmp_path / "other-ca.pem")
    with start_redis() as server, proxy(server.port, tls=context) as secure:
        worker, log = start(
            REDIS__URL=f"rediss://127.0.0.1:{secure.port}/0", REDIS__CA_FILE=str(ca)
        )
        assert worker.wait(AT_ONCE_S) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in log().splitlines()[-1]
    assert "waiting for" not in log()


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ("TRANSACTIONAL_ID", "TransactionalIdAuthorizationFailed"),
        ("GROUP", "GroupAuthorizationFailed"),
    ],
)
def test_a_kafka_user_without_rights_ends_the_start(start, secured, without, expected):
    """It is told so by its log, and does not try again for two minutes."""
    prefix = f"u{time.time_ns()}"
    create_topics(secured.plain, {f"{prefix}-in": 1, f"{prefix}-out": 1})
    secured.allow_all(prefix)
    secured.forbid(without, prefix)
    kafka = secured.settings("SCRAM-SHA-512")
    security = kafka.security.model_dump_json(exclude_none=True)
    worker, log = start(
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
        KAFKA__SECURITY=security,
        KAFKA__GROUP=f"{prefix}-group",
        ROUTES=f'[{{"topics": "{prefix}-in", "output": "{prefix}-out"}}]',
    )
    assert worker.wait(AT_ONCE_S) == 1, log()
    last = log().splitlines()[-1]
    assert "StreamRefused" in last
    assert expected in last


def test_a_wrong_kafka_password_ends_the_start(start, secured):
    """It is not an outage: the log says what is wrong, and nothing is waited for."""
    kafka = secured.settings("SCRAM-SHA-512", password_file=secured.file("wrong"))
    security = kafka.security.model_dump_json(exclude_none=True)
    worker, log = start(KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap_servers, KAFKA__SECURITY=security)
    assert worker.wait(AT_ONCE_S) == 1, log()
    assert "the login is wrong" in log().splitlines()[-1]
    assert "gives up" not in log()


def test_a_right_that_is_taken_away_meanwhile_is_waited_for(start, kafka, users):
    """A running worker predicts on as without a Redis, and counts all when it has it again."""
    server, raw = users
    group = f"starts-{time.time_ns()}"
    topic, out = f"{group}-in", f"{group}-out"
    create_topics(kafka, {topic: 1, out: 1})
    worker, log = start(
        KAFKA__GROUP=group,
        ROUTES=f'[{{"topics": "{topic}", "output": "{out}"}}]',
        REDIS__URL=f"redis://offramp-worker:change-me-worker@{server.address}/0",
    )
    send(kafka, topic, good(10))
    assert ids(kafka, out, want=10), log()
    raw.execute_command("ACL", "SETUSER", "offramp-worker", "-hset")
    send(kafka, topic, good(10, first=10))
    assert len(ids(kafka, out, want=20)) == 20, log()
    wait_for(lambda: "lets this user not do that" in log())
    assert worker.poll() is None
    raw.execute_command("ACL", "SETUSER", "offramp-worker", "+hset")
    with RedisStore(server.url) as store:
        store.open(PolicyMeta("default", "free-model", (1, 3, 12)))
        wait_for(lambda: store.totals().stats.texts == 20)


def test_workers_of_a_supervisor_import_nothing_from_the_current_folder(tmp_path):
    """They start as their supervisor did; they end here because their model is missing."""
    for name in ("model.py", "policy_state.py", "typer.py"):
        (tmp_path / name).write_text(
            "raise SystemExit('a file of the current folder was executed')"
        )
    log = tmp_path / "log"
    with log.open("wb") as to:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "consumer", "worker", "--processes", "2", "--model", "missing"],
            cwd=tmp_path,
            stderr=to,
        )
    try:
        wait_for(lambda: log.read_text().count("worker ended") >= 2)
    finally:
        supervisor.kill()
        supervisor.wait()
    said = log.read_text()
    assert "executed" not in said
    assert said.count("error: ") >= 2
    assert "missing" in said
