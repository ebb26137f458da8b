"""Signals to the processes of pods, from the node: a pod cannot kill its first process itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.cluster.kubectl import Kubectl

if TYPE_CHECKING:
    from tests.support.cluster.found import Cluster

_NAMESPACE = "offramp-node"


class Nodes:
    """A pod on each node that sees all of the node's processes."""

    def __init__(self, cluster: Cluster) -> None:
        """Make their namespace, which allows what such pods need."""
        self.kubectl = Kubectl(cluster.kubectl, _NAMESPACE)
        self.kubectl.make_namespace("privileged")
        self._image = cluster.image
        self._there: set[str] = set()

    def signal(self, pod: dict[str, Any], name: str) -> None:
        """Send a signal to the first process of a pod's first container."""
        node = pod["spec"]["nodeName"]
        if node not in self._there:
            self._make(node)
        (container,) = pod["status"]["containerStatuses"]
        number = container["containerID"].rpartition("/")[2]
        self.kubectl.run_in(node, "python", "-c", _SIGNAL, number, f"SIG{name}")

    def remove(self) -> None:
        """Remove the pods and their namespace."""
        self.kubectl("delete", "namespace", _NAMESPACE, "--wait=false")

    def _make(self, node: str) -> None:
        container = {
            "name": "node",
            "image": self._image,
            "command": ["python", "-c", "import signal; signal.pause()"],
            "securityContext": {"privileged": True, "runAsUser": 0},
        }
        spec = {
            "nodeName": node,
            "hostPID": True,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": node}, "spec": spec}
        self.kubectl.apply(pod)
        self.kubectl("wait", "--for=condition=Ready", f"pod/{node}", "--timeout=120s")
        self._there.add(node)


_SIGNAL = """
import os, pathlib, signal, sys
container, name = sys.argv[1:]
mine = [
    int(folder.name)
    for folder in pathlib.Path("/proc").iterdir()
    if folder.name.isdigit() and container in (folder / "cgroup").read_text()
]
os.kill(min(mine), getattr(signal, name))
"""
