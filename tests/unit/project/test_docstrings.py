"""The examples in docstrings: they do what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHOWN = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("consumer", "model", "policy_state")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", SHOWN)
def test_examples_do_what_they_show(module: str) -> None:
    """Every example of a module gives what stands under it."""
    found = doctest.testmod(import_module(module))
    assert found.attempted
    assert not found.failed
