"""etcd and the API server of Kubernetes: what judges objects, and what a cluster starts with."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

from deploy.local.guarded import GuardedFolder
from deploy.local.process import ServerError, free_port, wait_until
from tests.support.cluster.programs import MissingError, built, require

SERVICE_RANGE = "10.96.0.0/16"
_READY_S = 120.0

Spawn = Callable[..., subprocess.Popen[bytes]]  # the name of a program, then its command line


@dataclass(frozen=True)
class Addresses:
    """Where the servers listen; the ports are the usual ones."""

    address: str = "127.0.0.1"  # of the API server
    api: int = 6443
    etcd: int = 2379
    etcd_peers: int = 2380


class Identities:
    """Certificates of all that talk to the API server, and how each of them reaches it."""

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        """Make the authority and the certificate of the API server."""
        self.folder = folder
        self.addresses = addresses
        self._authority = trustme.CA(organization_name="offramp cluster test")
        self.authority = self._write("ca.crt", self._authority.cert_pem.bytes())
        self.server = self.certificate("apiserver", "kube-apiserver", addresses.address)
        self.admin = self.kubeconfig("admin", "admin", group="system:masters")

    def certificate(
        self, name: str, user: str, *hosts: str, group: str | None = None
    ) -> tuple[Path, Path]:
        """Return files with a certificate and its key."""
        leaf = self._authority.issue_cert(*hosts, common_name=user, organization_name=group)
        chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
        return (
            self._write(f"{name}.crt", chain),
            self._write(f"{name}.key", leaf.private_key_pem.bytes()),
        )

    def kubeconfig(self, name: str, user: str, *, group: str | None = None) -> Path:
        """Return a file that lets a program in as a user."""
        certificate, key = self.certificate(name, user, name, group=group)
        cluster = {
            "server": f"https://{self.addresses.address}:{self.addresses.api}",
            "certificate-authority-data": _base64(self.authority),
        }
        login = {
            "client-certificate-data": _base64(certificate),
            "client-key-data": _base64(key),
        }
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": login}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        return self._write(f"{name}.conf", json.dumps(content).encode())

    def _write(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file


class Processes:
    """Processes that end with a block."""

    def __init__(self) -> None:
        """Begin without any."""
        self._all: list[subprocess.Popen[bytes]] = []

    def add(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Take one more, and return it."""
        self._all.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.kill()
            process.wait()


@contextmanager
def api_server() -> Iterator[list[str]]:
    """Yield how a command line of kubectl begins that asks an API server on loopback.

    Raises:
        MissingError: if it was never built on this machine, or etcd is missing.

    """
    programs = built()
    if not programs.exists():
        raise MissingError("no API server of Kubernetes: `make cluster` builds it, with Go")
    with GuardedFolder("apiserver") as folder, Processes() as processes:

        def spawn(name: str, *command: str) -> subprocess.Popen[bytes]:
            pid_file, log_file = folder.path / f"{name}.pid", folder.path / f"{name}.log"
            process = folder.spawn(command, pid_file=pid_file, log_file=log_file, cwd=folder.path)
            return processes.add(process)

        addresses = Addresses(api=free_port(), etcd=free_port(), etcd_peers=free_port())
        identities = Identities(folder.path, addresses)
        start_control_plane(programs, identities, spawn, prefix=[])
        yield [str(programs / "kubectl"), f"--kubeconfig={identities.admin}"]


def start_control_plane(
    programs: Path, identities: Identities, spawn: Spawn, *, prefix: list[str]
) -> None:
    """Start etcd and the API server, and return when it is ready.

    Args:
        programs: folder of Kubernetes' programs.
        identities: of the API server and of the administrator.
        spawn: starts a program.
        prefix: what a command line begins with to run beside these servers.

    """
    listen, folder = identities.addresses, identities.folder
    etcd = f"http://127.0.0.1:{listen.etcd}"
    peers = f"http://127.0.0.1:{listen.etcd_peers}"
    etcd_process = spawn(
        "etcd",
        require("etcd")["etcd"],
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={etcd}",
        f"--advertise-client-urls={etcd}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    certificate, key = identities.server
    admin_certificate, admin_key = folder / "admin.crt", folder / "admin.key"
    server = spawn(
        "kube-apiserver",
        str(programs / "kube-apiserver"),
        f"--etcd-servers={etcd}",
        f"--bind-address={listen.address}",
        f"--secure-port={listen.api}",
        f"--advertise-address={listen.address}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--client-ca-file={identities.authority}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={admin_certificate}",
        f"--kubelet-client-key={admin_key}",
        f"--kubelet-certificate-authority={identities.authority}",
        "--kubelet-preferred-address-types=InternalIP",
        "--endpoint-reconciler-type=none",
    )
    kubectl = [*prefix, str(programs / "kubectl"), f"--kubeconfig={identities.admin}"]
    ask = [*kubectl, "get", "--raw", "/readyz"]

    def ready() -> bool:
        for name, process in (("etcd", etcd_process), ("kube-apiserver", server)):
            if process.poll() is not None:
                raise ServerError(f"{name} ended:\n{log_tail(folder / f'{name}.log')}")
        return subprocess.run(ask, capture_output=True, check=False, timeout=30).returncode == 0

    wait_until(ready, timeout_s=_READY_S, what="the API server")


def log_tail(file: Path, lines: int = 30) -> str:
    """Return the last lines of a file."""
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
