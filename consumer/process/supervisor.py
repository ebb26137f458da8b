"""Runs several workers on one machine, and restarts those that end by themselves."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.entry import own_command
from consumer.metrics.board import Board
from consumer.metrics.report import ReportReader
from consumer.process.log_lines import ChildLines, ShownLines, log_to_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.settings.load import Settings

log = logging.getLogger("offramp.supervisor")

_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_S = 60.0  # after a worker has run for this long, its next pause is the shortest again
_TICK_S = 0.1
_SHOWN_S = 1.0  # time to read the last lines
_GRACE_S = 10.0  # beyond the workers' own drain time
_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(slots=True)
class _Child:
    """One worker, and how often it ended."""

    instance: str
    process: subprocess.Popen[bytes] | None = None
    reports: ReportReader | None = None
    started: float = 0.0
    ends: int = 0
    next_start: float = 0.0


def run_supervisor(arguments: list[str], *, processes: int, settings: Settings) -> int:
    """Run workers named `INSTANCE-0`, `INSTANCE-1`, ... until a signal; return the exit code.

    A worker that ends is started again, after a pause that grows up to 30 s while it keeps ending.
    On SIGTERM or SIGINT all are asked to finish, and those that do not finish in time are killed. A
    second signal kills all at once. If the supervisor itself is killed, they finish (on Linux).

    Args:
        arguments: the command line of a worker, without the program.
        processes: the number of workers.
        settings: of the workers; the instance is the first part of their names. If there is a
            `metrics.port`, it is served here, for all of them.

    Raises:
        InvalidSettings: the port cannot be used.
    """
    shown = ShownLines()
    form = settings.log.format
    log_to_stderr("info", form=form, instance=settings.instance, stream=shown)
    stop, again = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: again.set() if stop.is_set() else stop.set())
    threads = max(1, (os.cpu_count() or 1) // processes)
    shares = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))  # torch, tokens
    names = [f"{settings.instance}-{i}" for i in range(processes)]
    with _served(names, settings) as board:
        lines = ChildLines(shown, named=form == "text")
        fleet = _Fleet(names, arguments, {**shares, **os.environ}, lines, board)
        while not stop.is_set():
            fleet.keep_running()
            fleet.listen()
        codes = fleet.end(again, within_s=settings.worker.drain_s + _GRACE_S)
    while lines.pass_on(0):
        pass
    shown.finish(_SHOWN_S)
    # A worker that dies of this signal had not reached its first line, and so had begun nothing.
    return max((abs(code) for code in codes - {-signal.SIGTERM}), default=0)


@contextmanager
def _served(names: list[str], settings: Settings) -> Iterator[Board | None]:
    """Serve what the workers report, if there is a port for it."""
    if not settings.metrics.port:
        yield None
        return
    from consumer.metrics.server import MetricsPort

    board = Board(names, stuck_s=settings.worker.stuck_s)
    with MetricsPort(board, settings.metrics):
        yield board


class _Fleet:
    """The workers of a supervisor."""

    def __init__(
        self,
        names: list[str],
        arguments: list[str],
        environ: dict[str, str],
        lines: ChildLines,
        board: Board | None,
    ) -> None:
        self._children = [_Child(name) for name in names]
        self._arguments = arguments
        self._environ = environ
        self._lines = lines
        self._board = board

    def keep_running(self) -> None:
        """Start the workers that do not run, unless they wait because they ended too often."""
        for child in self._children:
            self._keep_running(child)

    def listen(self) -> None:
        """Pass on for a moment what the workers log and report."""
        self._lines.pass_on(_TICK_S)
        for child in self._children:
            self._take_reports(child)

    def end(self, at_once: threading.Event, *, within_s: float) -> set[int]:
        """Ask all workers to finish, kill those that do not, and return their exit codes."""
        running = [c.process for c in self._children if c.process and c.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + within_s
        codes = {self._wait(process, deadline, at_once) for process in running}
        self.listen()  # what they reported just before they ended
        return codes

    def _keep_running(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            child.ends = 1 if now - child.started > _STEADY_S else child.ends + 1
            pause_s = _BACKOFF_S[min(child.ends, len(_BACKOFF_S)) - 1]
            child.next_start = now + pause_s
            child.process = None
            log.warning(
                "worker ended instance=%s code=%d pause_s=%s", child.instance, code, pause_s
            )
            self._take_last_reports(child)
        if now >= child.next_start:
            self._start(child, now)

    def _start(self, child: _Child, now: float) -> None:
        own = ["--instance", child.instance]
        pipes: tuple[int, ...] = ()
        if self._board is not None:
            child.reports = ReportReader()
            own += ["--report-fd", str(child.reports.writer_fd)]
            pipes = (child.reports.writer_fd,)
        child.process = subprocess.Popen(  # noqa: S603  (our own program)
            own_command(*self._arguments, *own),
            env=self._environ,
            stderr=subprocess.PIPE,
            pass_fds=pipes,
            start_new_session=True,  # a Ctrl-C reaches the supervisor, which passes it on
            preexec_fn=_end_with_parent,  # noqa: PLW1509  (it takes no lock that a thread may hold)
        )
        child.started = now
        if child.reports is not None:
            child.reports.started()
        if child.process.stderr is not None:
            self._lines.add(child.instance, child.process.stderr)

    def _take_reports(self, child: _Child) -> None:
        if self._board is not None and child.reports is not None:
            for report in child.reports.read():
                self._board.take(child.instance, report)

    def _take_last_reports(self, child: _Child) -> None:
        """Take what a worker that has ended had still reported."""
        if self._board is not None and child.reports is not None:
            self._take_reports(child)
            self._board.ended(child.instance)
            child.reports.close()
            child.reports = None

    def _wait(
        self, process: subprocess.Popen[bytes], deadline: float, at_once: threading.Event
    ) -> int:
        while time.monotonic() < deadline and not at_once.is_set():
            if (code := process.poll()) is not None:
                return code
            self.listen()
        log.warning("worker killed pid=%d", process.pid)
        process.kill()
        return process.wait()


_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # looked up before any fork


def _end_with_parent() -> None:
    """Have this process asked to finish when its parent dies."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
