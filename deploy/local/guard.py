"""Outlives a crashed parent just long enough to kill its processes and remove their folder.

Run as a script: `guard.py FOLDER PARENT_PID`. It watches its parent process
and not, as PR_SET_PDEATHSIG does, the thread that started it: a server restarted from a thread
must not die with that thread.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

POLL_S = 0.2
CLEAN_UP_S = 5.0


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
