"""Every promise of the three pages has a test of the name that `docs/guarantees.md` gives."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUARANTEES = "docs/guarantees.md"
TABLES = {  # the heading above each table of promises
    "README.md": "## What you may rely on",
    "docs/policy-operations.md": "## When something is wrong",
    "docs/deploy.md": "## 6. What happens when",
}


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, without heads and lines."""
    text = (ROOT / page).read_text(encoding="utf-8")
    level = heading.split(maxsplit=1)[0]
    found = re.search(
        rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found is not None, f"{page} has no heading {heading!r}"
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {number - 1 for number, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [
        row
        for number, row in enumerate(cells)
        if number not in heads and set("".join(row)) != {"-"}
    ]


@cache
def names_in(file: str) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("page", TABLES)
def test_every_promise_of_a_page_names_a_test_that_exists(page):
    """No row of a promise table is without a test, no listed one without its row or sentence."""
    listed = dict(rows(GUARANTEES, f"### {page}"))
    quoted = {promise.strip('"') for promise in listed if promise.startswith('"')}
    told = {row[0] for row in rows(page, TABLES[page])}
    assert told == {promise for promise in listed if not promise.startswith('"')}
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert [sentence for sentence in quoted if sentence not in text] == []
    for promise, tests in listed.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, f"{promise}: no test is named"
        assert [name for file, name in named if name not in names_in(file)] == [], promise


def test_every_protection_of_the_threat_model_names_a_test_that_exists():
    """No row of the page's tables of threats is without one, and no test has another name."""
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    table = rows("docs/threat-model.md", "## Boundaries")
    assert len(table) >= page.count("### ") * 2
    for threat, _, tests, _ in table:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, f"{threat}: no test is named"
        assert [name for file, name in named if name not in names_in(file)] == [], threat
