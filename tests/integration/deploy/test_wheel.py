"""The wheel: everything that a worker needs is in it, and nothing else is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("consumer", "model", "offramp", "policy_state")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel installed into it, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    result = pip("install", "--no-deps", "--target", folder, wheel)
    assert result.returncode == 0, result.stderr
    return folder


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_wheel_has_every_file_of_the_packages(wheel):
    """Lua scripts, type markers and the shipped model go along; tests, demo and caches do not."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names >= {
        "policy_state/store/redis/lua/apply.lua",
        "policy_state/store/redis/lua/open.lua",
        *(f"{package}/py.typed" for package in PACKAGES),
    }
    assert any(name.startswith("model/pretrained/reviews/") for name in names)


def test_installed_wheel_is_imported_and_finds_its_data(installed, tmp_path):
    """Outside the repository the packages are the wheel's, with scripts and model beside them."""
    code = (
        "import consumer, model, offramp, policy_state; from pathlib import Path;"
        "from consumer.settings.sections import PRETRAINED; import policy_state.store.redis.store;"
        "packages = (consumer, model, offramp, policy_state);"
        "print(*(p.__file__ for p in packages), PRETRAINED, sep='\\n');"
        "assert any(PRETRAINED.iterdir())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    found = list(map(Path, result.stdout.split()))
    assert len(found) == 5
    assert all(path.is_relative_to(installed) for path in found), found


def test_installed_command_runs(installed, tmp_path):
    """The wheel's `offramp` starts outside the repository."""
    result = subprocess.run(
        [installed / "bin" / "offramp", "--version"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("offramp ")
