"""A folder and processes that end with this process, whatever it dies of.

Run as a script, it is the guard that sees to this: `guarded.py FOLDER PARENT_PID`. The guard
outlives a crashed parent just long enough to kill its processes and remove their folder. It watches
its parent process and not, as PR_SET_PDEATHSIG does, the thread that started it: a server restarted
from a thread must not die with that thread.
"""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

POLL_S = 0.2
CLEAN_UP_S = 5.0
# The shell writes the pid and becomes the program, so the guard knows all that were ever started.
_WRITE_PID_AND_EXEC = 'echo $$ > "$0"; exec "$@"'


class GuardedFolder:
    """A folder in the system's place for such, and the processes that were started for it.

    They go with `remove`, at the exit of the interpreter, or within a second of this process's
    death. Only the process that made it can remove it: a fork that inherits the object leaves it.
    """

    def __init__(self, name: str) -> None:
        """Make the folder and its guard."""
        self.path = Path(tempfile.mkdtemp(prefix=f"offramp-{name}-"))
        self._owner_pid = os.getpid()
        atexit.register(self.remove)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self.path, str(self._owner_pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def is_ours(self) -> bool:
        """Whether this process made it, and is no fork of that one."""
        return os.getpid() == self._owner_pid

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        pid_file: Path,
        log_file: Path,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in its own process group, with its output in `log_file`.

        Args:
            command: with an absolute path.
            pid_file: in the folder, its name ending in `pid`: whom the guard kills. Whoever waits
                for the process deletes it, for the number may be another's from then on.
            log_file: is appended to.
            environ: in place of ours.
            cwd: in place of ours.
        """
        with log_file.open("ab") as log:
            return subprocess.Popen(
                ["/bin/sh", "-ec", _WRITE_PID_AND_EXEC, pid_file, *command],
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the owner, not for it
            )

    def remove(self) -> None:
        """Kill what still runs and delete the folder; a second call does nothing."""
        if not self.is_ours:
            return
        kill_and_remove(self.path)
        self._guard.kill()
        self._guard.wait()
        atexit.unregister(self.remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def kill_processes(folder: Path) -> None:
    """Kill the process groups that are named in the folder's pid files."""
    for file in folder.glob("*pid"):
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int(file.read_text()), signal.SIGKILL)


def kill_and_remove(folder: Path) -> None:
    """Kill and delete, again until nothing is left: what is being killed may write once more."""
    give_up_at = time.monotonic() + CLEAN_UP_S
    while folder.exists() and time.monotonic() < give_up_at:
        kill_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(POLL_S / 10)


def main() -> None:
    """Wait until the folder or the parent is gone; in the latter case clean up."""
    folder, parent_pid = Path(sys.argv[1]), int(sys.argv[2])
    while folder.exists() and os.getppid() == parent_pid:
        time.sleep(POLL_S)
    kill_and_remove(folder)


if __name__ == "__main__":
    main()
