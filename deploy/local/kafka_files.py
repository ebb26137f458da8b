"""The Java and the jars of a Kafka broker: found, or downloaded once with Maven into the cache."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import ServerError, say

_POM = Path(__file__).with_name("pom.xml")
_OLDEST_JAVA = 17  # what Kafka 4 asks of a broker
_DOWNLOAD_TIMEOUT_S = 900.0
_OTHER_WAYS = "or start Docker, or set OFFRAMP_TEST_KAFKA=host:port"


@dataclass(frozen=True, slots=True)
class KafkaFiles:
    """What runs a broker."""

    java: Path
    classpath: str
    class_archive: Path  # loaded classes of a former run, for this Java: starts twice as fast


def kafka_version() -> str:
    """Return the broker's version, from the pom."""
    match = re.search(r"<kafka\.version>(.+)</kafka\.version>", _POM.read_text())
    if match is None:
        raise ServerError(f"{_POM} names no kafka.version")
    return match[1]


def find_kafka() -> KafkaFiles:
    """Return the broker's files, downloaded first if the cache has none."""
    java = _find_java()
    java_version = _version_of(java)
    if int(java_version.split(".")[0]) < _OLDEST_JAVA:
        raise ServerError(
            f"no Kafka broker: {java} is Java {java_version}, Kafka {kafka_version()} needs "
            f"{_OLDEST_JAVA} or later. Install a newer one (JAVA_HOME wins over PATH), "
            f"{_OTHER_WAYS}"
        )
    home = _cache() / f"kafka-{kafka_version()}"
    if not home.exists():
        with cache_lock():
            if not home.exists():
                _download(home)
    jars = sorted(map(str, (home / "libs").glob("*.jar")))
    return KafkaFiles(
        java=java,
        classpath=":".join(jars),
        class_archive=home / f"classes-java-{java_version}.jsa",
    )


@contextmanager
def cache_lock() -> Iterator[None]:
    """Hold the cache for one process at a time; the holder's death frees it."""
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offramp"


def _find_java() -> Path:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        where = f"JAVA_HOME={home}" if home else "PATH"
        raise ServerError(
            f"no Kafka broker: no java in {where}. Install a JDK {_OLDEST_JAVA} or later and "
            f"Maven, {_OTHER_WAYS}"
        )
    return Path(found).absolute()


def _version_of(java: Path) -> str:
    """Return e.g. `17.0.15`, which `java -version` prints between quotes."""
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d[\d.]*)', answer.stderr)
    if match is None:
        raise ServerError(f"no Kafka broker: {java} -version answers {answer.stderr.strip()!r}")
    return match[1]


def _download(home: Path) -> None:
    """Fill a folder beside `home` with the jars, then rename it: `home` is complete or absent."""
    mvn = shutil.which("mvn")
    if mvn is None:
        raise ServerError(
            f"no Kafka broker: {home} is not there yet and mvn, which would download it, is not "
            f"on PATH. Install Maven, {_OTHER_WAYS}"
        )
    say(f"downloading Kafka {kafka_version()} (43 MB, once) to {home}")
    part = home.with_name(f"{home.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={part / 'libs'}"]
    command = [mvn, "-q", "-B", "-Dstyle.color=never", "-f", str(_POM), *goal]
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_DOWNLOAD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"`{' '.join(command)}` took over {error.timeout:g} s") from error
    if answer.returncode != 0:
        raise ServerError(
            f"`{' '.join(command)}` failed with code {answer.returncode}:\n{answer.stdout.strip()}"
        )
    part.rename(home)
