"""What the command line imports before it knows what to do."""

import os
import subprocess
import sys
from pathlib import Path

HELP_OF_ALL = """
import sys
import typer
from typer.testing import CliRunner
from consumer.cli.app import app

def walk(command, words):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, (words, result.output)
    for name, inner in getattr(command, "commands", {}).items():
        walk(inner, [*words, name])

walk(typer.main.get_command(app), [])
heavy = {"torch", "transformers", "tokenizers", "numpy", "kafka", "redis"}
print(sorted(heavy & set(sys.modules)))
"""


def test_help_of_every_command_imports_nothing_heavy() -> None:
    """`--help` waits for no network, no Kafka and no Redis library, whatever the command."""
    result = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.stdout.strip() == "[]", result.stderr
