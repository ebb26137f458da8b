"""A disk is full, of Redis, a worker or the broker: nothing is lost, and all continues later."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

from deploy.local.kafka_files import find_kafka
from deploy.local.kafka_server import KafkaServer
from deploy.local.services import start_redis
from tests.support.long_form import IS_LONG
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm
from tests.support.workers.loaded import doctor, loaded, settle

FILES = 4_000  # of a disk, at most

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")


class Disk:
    """A small file system, and files that take what is left of it."""

    def __init__(self, path):
        self.path = path

    def fill(self):
        """Leave no byte free."""
        with suppress(OSError), (self.path / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self):
        """Give the space back."""
        for file in self.path.glob("filler*"):
            file.unlink()


@contextmanager
def disk(tmp_path, size):
    """Yield a file system of that size."""
    path = tmp_path / f"disk-{size}"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={FILES}", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_redis_on_a_full_disk_stops_no_prediction(kafka, tmp_path):
    """It takes no counts; the worker says why, holds them, and brings them when there is space."""
    with (
        disk(tmp_path, "4m") as small,
        start_redis(args=("--dir", str(small.path))) as server,
        loaded(kafka, server.url, tmp_path) as (arena, load),
    ):
        small.fill()
        wait_for(lambda: "it cannot save to disk" in arena.fleet.log("w0"))
        counted, predicted = arena.counted(), load.predictions
        time.sleep(3)
        assert arena.counted() == counted
        assert load.predictions > predicted + 50
        small.free()
        settle(arena, load)
        assert "No space left on device" in arena.fleet.log("w0")


def test_a_worker_without_space_for_its_log_goes_on(kafka, redis_url, tmp_path):
    """Nothing of what it writes to its own disk is needed to predict and count."""
    with disk(tmp_path, "1m") as small, loaded(kafka, redis_url, small.path) as (arena, load):
        arena.fleet.kill("w0")
        small.fill()
        arena.fleet.start("w0")
        predicted = load.predictions
        wait_for(lambda: load.predictions > predicted + 100)
        assert arena.fleet.running["w0"].poll() is None
        small.free()
        settle(arena, load)
        wait_for(lambda: arena.fleet.log("w0"), 20)


@pytest.mark.skipif(not IS_LONG, reason="a minute; `make chaos` runs it")
def test_a_broker_whose_disk_was_full_costs_no_event(redis_url, tmp_path):
    """It ends; started with space it continues, each text predicted and counted once."""
    with disk(tmp_path, "64m") as small:
        settings = {"log.index.size.max.bytes": "65536"}
        server = KafkaServer(find_kafka(), settings=settings, jvm_args=("-Xmx384m",))
        with server:
            server._settings["log.dirs"] = str(small.path / "data")
            server._data = small.path / "data"
            server.start()
            arena = Arena(server.address, redis_url, tmp_path, Storm(partitions=2, bad_share=0.0))
            try:
                arena.fleet.start("w0")
                arena.produce(100)
                wait_for(lambda: arena.counted() == 100)
                arena.fleet.signal("w0", signal.SIGSTOP)
                arena.produce(2_000)
                small.fill()
                arena.fleet.signal("w0", signal.SIGCONT)
                wait_for(lambda: not server.running), server.log_tail(5)
                wait_for(lambda: "no broker" in arena.fleet.log("w0").lower(), 40)
                small.free()
                server.start()
                wait_for(lambda: arena.counted() == len(arena.sent)), arena.fleet.log("w0")
                predicted = sorted(r.key for r in arena.read(arena.out))
                assert predicted == sorted(map(str.encode, arena.sent))
                assert arena.fleet.running["w0"].poll() is None
                assert doctor(arena) == []
            finally:
                arena.fleet.close()
