"""What an admin client of kafka-python is refused is among its answers."""

import ast
from pathlib import Path

from tests.support.kafka_admin import ANSWERING

ROOT = Path(__file__).parents[3]


def test_whoever_asks_a_broker_for_a_change_looks_at_the_answer():
    """No call of a method that returns its errors stands alone as a statement."""
    uses = 0
    for top in ("benchmarks", "consumer", "demo", "deploy", "docs", "tests"):
        for file in (ROOT / top).rglob("*.py"):
            text = file.read_text()
            if not any(name in text for name in ANSWERING):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    uses += node.func.attr in ANSWERING
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                    name = getattr(node.value.func, "attr", None)
                    assert name not in ANSWERING, f"{file.relative_to(ROOT)}:{node.lineno}"
    assert uses >= 4
