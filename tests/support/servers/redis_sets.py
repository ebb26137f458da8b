"""Several real Redis servers on loopback that take over from each other: a Sentinel set, a cluster.

What a node does for the others hangs on rights, which a test can take away: then a node lives and
serves its clients, and the others hear nothing of it. That is a partition.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis

from deploy.local.process import HOST, free_port, start_on_free_port, wait_until
from deploy.local.redis_server import Flavour, RedisServer, find_redis, start_redis
from policy_state.store.redis.keys import PolicyKeys, policy_id

if TYPE_CHECKING:
    from collections.abc import Sequence

_REPLICATION = "replication"  # a user, whose name is its password
_WATCHED_BY = ("ping", "info", "multi")  # what Sentinels ask of a node, and no worker
_READY_S = 40.0
_NODE = (
    *("--user", _REPLICATION, "on", f">{_REPLICATION}", "+psync", "+replconf", "+ping"),
    *("--masteruser", _REPLICATION, "--masterauth", _REPLICATION),
    *("--repl-diskless-sync-delay", "0"),
)


def command(server: RedisServer, *words: object) -> Any:
    """Return a server's answer to any command."""
    with redis.Redis(port=server.port, decode_responses=True, socket_timeout=5) as raw:
        return raw.execute_command(*words)


class Sentinel(RedisServer):
    """A Sentinel that watches one primary and fails over fast."""

    def __init__(
        self, executable: Path, *, port: int, primary: RedisServer, quorum: int = 1
    ) -> None:
        super().__init__(executable, port=port)
        self._primary_port = primary.port
        self._quorum = quorum

    def _prepare(self) -> None:
        file = self.home / "sentinel.conf"
        if file.exists():  # it has written there what it knows
            return
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.home}",
            f"sentinel monitor fleet {HOST} {self._primary_port} {self._quorum}",
            "sentinel down-after-milliseconds fleet 500",
            "sentinel failover-timeout fleet 2000",
        ]
        file.write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [str(self._executable), str(self.home / "sentinel.conf"), "--sentinel"]


class RedisSet:
    """Nodes of which some are primaries, and each primary has replicas."""

    def __init__(self, stack: ExitStack, nodes: Sequence[RedisServer], url: str) -> None:
        self.nodes = list(nodes)
        self.url = url
        self._stack = stack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def owner(self) -> RedisServer:
        """Return the primary that has the policy `default`, as the others see it."""
        raise NotImplementedError

    def primaries(self) -> list[RedisServer]:
        """Return all primaries that are written to."""
        return [self.owner()]

    def cut(self, node: RedisServer) -> None:
        """Part a primary from the other nodes; its clients continue with it."""
        command(node, "ACL", "SETUSER", "default", *(f"-{name}" for name in _WATCHED_BY))
        self.hold_back(node)

    def hold_back(self, node: RedisServer) -> None:
        """Let nothing of what a primary is told from now on get to its replicas."""
        command(node, "ACL", "SETUSER", _REPLICATION, "off")
        command(node, "CLIENT", "KILL", "TYPE", "replica")

    def join(self, node: RedisServer) -> None:
        """Give a node that was cut back to the others."""
        command(node, "ACL", "SETUSER", _REPLICATION, "on")
        command(node, "ACL", "SETUSER", "default", *(f"+{name}" for name in _WATCHED_BY))

    def wait_for_another(self, than: RedisServer) -> None:
        """Return when the others have another primary in place of this one."""
        wait_until(lambda: self._taken_over(than), timeout_s=_READY_S, what="a failover")

    def wait_until_whole(self) -> None:
        """Return when every node runs, knows its place and has what its primary has."""
        wait_until(self._is_whole, timeout_s=_READY_S, what="all nodes")

    def _taken_over(self, old: RedisServer) -> bool:
        with suppress(redis.RedisError):
            return self.owner() is not old
        return False

    def _is_whole(self) -> bool:
        with suppress(redis.RedisError):
            primaries = self.primaries()
            told = [command(node, "INFO", "replication") for node in self.nodes]
            replicas = [info for info in told if info["role"] == "slave"]
            return len(replicas) == len(self.nodes) - len(primaries) and all(
                info["master_link_status"] == "up" for info in replicas
            )
        return False

    def _at(self, port: int) -> RedisServer:
        return next(node for node in self.nodes if node.port == port)


