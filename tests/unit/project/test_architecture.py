"""docs/architecture.md shows the tree as it stands: each room, each file, each name in it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("consumer", "model", "offramp", "policy_state")
ROOMS = dict(re.findall(r"^\| `([\w/]+)` \| (.*) \|$", PAGE, re.MULTILINE))
FILES = re.findall(
    r"`((?:consumer|model|offramp|policy_state|deploy|tests)/[\w/]+\.\w+)(?:::(\w+))?`", PAGE
)
SIDE_BY_SIDE = 15


def rooms() -> dict[str, str]:
    """Return the folders of the packages with the first sentences of their `__init__.py`."""
    return {
        str(file.parent.relative_to(ROOT)): (ast.get_docstring(ast.parse(file.read_text())) or "")
        for package in PACKAGES
        for file in (ROOT / package).rglob("*/__init__.py")
    }


def test_every_room_is_on_the_page_with_the_sentence_of_its_package() -> None:
    """No room is missing, none is made up, and page and code say the same of it."""
    assert rooms() == ROOMS


@pytest.mark.parametrize(("file", "name"), FILES)
def test_what_the_page_names_is_there(file: str, name: str) -> None:
    """Every file exists, and defines what is named of it."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if name:
        defined = {getattr(node, "name", None) for node in ast.parse(text).body}
        assert name in defined


def test_no_folder_has_too_many_files_side_by_side() -> None:
    """A folder that grows beyond what one looks over becomes two rooms."""
    folders = [p for top in (*PACKAGES, "tests", "benchmarks") for p in (ROOT / top).rglob("*")]
    counts = {
        str(folder.relative_to(ROOT)): sum(
            file.suffix == ".py" and file.name != "__init__.py" for file in folder.iterdir()
        )
        for folder in [*folders, *(ROOT / top for top in PACKAGES)]
        if folder.is_dir() and folder.name != "__pycache__"
    }
    assert {name: count for name, count in counts.items() if count > SIDE_BY_SIDE} == {}
