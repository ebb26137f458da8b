"""One local server process with its own folder: start, pause, kill, restart, and leave no trace."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from deploy.local.guarded import GuardedFolder

HOST = "127.0.0.1"

_START_TIMEOUT_S = 60.0
_TERMINATE_TIMEOUT_S = 20.0
_POLL_S = 0.02
_PORT_TAKEN = "ddress already in use"  # in the words of Redis and of Java
# Below the ports that systems hand out to clients (from 32768 on Linux): otherwise a client that
# keeps trying a killed server can be given, as its own, the port the server must come back to.
_PORTS = range(20_000, 32_000)


class ServerError(RuntimeError):
    """A local server could not be found, started or reached."""


class PortTakenError(ServerError):
    """Another process took the port that the server was to listen on."""


class LocalServer(ABC):
    """A server process on loopback that its owner may pause, kill and restart.

    A subclass says what to run and how to see that it answers. The process ends with `stop`, at
    the exit of the interpreter, or within a second of this process's death, whatever it died of.
    Only the process that made it can end it: a fork that inherits the object leaves it alone.
    """

    def __init__(self, name: str, *, port: int) -> None:
        """Make the folder `self.home` and its guard; nothing is started yet."""
        self.name = name
        self.port = port
        self._folder = GuardedFolder(name)
        self.home = self._folder.path
        self._pid_file = self.home / "pid"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the server's command line, with absolute paths."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether this very process, not another one on its port, serves requests."""

    def _prepare(self) -> None:  # noqa: B027 - a step that only some servers need
        """Do what must be done in `self.home` before the process starts; nothing by default."""

    @property
    def address(self) -> str:
        """Return `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Return whether the process exists; a paused one does."""
        if self._process is None:
            return False
        if self._process.poll() is None:
            return True
        self._pid_file.unlink(missing_ok=True)  # the number may be another's from now on
        return False

    @property
    def pid(self) -> int:
        """Return the process id; ServerError where it does not run."""
        return self._running_process().pid

    @property
    def log_file(self) -> Path:
        """Return the file that collects the server's output; it goes with `stop`."""
        return self.home / "server.log"

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's output."""
        return "\n".join(self._log_lines()[-lines:])

    def start(self) -> None:
        """Start the process and return when it answers; ServerError with the log's tail if not."""
        if not self.home.exists():
            raise ServerError(f"{self} was stopped: its data is gone, start a new one")
        if self.running:
            raise ServerError(f"{self} runs already, pid {self.pid}")
        try:
            self._prepare()
            self._process = self._spawn(self._command())
            wait_until(self._started, timeout_s=_START_TIMEOUT_S, what=f"{self} to answer")
        except ServerError as error:
            self.kill()
            raise self._with_log(error) from error
        except BaseException:
            self.kill()
            raise

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open and nothing answers."""
        self._running_process().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process continue (SIGCONT)."""
        self._running_process().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once (SIGKILL) and keep its data: `restart` brings it back."""
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._pid_file.unlink(missing_ok=True)

    def terminate(self) -> None:
        """End the process in an orderly way (SIGTERM) and keep its data."""
        process = self._running_process()
        process.send_signal(signal.SIGCONT)  # a paused process does not see SIGTERM
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TERMINATE_TIMEOUT_S)
        self.kill()

    def restart(self) -> None:
        """End the process in an orderly way, if it runs, and start it: same port, same data."""
        if self.running:
            self.terminate()
        self.start()

    def stop(self) -> None:
        """End the process and remove its data; a second call does nothing."""
        if self._folder.is_ours:
            self.kill()
            self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return self._folder.spawn(
            command, pid_file=self._pid_file, log_file=self.log_file, cwd=self.home
        )

    def _started(self) -> bool:
        if not self.running:
            code = self._process.returncode if self._process is not None else None
            raise ServerError(f"{self} ended with code {code} before it answered")
        return self._answers()

    def _with_log(self, error: ServerError) -> ServerError:
        """Return the error with what the log says of it, not of the orderly shutdown after it."""
        lines = self._log_lines()
        complaints = [line for line in lines if " INFO " not in line] or lines
        kind = PortTakenError if any(_PORT_TAKEN in line for line in complaints) else ServerError
        return kind("\n".join([str(error), "--- end of its log ---", *complaints[-30:]]))

    def _log_lines(self) -> list[str]:
        if not self.log_file.exists():
            return []
        return self.log_file.read_text(errors="replace").splitlines()

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or not self.running:
            raise ServerError(f"{self} is not running")
        return self._process


S = TypeVar("S", bound=LocalServer)


def start_on_free_port(make: Callable[[], S], *, attempts: int = 3) -> S:
    """Return a started server; made anew if another process took its port in the meantime."""
    server = make()
    try:
        server.start()
    except PortTakenError:
        server.stop()
        if attempts == 1:
            raise
        return start_on_free_port(make, attempts=attempts - 1)
    except BaseException:
        server.stop()
        raise
    return server


def free_port() -> int:
    """Return a loopback port that nobody listens on right now."""
    while True:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def port_is_open(port: int) -> bool:
    """Return whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def say(text: str) -> None:
    """Tell whoever waits at the terminal what takes so long."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress, not output


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Return once the condition holds; ServerError if it does not within the time."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= give_up_at:
            raise ServerError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(_POLL_S)
