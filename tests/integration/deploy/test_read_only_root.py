"""A worker that lives as in the image: process 1, no capabilities, nothing to write but /tmp."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.kafka.writing.producing import produce_file
from consumer.settings.sections import KafkaSettings
from demo.fleet import read_all
from deploy.local.process import free_port
from tests.support.tiny_model import write_tiny_model
from tests.support.topics import create_topics
from tests.support.workers.figures import Port

ROOT = Path(__file__).resolve().parents[3]
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
POD = """
set -e
mount --make-rprivate /
mount --bind "$MODEL" /media
while read -r _ folder _; do mount -o remount,ro,bind "$folder" || :; done < /proc/self/mounts
mount -t tmpfs -o mode=1777,noexec,nosuid,nodev tmpfs /tmp
mount -t proc proc /proc
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
TEXTS = 136
ENOUGH_S = 90.0


@contextmanager
def pod(*command, **environ):
    """Run a command in a file system and a process table of its own; yield the outer process."""
    process = subprocess.Popen(
        [*UNSHARE, "sh", "-c", POD, "pod", *map(str, command)],
        env={**os.environ, **environ},
        cwd="/",
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def may_unshare(tmp_path):
    """Skips where the kernel or a missing tool does not let us make a pod."""
    if ROOT.is_relative_to("/tmp"):  # noqa: S108
        pytest.skip("the repository is in /tmp, which the pod replaces")
    try:
        with pod("test", "!", "-w", ROOT, "-a", "!", "-w", "/", MODEL=str(tmp_path)) as process:
            _, said = process.communicate(timeout=10)
    except OSError as error:
        pytest.skip(f"cannot make a pod: {error}")
    if process.returncode != 0:
        pytest.skip(f"cannot make a pod: {said.strip() or 'its root can be written'}")


@pytest.mark.usefixtures("may_unshare")
def test_worker_needs_nothing_but_tmp(kafka, redis_url, tmp_path):
    """As process 1 on a read-only root it predicts, shows that it lives, and ends on SIGTERM."""
    name = "read-only-root"
    create_topics(kafka, {f"{name}.films": 2, f"{name}.out": 2, f"{name}.dead": 1})
    reviews = ROOT / "demo" / "reviews" / "films.jsonl"
    produce_file(
        reviews,
        topic=f"{name}.films",
        settings=KafkaSettings(bootstrap_servers=kafka),
        limit=TEXTS,
    )
    port = Port(free_port())
    settings = {
        "HOME": "/tmp",  # noqa: S108
        "XDG_CACHE_HOME": "/tmp/.cache",  # noqa: S108
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MODEL": str(write_tiny_model(tmp_path / "model")),
        "OFFRAMP_MODEL__PATH": "/media",
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_KAFKA__GROUP": name,
        "OFFRAMP_KAFKA__DEAD_LETTERS": f"{name}.dead",
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_ROUTES": f'[{{"topics": "{name}\\\\.films", "output": "{name}.out"}}]',
        "OFFRAMP_METRICS__PORT": str(port.number),
    }
    with pod(sys.executable, "-m", "consumer", "worker", **settings) as process:
        deadline = time.monotonic() + ENOUGH_S
        while len(read_all(kafka, f"{name}.out")) < TEXTS:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        inside = Path("/proc") / children[0]
        assert "CapEff:\t0000000000000000" in (inside / "status").read_text()
        assert list((inside / "root" / "tmp").iterdir()) == []
        assert (port.status("/live"), port.status("/ready")) == (200, 200)
        os.kill(int(inside.name), signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
