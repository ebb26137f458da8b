"""A throw-away Kafka broker on loopback: one KRaft node, run by the Java of this machine."""

import base64
import secrets
import subprocess
from collections.abc import Mapping, Sequence

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local.kafka_files import KafkaFiles, cache_lock, find_kafka
from deploy.local.process import (
    HOST,
    LocalServer,
    ServerError,
    free_port,
    port_is_open,
    say,
    start_on_free_port,
)

_FORMAT_TIMEOUT_S = 60.0
_PROBE_TIMEOUT_MS = 5_000
# One small, short-lived node: quick compiler, collector without threads, little memory.
_JVM_ARGS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_JVM_LOG_ARGS = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    # Hundreds of lines of settings at each start would hide what matters.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)


def broker_settings(
    *,
    port: int,
    controller_port: int,
    listen: str = HOST,
    advertise: str = HOST,
    secured: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Return the properties of a node that is broker and controller, alone in its cluster.

    `secured` are further listeners: security protocol, such as SASL_SSL, to port.
    """
    further = (secured or {}).items()
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{listen}:{port},CONTROLLER://{HOST}:{controller_port}"
        + "".join(f",{name}://{listen}:{number}" for name, number in further),
        "advertised.listeners": f"PLAINTEXT://{advertise}:{port}"
        + "".join(f",{name}://{advertise}:{number}" for name, number in further),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        + "".join(f",{name}:{name}" for name, _ in further),
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # A killed broker may come back only when its old session has ended (9 s by default).
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }


class KafkaServer(LocalServer):
    """A broker whose topics, groups and transactions survive `kill` and `restart`."""

    def __init__(
        self,
        files: KafkaFiles,
        *,
        settings: Mapping[str, str],
        jvm_args: Sequence[str],
        secured: Sequence[str] = (),
    ) -> None:
        """Prepare a broker; `settings` and `jvm_args` win over ours."""
        super().__init__("kafka", port=free_port())
        self._files = files
        self._jvm_args = tuple(jvm_args)
        # The first byte is 0: an id with a leading `-` would read as an option.
        random_bytes = b"\0" + secrets.token_bytes(15)
        self._cluster_id = base64.urlsafe_b64encode(random_bytes).decode().rstrip("=")
        self._data = self.home / "data"
        self._settings_file = self.home / "server.properties"
        self.secured = {protocol: free_port() for protocol in secured}
        """The port of each further listener, by its security protocol."""
        self._settings = {
            **broker_settings(port=self.port, controller_port=free_port(), secured=self.secured),
            **settings,
            "log.dirs": str(self._data),
        }

    def _prepare(self) -> None:
        """Write the settings and format the storage, unless a former start has done it."""
        if (self._data / "meta.properties").exists():
            return
        lines = [f"{name}={value}" for name, value in self._settings.items()]
        self._settings_file.write_text("\n".join(lines) + "\n")
        arguments = ["format", "--cluster-id", self._cluster_id, "--config"]
        self._process = self._spawn(
            self._java("kafka.tools.StorageTool", *arguments, str(self._settings_file))
        )
        try:
            code = self._process.wait(_FORMAT_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"formatting {self} took over {_FORMAT_TIMEOUT_S:g} s") from error
        if code != 0:
            raise ServerError(f"formatting {self} failed with code {code}")

    def _command(self) -> list[str]:
        return self._java("kafka.Kafka", str(self._settings_file))

    def _answers(self) -> bool:
        return port_is_open(self.port) and broker_answers(self.address, self._cluster_id)

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        files = self._files
        archive = [f"-XX:SharedArchiveFile={files.class_archive}"] * files.class_archive.exists()
        jvm_args = [*_JVM_ARGS, *_JVM_LOG_ARGS, *archive, *self._jvm_args]
        return [str(files.java), *jvm_args, "-cp", files.classpath, main_class, *arguments]


def start_kafka(
    *,
    settings: Mapping[str, str] | None = None,
    jvm_args: Sequence[str] = (),
    secured: Sequence[str] = (),
) -> KafkaServer:
    """Start a broker and return it when it answers; the first call ever downloads it.

    Args:
        settings: further broker properties, e.g. `{"transactional.id.expiration.ms": "5000"}`;
            they win over `broker_settings`.
        jvm_args: further arguments of the JVM, e.g. `("-Xmx2g",)`.
        secured: security protocols that get a listener beside the plain one, e.g. `("SASL_SSL",)`;
            `settings` say what they ask of clients.

    Raises:
        ServerError: with what to install, or with the broker's own complaint.

    """
    files = find_kafka()
    if not files.class_archive.exists():
        with cache_lock():
            if not files.class_archive.exists():
                _archive_classes(files)
    return start_on_free_port(
        lambda: KafkaServer(files, settings=settings or {}, jvm_args=jvm_args, secured=secured)
    )


def broker_answers(address: str, cluster_id: str | None = None) -> bool:
    """Return whether an unfenced broker (of that cluster, if given) answers at the address."""
    try:
        client = KafkaAdminClient(
            bootstrap_servers=address,
            bootstrap_timeout_ms=_PROBE_TIMEOUT_MS,
            request_timeout_ms=_PROBE_TIMEOUT_MS,
        )
        with client:
            cluster = client.describe_cluster()
    except KafkaError:
        return False
    in_service = any(not broker.get("is_fenced") for broker in cluster["brokers"])
    return in_service and cluster_id in {None, cluster["cluster_id"]}


def _archive_classes(files: KafkaFiles) -> None:
    """Run a broker once to write down the classes it loads (the JVM's class data sharing)."""
    say("preparing Kafka for fast starts (once)")
    part = files.class_archive.with_suffix(".part")
    record = (f"-XX:ArchiveClassesAtExit={part}",)
    with start_on_free_port(lambda: KafkaServer(files, settings={}, jvm_args=record)) as broker:
        broker.terminate()
    part.touch()  # a JVM that cannot do it: an empty archive is ignored
    part.rename(files.class_archive)
