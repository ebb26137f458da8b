"""SIGTERM and SIGINT from the first moment on, also as process 1, which has no default action."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from demo.fleet import read_all
from deploy.local.services import start_kafka
from tests.support.topics import create_topics
from tests.support.waiting import wait_for, wait_for_output

IN, OUT, DEAD = "stops.films", "stops.out", "stops.dead"
SOON_S = 9.0  # below the ten seconds of `docker stop`; two and a half where the machine is not busy
OFFRAMP = str(Path(sys.executable).with_name("offramp"))  # process 1 of the image
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def _has_namespaces():
    try:
        return (
            subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


as_process_1 = pytest.mark.skipif(not _has_namespaces(), reason="may not make a PID namespace")


@pytest.fixture
def silent():
    """Address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def soon(condition):
    """Return what `condition` returns once it is true, without missing the moment."""
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


@contextlib.contextmanager
def first_process(*command, **environ):
    """Run a command as process 1 of a namespace; yield what to signal and what to wait for."""
    outer = subprocess.Popen(
        [*NAMESPACE, *command],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        soon(lambda: psutil.Process(outer.pid).children())
        yield psutil.Process(outer.pid).children()[0], outer
    finally:
        outer.kill()
        outer.communicate()


def heeds_sigterm(process):
    """Say whether a handler is set: before that the kernel drops a signal to process 1."""
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


COMMANDS = [
    (["policy", "list", "--watch"], 143),
    (["topics", "list"], 143),
    (["route", "list"], 143),
    (["dlq", "list"], 143),
    (["dashboard"], 143),
    (["produce", "/dev/zero", "--to", "t"], 143),
    (["model", "check", "."], 143),
    (["worker", "--check"], 143),
    (["worker"], 0),
    (["worker", "--processes", "2"], 0),
]


@as_process_1
@pytest.mark.parametrize(("command", "code"), COMMANDS, ids=[" ".join(c) for c, _ in COMMANDS])
def test_process_1_heeds_a_signal_before_it_has_imported_anything(command, code):
    """Whatever the command: 143, and a worker its clean 0, for it is told to stop all the time."""
    with first_process(OFFRAMP, *command) as (process, outer):
        soon(lambda: heeds_sigterm(process))
        assert sum(process.cpu_times()[:2]) < 0.25  # it has loaded next to nothing yet
        process.send_signal(signal.SIGTERM)
        assert outer.wait(SOON_S) == code


@as_process_1
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [["topics", "list"], ["policy", "list"], ["worker", "--check"]])
def test_process_1_heeds_a_signal_while_it_waits_for_a_server(command, number, silent):
    """It ends with 128 and the signal's number, at once and not when the server's time is over."""
    environ = {
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": silent,
        "OFFRAMP_REDIS__URL": f"redis://{silent}/0",
        "OFFRAMP_REDIS__TIMEOUT_S": "60",
    }
    with first_process(OFFRAMP, *command, **environ) as (process, outer):
        soon(lambda: any(c.raddr for c in process.net_connections()))
        process.send_signal(number)
        assert outer.wait(SOON_S) == 128 + number


@as_process_1
def test_process_1_heeds_a_signal_while_it_produces(kafka, tmp_path):
    """It says how far it came, as anywhere else."""
    topic = f"stops.{time.time_ns()}"
    create_topics(kafka, {topic: 1})
    (texts := tmp_path / "texts.txt").write_text("good\n" * 1000)
    command = ["produce", str(texts), "--to", topic, "-b", kafka, "--rate", "20"]
    with first_process(OFFRAMP, *command) as (process, outer):
        wait_for(lambda: len(read_all(kafka, topic)) >= 5)
        process.send_signal(signal.SIGTERM)
        assert outer.wait(SOON_S) == 143
        assert "continue with --skip " in outer.stdout.read()


def worker(log, **settings):
    """Start a worker, of a model that needs no torch, with these settings."""
    environ = {
        "OFFRAMP_KAFKA__DEAD_LETTERS": DEAD,
        "OFFRAMP_ROUTES": f'[{{"topics": "{IN}", "output": "{OUT}"}}]',
        "OFFRAMP_INSTANCE": "w",
        **{f"OFFRAMP_{name}": value for name, value in settings.items()},
    }
    with log.open("wb") as to:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.workers.crashing_worker"],
            env={**os.environ, **environ},
            stderr=to,
        )


@pytest.mark.parametrize("service", ["Redis", "Kafka"])
def test_a_worker_that_waits_for_a_service_is_stopped_at_once(service, redis_url, silent, tmp_path):
    """It has begun nothing: exit code 0, however long the service may take to answer."""
    log = tmp_path / "log"
    url = f"redis://{silent}/0" if service == "Redis" else redis_url
    process = worker(log, KAFKA__BOOTSTRAP_SERVERS=silent, REDIS__URL=url, REDIS__TIMEOUT_S="60")
    try:
        shown = f"redis://{silent}/0" if service == "Redis" else silent
        soon(lambda: f"waiting for {service} at {shown} " in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 0
    finally:
        process.kill()
        process.wait()


def test_a_worker_is_stopped_at_once_at_any_step_towards_kafka(redis_url, tmp_path):
    """Connecting, `init_transactions`, joining: wherever the broker stops to answer, code 0."""
    log = tmp_path / "log"
    with start_kafka() as broker:
        create_topics(broker.address, {IN: 1, OUT: 1, DEAD: 1})
        for pause_s in (0, 0.03, 0.06, 0.1, 0.5):
            process = worker(log, KAFKA__BOOTSTRAP_SERVERS=broker.address, REDIS__URL=redis_url)
            try:
                soon(lambda: "policy name=" in log.read_text())
                time.sleep(pause_s)
                broker.pause()
                time.sleep(0.2)  # by now it waits for an answer
                process.send_signal(signal.SIGTERM)
                assert process.wait(SOON_S) == 0, log.read_text()
                assert "stopped" in log.read_text()
            finally:
                broker.resume()
                process.kill()
                process.wait()


def test_a_second_signal_ends_a_start_at_once():
    """Also where the first one is on its way; the code is that of a process that was killed."""
    program = (
        "import time;"
        "from consumer.process.signals import Heed;"
        "Heed(code=0, within_s=60).begin();"
        "\n"
        "while True:\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n"
        "        print('kept', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    with process:
        wait_for_output(process.stdout, b"ready\n")
        process.send_signal(signal.SIGTERM)
        wait_for_output(process.stdout, b"kept\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 143


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("None", 143)])
def test_one_signal_is_enough_where_the_exception_is_lost(code, expected):
    """Foreign code that catches everything, or never returns, does not keep a process alive."""
    program = (
        "import time;"
        "from consumer.process.signals import Heed;"
        f"Heed(code={code}, within_s=0.3).begin();"
        "\n"
        "while True:\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    except BaseException:\n"
        "        pass\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    with process:
        wait_for_output(process.stdout, b"ready\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == expected
