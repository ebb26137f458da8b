"""The first thing that `offramp` does: it heeds signals, then it looks for its own packages.

Process 1 of a container ignores signals until then, so next to nothing is imported before.
"""

from __future__ import annotations

import os
import sys

from consumer.process.signals import START_S, Heed, Stopped


def main() -> None:
    """Run the command line; a signal ends it, from here on, with 128 and the signal's number.

    A worker ends with 0: being told to stop is how it ends.
    """
    worker = sys.argv[1:2] == ["worker"] and "--check" not in sys.argv
    try:
        _run(worker=worker)
    except SystemExit as end:
        if worker and (end.code is None or isinstance(end.code, int)):
            _leave(end.code or 0)
        raise


def _run(*, worker: bool) -> None:
    heed = Heed(code=0, within_s=START_S) if worker else Heed()
    try:
        heed.begin()
        from consumer.process.packages import check_packages, leave_out_start_folder

        leave_out_start_folder()
        check_packages()
        from consumer.cli.app import main as run

        run()
    except Stopped:
        sys.exit(heed.code)
    except SystemExit as end:
        if end.code and heed.code is not None:  # what the libraries make of it on the way here
            sys.exit(heed.code)
        raise


def _leave(code: int) -> None:
    """End this process at once: taking torch apart would take seconds after all else is done."""
    import contextlib
    import logging

    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def own_command(*arguments: str) -> list[str]:
    """Return a command line that runs `offramp` anew, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", "consumer", *arguments]