class SentinelSet(RedisSet):
    """A primary, two replicas, and three Sentinels, two of which must agree."""

    def __init__(self, flavour: Flavour = "auto") -> None:
        executable = find_redis(flavour)
        assert executable is not None
        with ExitStack() as stack:
            first = stack.enter_context(start_redis(flavour=flavour, args=_NODE))
            follow = (*_NODE, "--replicaof", HOST, str(first.port))
            others = [
                stack.enter_context(start_redis(flavour=flavour, args=follow)) for _ in range(2)
            ]
            self.sentinels = [
                stack.enter_context(
                    start_on_free_port(
                        lambda: Sentinel(executable, port=free_port(), primary=first, quorum=2)
                    )
                )
                for _ in range(3)
            ]
            hosts = ",".join(sentinel.address for sentinel in self.sentinels)
            super().__init__(stack, [first, *others], f"redis+sentinel://{hosts}/fleet/0")
            wait_until(self._all_met, timeout_s=_READY_S, what="the sentinels to meet")
            self.wait_until_whole()
            self._stack = stack.pop_all()

    def owner(self) -> RedisServer:
        """Return the primary that most of the Sentinels name."""
        named = [
            command(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "fleet")
            for sentinel in self.sentinels
        ]
        ports = [int(port) for _, port in named]
        return self._at(max(ports, key=ports.count))

    def _all_met(self) -> bool:
        return all(
            len(command(sentinel, "SENTINEL", kind, "fleet")) == len(self.sentinels) - 1
            for sentinel in self.sentinels
            for kind in ("SENTINELS", "REPLICAS")
        )

    def _taken_over(self, old: RedisServer) -> bool:
        return super()._taken_over(old) and command(self.owner(), "ROLE")[0] == "master"


class RedisClusterSet(RedisSet):
    """Three primaries with a share of the slots each, and a replica of each."""

    def __init__(self, flavour: Flavour = "auto") -> None:
        options = (*_NODE, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        with ExitStack() as stack:
            nodes = [
                stack.enter_context(start_redis(flavour=flavour, args=options)) for _ in range(6)
            ]
            super().__init__(stack, nodes, f"redis+cluster://{nodes[0].address},{nodes[1].address}")
            for number, node in enumerate(nodes):
                first, last = number * 5462, min(16_383, number * 5462 + 5461)
                if number < 3:
                    command(node, "CLUSTER", "ADDSLOTS", *range(first, last + 1))
                command(node, "CLUSTER", "MEET", HOST, nodes[0].port)
            wait_until(self._all_met, timeout_s=_READY_S, what="the nodes to meet")
            for primary, replica in zip(nodes[:3], nodes[3:], strict=True):
                command(replica, "CLUSTER", "REPLICATE", command(primary, "CLUSTER", "MYID"))
            self.wait_until_whole()
            self._stack = stack.pop_all()

    def owner(self) -> RedisServer:
        """Return the primary of the slot that the policy is in, as most nodes see it."""
        key = PolicyKeys(policy_id("default")).key("meta")
        slot = int(command(self._alive()[0], "CLUSTER", "KEYSLOT", key))
        seen = [self._owner_of(slot, node) for node in self._alive()]
        return max(seen, key=seen.count)

    def primaries(self) -> list[RedisServer]:
        """Return the primaries, as a node sees them."""
        ranges = command(self._alive()[-1], "CLUSTER", "SLOTS")
        return [self._at(int(primary[1])) for _, _, primary, *_ in ranges]

    def _owner_of(self, slot: int, node: RedisServer) -> RedisServer:
        for first, last, primary, *_ in command(node, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self._at(int(primary[1]))
        raise redis.RedisError(f"slot {slot} is nobody's")

    def _alive(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.running]

    def _all_met(self) -> bool:
        return all(
            "cluster_state:ok" in str(command(node, "CLUSTER", "INFO"))
            and f"cluster_known_nodes:{len(self.nodes)}" in str(command(node, "CLUSTER", "INFO"))
            for node in self.nodes
        )
