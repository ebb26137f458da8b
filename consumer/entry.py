"""The first thing that `offramp` does: it heeds signals, then it looks for its own packages."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from consumer.process.signals import START_S, Heed, Stopped

_HOME: Final = Path(__file__).resolve().parents[1]
_PACKAGES: Final = ("consumer", "model", "offramp", "policy_state")


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
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def own_command(*arguments: str) -> list[str]:
    """Return a command line that runs `offramp` anew, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", "consumer", *arguments]


def leave_out_start_folder() -> None:
    """Import nothing from where this program was started, or from where its script lies.

    Python looks there first, and our packages have names that a user's files may have, too.
    """
    if not sys.flags.safe_path and sys.path and Path(sys.path[0]).resolve() != _HOME:
        del sys.path[0]


def check_packages() -> None:
    """End the program where a package of ours would be imported from elsewhere: it runs no code."""
    for name in _PACKAGES:
        spec, expected = find_spec(name), _HOME / name / "__init__.py"
        found = None if spec is None or spec.origin is None else Path(spec.origin)
        if found is None or found.resolve() != expected:
            sys.exit(
                f"error: Python would import {name} from {found or 'nowhere'}, expected {expected}:"
                " something else has this name; see PYTHONPATH, and install offramp into an "
                "environment that it has for itself"
            )
