"""The examples in docstrings of `policy_state`: they do what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "policy_state"
SHOWN = sorted(path.stem for path in FOLDER.glob("*.py") if ">>> " in path.read_text())


@pytest.mark.parametrize("module", SHOWN)
def test_examples_do_what_they_show(module: str) -> None:
    """Every example of a module gives what stands under it."""
    found = doctest.testmod(import_module(f"policy_state.{module}"))
    assert found.attempted
    assert not found.failed
