"""The image and the compose file, read by the tools that judge them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.chart.go_tools import go_tool

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def run(*command, **more):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **more
    )


def beside_python(tool):
    """Return a tool that a pip package has put beside this Python."""
    found = shutil.which(tool, path=Path(sys.executable).parent)
    if found is None:
        pytest.skip(f"{tool} is not installed beside {sys.executable}")
    return found


def test_hadolint_has_nothing_to_say():
    """The Dockerfile keeps to hadolint's rules, down to its smallest remarks."""
    result = run(
        beside_python("hadolint"), "--no-color", "--failure-threshold", "style",
        DEPLOY / "Dockerfile",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_compose_file_is_read_by_composes_own_reader():
    """The library inside `docker compose` reads the file and finds all of its services."""
    environ = {**os.environ, "COMPOSE_PROFILES": "*"}
    result = run(go_tool("compose-go"), "--format", "json", "compose.yaml", cwd=DEPLOY, env=environ)
    assert result.returncode == 0, result.stderr
    read = json.loads(result.stdout)["services"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert read.keys() == services.keys()
    assert read["worker-0"]["build"]["context"] == str(ROOT)
