"""Runs several workers on one machine, and restarts those that end by themselves."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumer.entry import own_command
from consumer.process.liveness import LivenessFile
from consumer.process.log_lines import FORM, ChildLines, ShownLines

if TYPE_CHECKING:
    from pathlib import Path

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
    liveness_file: Path | None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    ends: int = 0
    next_start: float = field(default=0.0)


def run_supervisor(
    arguments: list[str],
    *,
    instance: str,
    processes: int,
    drain_s: float,
    liveness_file: Path | None,
) -> int:
    """Run workers named `instance-0`, `instance-1`, ... until a signal; return the exit code.

    A worker that ends is started again, after a pause that grows up to 30 s while it keeps ending.
    On SIGTERM or SIGINT all are asked to finish, and those that do not finish in time are killed. A
    second signal kills all at once. If the supervisor itself is killed, they finish (on Linux).

    Args:
        arguments: the command line of a worker, without the program.
        instance: the first part of the workers' names.
        processes: the number of workers.
        drain_s: the longest time that a worker takes to finish the open batches.
        liveness_file: kept as old as the oldest of the workers' own files, which are called
            `liveness_file.instance-0` and so on.
    """
    shown = ShownLines()
    logging.basicConfig(level=logging.INFO, format=FORM, handlers=[logging.StreamHandler(shown)])
    lines = ChildLines(shown)
    stop, again = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: again.set() if stop.is_set() else stop.set())
    threads = max(1, (os.cpu_count() or 1) // processes)
    shares = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads))  # torch, tokens
    environ = {**shares, **os.environ}
    children = []
    for name in [f"{instance}-{i}" for i in range(processes)]:
        file = liveness_file and liveness_file.with_name(f"{liveness_file.name}.{name}")
        children.append(_Child(name, file))
    for old in [liveness_file, *(child.liveness_file for child in children)]:
        if old is not None:
            old.unlink(missing_ok=True)
    liveness = LivenessFile(liveness_file)
    while not stop.is_set():
        for child in children:
            _keep_running(child, arguments, environ, lines)
        lines.pass_on(_TICK_S)
        if liveness_file is not None:
            _show_least_alive(liveness_file, liveness, children)
    running = [c.process for c in children if c.process and c.process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + drain_s + _GRACE_S
    codes = {_wait(process, deadline, again, lines) for process in running}
    while lines.pass_on(0):
        pass
    shown.finish(_SHOWN_S)
    # A worker that dies of this signal had not reached its first line, and so had begun nothing.
    return max((abs(code) for code in codes - {-signal.SIGTERM}), default=0)


def _keep_running(
    child: _Child, arguments: list[str], environ: dict[str, str], lines: ChildLines
) -> None:
    now = time.monotonic()
    if child.process is not None:
        code = child.process.poll()
        if code is None:
            return
        child.ends = 1 if now - child.started > _STEADY_S else child.ends + 1
        pause_s = _BACKOFF_S[min(child.ends, len(_BACKOFF_S)) - 1]
        child.next_start = now + pause_s
        child.process = None
        log.warning("worker ended instance=%s code=%d pause_s=%s", child.instance, code, pause_s)
    if now >= child.next_start:
        own = ["--instance", child.instance]
        if child.liveness_file is not None:
            own.append(f"--set=worker.liveness_file={child.liveness_file}")
        child.process = subprocess.Popen(  # noqa: S603  (our own program)
            own_command(*arguments, *own),
            env=environ,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C reaches the supervisor, which passes it on
            preexec_fn=_end_with_parent,  # noqa: PLW1509  (one thread: nothing can be locked)
        )
        child.started = now
        if child.process.stderr is not None:
            lines.add(child.instance, child.process.stderr)


def _end_with_parent() -> None:
    """Have this process asked to finish when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _show_least_alive(file: Path, liveness: LivenessFile, children: list[_Child]) -> None:
    """Make a file as old as the oldest of the workers' files, once all of them exist."""
    try:
        oldest = min(c.liveness_file.stat().st_mtime for c in children if c.liveness_file)
    except FileNotFoundError:
        return
    liveness.touch()
    with contextlib.suppress(FileNotFoundError):  # on a full disk
        os.utime(file, (oldest, oldest))


def _wait(
    process: subprocess.Popen[bytes],
    deadline: float,
    at_once: threading.Event,
    lines: ChildLines,
) -> int:
    while time.monotonic() < deadline and not at_once.is_set():
        if (code := process.poll()) is not None:
            return code
        lines.pass_on(_TICK_S)
    log.warning("worker killed pid=%d", process.pid)
    process.kill()
    return process.wait()
