"""The cluster that a test runs on: the one that KUBECONFIG names, one of kind, or our own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.chart.go_tools import go_tool
from tests.support.cluster.images import CHECKOUT, KAFKA, REDIS, WORKER
from tests.support.cluster.own import OwnCluster, own_cluster
from tests.support.cluster.programs import MissingError

_BUILD_S = 3600.0


@dataclass(frozen=True)
class Cluster:
    """How to reach a cluster, and which image of the worker it can run."""

    kind: str
    kubectl: list[str]
    helm: list[str]
    image: str
    own: OwnCluster | None = None

    def publish_names(self) -> None:
        """See that names of services lead to where they are now; a real cluster does it itself."""
        if self.own is not None:
            self.own.publish_names()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a cluster; one that is made for this is gone afterwards."""
    if config := os.environ.get("KUBECONFIG"):
        image = os.environ.get("OFFRAMP_CLUSTER_IMAGE")
        if image is None:
            raise MissingError(
                "say in OFFRAMP_CLUSTER_IMAGE which image of Offramp the cluster runs"
            )
        yield _by_config(f"given by KUBECONFIG={Path(config).name}", config, image)
    elif shutil.which("kind") and shutil.which("docker") and _succeeds("docker", "info"):
        with _kind() as config:
            yield _by_config("kind", config, WORKER)
    else:
        with own_cluster() as own:
            yield Cluster(
                "one node on this machine, made by tests/support/cluster",
                own.kubectl,
                [*own.network, _helm(), f"--kubeconfig={own.identities.admin}"],
                WORKER,
                own,
            )


@contextmanager
def _kind() -> Iterator[str]:
    name = f"offramp-{os.getpid()}"
    with TemporaryDirectory() as folder:
        config = f"{folder}/config"
        build = [
            "docker",
            "build",
            "--file",
            "deploy/Dockerfile",
            "--target=cpu",
            f"--tag={WORKER}",
        ]
        try:
            for step in (
                [*build, "."],
                ["kind", "create", "cluster", "--name", name, "--kubeconfig", config],
                *(["docker", "pull", "--quiet", image] for image in (KAFKA, REDIS)),
                ["kind", "load", "docker-image", WORKER, KAFKA, REDIS, "--name", name],
            ):
                subprocess.run(step, check=True, cwd=CHECKOUT, timeout=_BUILD_S)
            yield config
        finally:
            delete = ["kind", "delete", "cluster", "--name", name, "--kubeconfig", config]
            subprocess.run(delete, check=False, timeout=300)


def _by_config(kind: str, config: str, image: str) -> Cluster:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise MissingError("no kubectl: install it, it comes with Kubernetes")
    option = f"--kubeconfig={config}"
    return Cluster(kind, [kubectl, option], [_helm(), option], image)


def _helm() -> str:
    return shutil.which("helm") or str(go_tool("helm"))


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
