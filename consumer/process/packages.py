"""Makes sure that a program of ours imports our packages, and no others of their names."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_HOME: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = ("consumer", "model", "offramp", "policy_state")


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
