"""The wheel that the tests here install."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"),
            *("--no-deps", "--no-cache-dir", "--wheel-dir", folder, ROOT),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if "requirement hatchling" in built.stderr:
        pytest.skip("the build backend, hatchling, can be had from no package index")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("offramp-*.whl")
    return found
