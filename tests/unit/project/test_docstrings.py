"""The examples in docstrings of `policy_state`: they do what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "policy_state"
SHOWN = sorted(
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("module", SHOWN)
def test_examples_do_what_they_show(module: str) -> None:
    """Every example of a module gives what stands under it."""
    found = doctest.testmod(import_module(module))
    assert found.attempted
    assert not found.failed
