"""Kafka and Redis as containers, where a Docker engine runs.

Written after testcontainers' documented API and its source (4.15): `DockerContainer` with
`with_bind_ports` and `with_envs`, `RedisContainer`, both as context managers. The broker is not
testcontainers' own KafkaContainer: that one brings an older Kafka, and no transactions on a single
node. What is left behind by a crash is removed by testcontainers' own watcher, Ryuk.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from testcontainers.community.redis import RedisContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from deploy.local.kafka_files import kafka_version
from deploy.local.kafka_server import broker_answers, broker_settings
from deploy.local.process import free_port, wait_until

_REDIS_IMAGE = "redis:7.4-alpine"
_START_TIMEOUT_S = 60.0
_CONTROLLER_PORT = 9093  # inside the container


@contextmanager
def kafka_container() -> Iterator[str]:
    """Run the official image with the settings of the local broker; yield its address."""
    host, port = DockerClient().host(), free_port()
    settings = broker_settings(
        port=port,
        controller_port=_CONTROLLER_PORT,
        listen="0.0.0.0",  # noqa: S104 - inside the container
        advertise=host,
    )
    variables = {f"KAFKA_{key.replace('.', '_').upper()}": settings[key] for key in settings}
    broker = DockerContainer(f"apache/kafka:{kafka_version()}")
    with broker.with_bind_ports(port, port).with_envs(**variables):
        address = f"{host}:{port}"
        wait_until(
            lambda: broker_answers(address),
            timeout_s=_START_TIMEOUT_S,
            what=f"Kafka in a container to answer at {address}",
        )
        yield address


@contextmanager
def redis_container() -> Iterator[str]:
    """Run the official image; yield the URL of its database 0."""
    with RedisContainer(_REDIS_IMAGE) as server:
        yield f"redis://{server.get_container_host_ip()}:{server.get_exposed_port(server.port)}/0"
