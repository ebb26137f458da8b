"""Habits of the project that nothing else holds."""

import ast
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
