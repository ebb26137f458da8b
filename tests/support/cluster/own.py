"""A cluster of one node on this machine, made of the real programs of Kubernetes.

It has a network, mounts and process numbers that only it sees, so that it meets nobody's ports and
firewall, and ends with its first process, whatever this process dies of.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.local.guarded import GuardedFolder
from deploy.local.process import wait_until
from tests.support.cluster.control_plane import (
    Addresses,
    Identities,
    Processes,
    start_control_plane,
)
from tests.support.cluster.daemons import (
    ADDRESS,
    said_by,
    start_containerd,
    start_controllers,
    start_node,
)
from tests.support.cluster.programs import DEBIAN, MissingError, build, require

_CGROUPS = Path("/sys/fs/cgroup")
_SHARES = {"cpu.shares": "10240", "cpu.weight": "1000"}  # ten times that of a process


@contextmanager
def own_cluster() -> Iterator["OwnCluster"]:
    """Yield a cluster whose node is ready; nothing of it is left afterwards."""
    if os.geteuid() != 0:
        raise MissingError("making a cluster on this machine needs root, or set KUBECONFIG")
    require(*DEBIAN)
    programs = build()
    with GuardedFolder("cluster") as folder, Processes() as processes:
        cluster = OwnCluster(folder, processes, programs)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


class OwnCluster:
    """Starts the programs of a cluster, and says how to reach it."""

    def __init__(self, folder: GuardedFolder, processes: Processes, programs: Path) -> None:
        """Prepare it; nothing is started yet."""
        self._folder = folder
        self._processes = processes
        self.programs = programs
        self.home = folder.path
        self._first = 0  # number of the process that holds the namespaces
        self.identities = Identities(self.home, Addresses(address=ADDRESS))
        self.cgroup = f"offramp-{os.getpid()}"

    @property
    def kubectl(self) -> list[str]:
        """Return how a command line of kubectl begins."""
        kubectl = str(self.programs / "kubectl")
        return [*self.network, kubectl, f"--kubeconfig={self.identities.admin}"]

    @property
    def network(self) -> list[str]:
        """Return what a command line begins with to run in the cluster's network."""
        return ["nsenter", f"--target={self._first}", "--net"]

    @property
    def inside(self) -> list[str]:
        """Return what a command line begins with to run as a process of the node."""
        return [*self.network, "--mount", "--pid"]

    def start(self) -> None:
        """Start all, and return when the node is ready."""
        self._make_namespaces()
        start_containerd(self)
        start_control_plane(self.programs, self.identities, self.spawn, prefix=self.network)
        start_controllers(self)
        start_node(self)
        ask = [*self.kubectl, "get", "nodes", "--no-headers"]
        wait_until(
            lambda: " Ready" in said_by(ask),
            timeout_s=60,
            what=f"the node, see {self.home}",
        )

    def stop(self) -> None:
        """End every process, which takes the mounts and the network with it."""
        with suppress(ProcessLookupError):
            if self._first:
                os.kill(self._first, 9)
        self._remove_cgroups()

    def publish_names(self) -> None:
        """Tell the cluster's DNS the addresses that its services have now."""
        said = subprocess.run(
            [*self.kubectl, "get", "services,endpointslices", "--all-namespaces", "-o", "json"],
            capture_output=True,
            check=True,
        )
        names = list(_names(json.loads(said.stdout)["items"]))
        (self.home / "names.new").write_text("".join(f"{ip} {name}\n" for ip, name in names))
        (self.home / "names.new").rename(self.home / "names" / "hosts")

    def _make_namespaces(self) -> None:
        flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["/usr/bin/unshare", *flags, "/usr/bin/sleep", "infinity"]
        outside = self._processes.add(
            self._folder.spawn(
                command, pid_file=self.home / "first.pid", log_file=self.home / "first.log"
            )
        )
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")

        def begun() -> bool:
            number = children.read_text().strip()
            self._first = int(number or 0)
            return bool(number) and Path(f"/proc/{number}/comm").read_text() == "sleep\n"

        wait_until(begun, timeout_s=10, what="unshare")
        steps = f"""
            ip link set lo up
            ip address add {ADDRESS}/32 dev lo
            sysctl -qw net.ipv4.ip_forward=1
            mount --make-rshared /
            mkdir -p /run/netns /var/lib/cni
            mount -t tmpfs netns /run/netns
            mount --make-shared /run/netns
            mount -t tmpfs cni /var/lib/cni
        """
        subprocess.run([*self.inside, "sh", "-euc", steps], check=True, timeout=30)
        for controller in self._controllers():
            (controller / self.cgroup).mkdir(exist_ok=True)
            for name, share in _SHARES.items():  # else all pods together get that of one process
                if (controller / self.cgroup / name).exists():
                    (controller / self.cgroup / name).write_text(share)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (controller / name).exists() and (controller / "tasks").exists():
                    (controller / self.cgroup / name).write_text((controller / name).read_text())

    def spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a program of the node; its output is in a file of its name."""
        process = self._folder.spawn(
            ["/usr/bin/nsenter", *self.inside[1:], *command],
            pid_file=self.home / f"{name}.pid",
            log_file=self.home / f"{name}.log",
            cwd=self.home,
        )
        return self._processes.add(process)

    def _controllers(self) -> list[Path]:
        """Return where groups of processes are made: one folder, or one for each controller."""
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS]
        return [folder for folder in _CGROUPS.iterdir() if (folder / "cgroup.procs").exists()]

    def _remove_cgroups(self) -> None:
        give_up_at = time.monotonic() + 10
        for controller in self._controllers():
            top = controller / self.cgroup
            while top.exists() and time.monotonic() < give_up_at:
                for folder in sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True):
                    with suppress(OSError):
                        folder.rmdir()
                with suppress(OSError):
                    top.rmdir()


def _names(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield addresses and the names that DNS gives them: of services, and of pods behind them."""
    for found in objects:
        metadata = found["metadata"]
        domain = f"{metadata['namespace']}.svc.cluster.local"
        if found["kind"] == "Service":
            if found["spec"]["clusterIP"] != "None":
                yield found["spec"]["clusterIP"], f"{metadata['name']}.{domain}"
            continue
        owner = metadata["ownerReferences"][0]
        if "service.kubernetes.io/headless" in metadata["labels"]:
            service = f"{owner['name']}.{domain}"
            for endpoint in found.get("endpoints") or []:
                yield endpoint["addresses"][0], service
                if hostname := endpoint.get("hostname"):
                    yield endpoint["addresses"][0], f"{hostname}.{service}"
