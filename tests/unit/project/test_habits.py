"""Habits of the project that nothing else holds."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_no_test_module_is_imported() -> None:
    """What several test modules use lies in tests/support or in a conftest."""
    imported = {
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.module}"
        for file in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and ".test_" in f".{node.module}"
    }
    assert imported == set()


def test_the_index_of_decisions_lists_each_page_as_its_head_has_it() -> None:
    """Number, title, date and status; what is superseded names a page that is there."""
    folder = ROOT / "docs" / "decisions"
    rows = []
    for page in sorted(folder.glob("[0-9]*.md")):
        title, _, head = page.read_text(encoding="utf-8").splitlines()[:3]
        number = page.name[:4]
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d), (accepted|superseded by (\d{4}))", head)
        assert found is not None, f"{page.name}:3: {head!r} is no date with a status"
        if found[3]:
            assert list(folder.glob(f"{found[3]}-*.md")), f"{page.name}:3: no page {found[3]}"
        link = f"[{number}]({page.name})"
        rows.append(f"| {link} | {title.removeprefix('# ')} | {found[1]} | {found[2]} |")
    index = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in index if line.startswith("| [")] == rows


def test_unit_tests_lie_in_the_rooms_of_what_they_test() -> None:
    """Each folder of unit tests has the name of a room: one that moves takes its tests along."""
    unit = ROOT / "tests" / "unit"
    rooms = {
        file.parent.relative_to(unit)
        for package in ("consumer", "model", "policy_state")
        for file in (unit / package).rglob("test_*.py")
    }
    assert [str(room) for room in sorted(rooms) if not (ROOT / room / "__init__.py").exists()] == []
