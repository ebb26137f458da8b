"""The programs of a node, and those that decide what it runs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from deploy.local.process import wait_until
from tests.support.cluster.images import PAUSE, compile_sources, images, machine_mounts, write
from tests.support.cluster.programs import require

if TYPE_CHECKING:
    from tests.support.cluster.own import OwnCluster

NODE = "node-1"
ADDRESS = "10.10.0.1"
_POD_RANGE = "10.244.0.0/24"


def start_containerd(cluster: OwnCluster) -> None:
    """Start what runs containers, with the images that they are made of."""
    home = cluster.home / "containerd"
    home.mkdir()
    tools = require("containerd", "ctr", "runc")
    ctr = [*cluster.inside, tools["ctr"], f"--address={home / 'socket'}", "--namespace=k8s.io"]
    spec = json.loads(said_by([tools["ctr"], "oci", "spec"]))
    spec["mounts"] += machine_mounts()
    (home / "spec.json").write_text(json.dumps(spec))
    (home / "cni").mkdir()
    (home / "cni" / "pods.conflist").write_text(json.dumps(_POD_NETWORK))
    (home / "config.toml").write_text(_CONTAINERD.format(home=home, pause=PAUSE))
    cluster.spawn("containerd", tools["containerd"], f"--config={home / 'config.toml'}")
    wait_until(
        lambda: "Server" in said_by([*ctr, "version"]),
        timeout_s=30,
        what="containerd",
    )
    compile_sources()
    for image in images(cluster.programs):
        file = home / "image.tar"
        write(image, file)
        subprocess.run([*ctr, "images", "import", str(file)], check=True, capture_output=True)


def start_controllers(cluster: OwnCluster) -> None:
    """Start what turns objects into pods, and gives pods to nodes."""
    manager = cluster.identities.kubeconfig("manager", "system:kube-controller-manager")
    scheduler = cluster.identities.kubeconfig("scheduler", "system:kube-scheduler")
    _, key = cluster.identities.server
    cluster.spawn(
        "kube-controller-manager",
        str(cluster.programs / "kube-controller-manager"),
        f"--kubeconfig={manager}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={key}",
        f"--root-ca-file={cluster.identities.authority}",
    )
    cluster.spawn(
        "kube-scheduler",
        str(cluster.programs / "kube-scheduler"),
        f"--kubeconfig={scheduler}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    )


def start_node(cluster: OwnCluster) -> None:
    """Start what runs the pods of the node, and their network."""
    certificate, key = cluster.identities.certificate("kubelet", NODE, ADDRESS)
    login = cluster.identities.kubeconfig("node", f"system:node:{NODE}", group="system:nodes")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(cluster.identities.authority)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}",
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{cluster.home}/containerd/socket",
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "100Mi"},
        "failSwapOn": False,
        "healthzPort": 0,
        "imageGCHighThresholdPercent": 100,  # it would take images that nobody can pull again
        "podLogsDir": str(cluster.home / "pods"),
        "readOnlyPort": 0,
        "resolvConf": "",
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
    }
    (cluster.home / "kubelet.json").write_text(json.dumps(config))
    cluster.spawn(
        "kubelet",
        str(cluster.programs / "kubelet"),
        f"--config={cluster.home / 'kubelet.json'}",
        f"--kubeconfig={login}",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
        f"--root-dir={cluster.home / 'kubelet'}",
        f"--cert-dir={cluster.home / 'kubelet-certificates'}",
    )
    cluster.spawn(
        "kube-proxy",
        str(cluster.programs / "kube-proxy"),
        f"--kubeconfig={cluster.identities.admin}",
        f"--hostname-override={NODE}",
        f"--cluster-cidr={_POD_RANGE}",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    )
    cluster.spawn(
        "network-policies",
        str(cluster.programs / "network-policies"),
        f"--kubeconfig={cluster.identities.admin}",
        f"--node={NODE}",
    )
    (cluster.home / "names").mkdir()
    cluster.spawn(
        "dnsmasq",
        require("dnsmasq")["dnsmasq"],
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        f"--listen-address={ADDRESS}",
        "--bind-interfaces",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
        f"--hostsdir={cluster.home / 'names'}",
    )


def said_by(command: list[str]) -> str:
    """Return what a command prints, also if it fails."""
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=60).stdout


_POD_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": _POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
_CONTAINERD = """\
version = 2
root = "{home}/root"
state = "{home}/state"
[grpc]
address = "{home}/socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{home}/spec.json"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{home}/cni"
"""
