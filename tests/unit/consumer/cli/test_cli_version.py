"""`offramp version`: what a report of a fault names."""

import json
import platform
from importlib.metadata import version as version_of

from typer.testing import CliRunner

from consumer import __version__
from consumer.cli.app import app
from model.checkpoint.folder import fingerprint
from policy_state.store.redis.wire import SCHEMA
from tests.support.tiny_model import write_tiny_model


def told(*words):
    """Return what the command prints as JSON."""
    return json.loads(CliRunner().invoke(app, ["version", "-o", "json", *words]).stdout)


def test_versions_are_those_that_are_installed():
    """Of Offramp, Python and packages, and the schema that its counters have."""
    found = told()
    assert (found["offramp"], found["python"]) == (__version__, platform.python_version())
    assert found["packages"].items() >= {"redis": version_of("redis")}.items()
    assert found["formats"]["counters"] == SCHEMA
    assert "model" not in found


def test_a_model_is_told_by_its_fingerprint(tmp_path):
    """It is the one that the policy of its workers has."""
    folder = write_tiny_model(tmp_path / "model")
    found = told("--model", str(folder))["model"]
    assert (found["fingerprint"], found["calibrated"]) == (fingerprint(folder), False)


def test_people_get_a_line_each():
    """The table has the same."""
    said = CliRunner().invoke(app, ["version"]).stdout
    assert __version__ in said
    assert "format of counters" in said
