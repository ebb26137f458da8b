"""Outlives a crashed parent just long enough to kill its server and remove the server's folder.

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


def kill_server(folder: Path) -> None:
    """Kill the process group named in the folder's pid file, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)


def main() -> None:
    """Wait until the folder or the parent is gone; in the latter case clean up."""
    folder, parent_pid = Path(sys.argv[1]), int(sys.argv[2])
    while folder.exists() and os.getppid() == parent_pid:
        time.sleep(POLL_S)
    give_up_at = time.monotonic() + CLEAN_UP_S
    while folder.exists() and time.monotonic() < give_up_at:
        kill_server(folder)
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(POLL_S / 10)


if __name__ == "__main__":
    main()
