"""Hosts of a small network, as network namespaces on a bridge: links between them can be cut."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local.kafka_files import find_kafka
from deploy.local.kafka_server import KafkaServer, broker_settings
from deploy.local.process import free_port

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_LIBC = ctypes.CDLL(None, use_errno=True)
_OWN = Path("/proc/thread-self/ns/net")
_GATE = "10.77.0.1"


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _enter(file: int) -> None:
    """Put this thread into a network namespace; threads and processes that it starts follow."""
    if _LIBC.setns(file, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


def may_make_hosts() -> bool:
    """Return whether the kernel lets this user make network namespaces and link them."""
    probe = ["unshare", "--net", "ip", "link", "add", "probe", "type", "bridge"]
    with suppress(FileNotFoundError):
        return subprocess.run(probe, check=False, capture_output=True).returncode == 0
    return False


class Host:
    """One host: a namespace that lives as long as an idle process in it."""

    def __init__(self, number: int) -> None:
        self.address = f"10.77.0.{number}"
        self._link = f"host{number}"
        # Its standard input closes with this process, whatever this one dies of.
        self._idle = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._idle.stdin is not None
        assert self._idle.stdout is not None
        self._idle.stdin.write(b"\n")
        self._idle.stdin.flush()
        self._idle.stdout.read(1)  # it is in its namespace
        pid = str(self._idle.pid)
        peer = ["type", "veth", "peer", "name", "eth0", "netns", pid]
        _run("ip", "link", "add", self._link, *peer)
        _run("ip", "link", "set", self._link, "master", "switch", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def run(self, *words: str) -> None:
        """Run a command on the host."""
        _run("nsenter", "--net", "--target", str(self._idle.pid), *words)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have what this thread starts meanwhile run on the host."""
        before = os.open(_OWN, os.O_RDONLY)
        there = os.open(f"/proc/{self._idle.pid}/ns/net", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(before)
            os.close(there)
            os.close(before)

    def cut(self) -> None:
        """Pull its cable."""
        _run("ip", "link", "set", self._link, "down")

    def heal(self) -> None:
        """Put it back."""
        _run("ip", "link", "set", self._link, "up")

    def cut_from(self, other: "Host") -> None:
        """Let nothing pass from here to another host, without a word to who waits for it."""
        self.run("ip", "route", "add", "blackhole", f"{other.address}/32")

    def heal_to(self, other: "Host") -> None:
        """Let it pass again."""
        self.run("ip", "route", "del", "blackhole", f"{other.address}/32")

    def close(self) -> None:
        """End it; its interface goes with its namespace."""
        self._idle.kill()
        self._idle.communicate()


@contextmanager
def network(names: list[str]) -> Iterator[dict[str, Host]]:
    """Yield hosts by name; this thread, and what it starts, stands beside them at the switch."""
    assert threading.current_thread() is threading.main_thread()
    before = os.open(_OWN, os.O_RDONLY)
    hosts: dict[str, Host] = {}
    try:
        if _LIBC.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "switch", "type", "bridge")
        _run("ip", "address", "add", f"{_GATE}/24", "dev", "switch")
        _run("ip", "link", "set", "switch", "up")
        for number, name in enumerate(names, 2):
            hosts[name] = Host(number)
        yield hosts
    finally:
        for host in hosts.values():
            host.close()
        _enter(before)
        os.close(before)


class HostedKafka(KafkaServer):
    """A broker that other hosts reach at the address of its own."""

    def __init__(self, host: Host) -> None:
        super().__init__(find_kafka(), settings={}, jvm_args=("-Xmx384m",))
        self.shared_address = f"{host.address}:{self.port}"
        self._settings |= broker_settings(
            port=self.port,
            controller_port=free_port(),
            listen="",  # on all its addresses
            advertise=host.address,
        )
