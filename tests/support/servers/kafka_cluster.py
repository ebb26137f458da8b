"""Several real brokers on loopback, each of them a controller too, for tests."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Self

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from deploy.local.kafka_files import KafkaFiles, find_kafka
from deploy.local.kafka_server import KafkaServer
from deploy.local.process import HOST, free_port, wait_until
from tests.support.servers.proxies import Proxy

_READY_S = 60.0


class Node(KafkaServer):
    """One broker of several; it answers once most of them are there.

    Each of its doors is a listener that clients reach, and are told of, through a proxy alone.
    """

    def __init__(
        self, files: KafkaFiles, *, number: int, controllers: list[int], doors: Sequence[str]
    ) -> None:
        super().__init__(files, settings={}, jvm_args=("-Xmx384m",))
        copies, most = str(len(controllers)), str(len(controllers) // 2 + 1)
        self.doors = {name.upper(): Proxy(free_port()) for name in doors}
        self._cluster_id = "AAAAAAAAAAAAAAAAAAAAAA"
        voters = (f"{i}@{HOST}:{port}" for i, port in enumerate(controllers, 1))
        self._settings |= {
            "node.id": str(number),
            "controller.quorum.voters": ",".join(voters),
            "listeners": ",".join(
                [
                    f"PLAINTEXT://{self.address}",
                    f"CONTROLLER://{HOST}:{controllers[number - 1]}",
                    *(f"{name}://{HOST}:{door.target}" for name, door in self.doors.items()),
                ]
            ),
            "advertised.listeners": ",".join(
                [
                    f"PLAINTEXT://{self.address}",
                    *(f"{name}://{HOST}:{door.port}" for name, door in self.doors.items()),
                ]
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *self.doors)
            ),
            "default.replication.factor": copies,
            "min.insync.replicas": most,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": most,
            "share.coordinator.state.topic.replication.factor": copies,
        }

    def stop(self) -> None:
        """End it, and its doors."""
        super().stop()
        for door in self.doors.values():
            door.close()


class KafkaCluster:
    """Brokers numbered from 1: any one of three may be away, and nothing is lost."""

    def __init__(self, brokers: int = 3, *, doors: Sequence[str] = ()) -> None:
        files = find_kafka()
        controllers = [free_port() for _ in range(brokers)]
        self.nodes = [
            Node(files, number=i, controllers=controllers, doors=doors)
            for i in range(1, brokers + 1)
        ]
        with ExitStack() as undo:
            undo.callback(self.stop)
            with ThreadPoolExecutor(brokers) as pool:
                list(pool.map(Node.start, self.nodes))
            self.admin = KafkaAdminClient(bootstrap_servers=self.address.split(","))
            undo.pop_all()

    @property
    def address(self) -> str:
        """Return the bootstrap servers."""
        return ",".join(node.address for node in self.nodes)

    def doors(self, name: str) -> list[Proxy]:
        """Return the doors of a name, one for each broker."""
        return [node.doors[name.upper()] for node in self.nodes]

    def leader(self, topic: str, partition: int) -> int:
        """Return the number of the broker that leads a partition."""
        (described,) = self.admin.describe_topics([topic])
        parts = {p["partition_index"]: p for p in described["partitions"]}
        return int(parts[partition]["leader_id"])

    def move_leaders(self, topic: str) -> None:
        """Have each partition of a topic led by the next broker; wait until it is."""
        (described,) = self.admin.describe_topics([topic])
        wanted = {}
        for part in described["partitions"]:
            others = sorted(part["replica_nodes"], key=lambda n: (n <= part["leader_id"], n))
            wanted[TopicPartition(topic, part["partition_index"])] = others
        self.admin.alter_partition_reassignments(wanted)

        def moved() -> bool:
            with suppress(KafkaError):
                self.admin.elect_leaders(0, {topic: [tp.partition for tp in wanted]})
            with suppress(KafkaError):
                return all(self.leader(*tp) == order[0] for tp, order in wanted.items())
            return False

        wait_until(moved, timeout_s=_READY_S, what=f"the leaders of {topic} to move")

    def stop(self) -> None:
        """End all brokers and remove their data."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.admin.close()
        self.stop()
