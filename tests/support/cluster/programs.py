"""The programs of a cluster: found on the machine, or built once from Go modules into the cache."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from deploy.local.process import say

VERSION = "1.34.4"
NAMES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "network-policies",
)
DEBIAN = {  # programs and the packages that bring them
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "dnsmasq": "dnsmasq-base",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


_SOURCE = Path(__file__).with_name("kubernetes")
_BUILD_TIMEOUT_S = 3600.0  # ten minutes of two idle cores; a busy machine takes longer


class MissingError(RuntimeError):
    """Something that a cluster is made of is not on this machine."""


def cache() -> Path:
    """Return the folder that keeps what was built."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "offramp-cluster"


def built() -> Path:
    """Return the folder of Kubernetes' programs, which is complete or absent."""
    digest = hashlib.sha256()
    for file in sorted(_SOURCE.rglob("*.*")):
        digest.update(file.read_bytes())
    return cache() / f"kubernetes-{VERSION}-{digest.hexdigest()[:12]}"


def build() -> Path:
    """Return the folder of Kubernetes' programs, built first if the cache has none."""
    folder = built()
    if folder.exists():
        return folder
    go = shutil.which("go")
    if go is None:
        raise MissingError("no Go to build Kubernetes with: install Go 1.24 or later")
    say(f"building Kubernetes {VERSION} into {folder} (ten minutes of two cores, once)")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    major, minor, _ = VERSION.split(".")
    stamp = "k8s.io/component-base/version"
    said = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s -w", *(f"-X {stamp}.{name}={value}" for name, value in said.items())])
    command = [go, "build", "-trimpath", "-ldflags", flags, "-o", f"{part}/", ".", "./pause"]
    environ = {**os.environ, "GOCACHE": str(cache() / "go-build"), "GOTOOLCHAIN": "local"}
    answer = subprocess.run(
        command,
        cwd=_SOURCE,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_TIMEOUT_S,
    )
    if answer.returncode != 0:
        raise MissingError(f"Kubernetes could not be built:\n{answer.stderr.strip()[-2000:]}")
    for name in NAMES:
        (part / name).symlink_to("kubernetes")
    part.rename(folder)
    return folder


def require(*programs: str) -> dict[str, str]:
    """Return where programs of Debian are; MissingError names the packages that are missing."""
    found = {name: shutil.which(name) for name in programs}
    lacking = sorted({DEBIAN[name] for name, path in found.items() if path is None})
    if lacking:
        raise MissingError(f"install these Debian packages: {' '.join(lacking)}")
    return {name: path for name, path in found.items() if path is not None}
