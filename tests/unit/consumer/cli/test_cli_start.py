"""What the command line imports before it knows what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("command", ["train", "pretrain"])
@pytest.mark.parametrize("wrong", ["file", "column", "out", "resume", "from"])
def test_a_training_checks_its_options_before_torch(
    tmp_path: Path, command: str, wrong: str
) -> None:
    """A wrong path or column is reported at once: torch takes seconds to import."""
    data = tmp_path / "a.tsv"
    data.write_text("text\tlabel\ngood\t1\nbad\t0\n")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "note").touch()
    file = tmp_path / "absent.tsv" if wrong == "file" else data
    start = ["--from", "absent"] if wrong == "from" else ["--new", "tiny"]
    out = tmp_path / ("used" if wrong == "out" else "out")
    words = [command, str(file), *start, "--out", str(out)]
    words += {"column": ["--text-column", "body"], "resume": ["--resume"]}.get(wrong, [])
    told = {
        "file": "absent.tsv: cannot be read",
        "column": "no column body",
        "out": "used: is not empty",
        "resume": "no training to resume",
        "from": "absent: is neither a folder nor a hub id",
    }
    program = "import sys\nfrom typer.testing import CliRunner\nfrom consumer.cli.app import app\n"
    program += f"print(CliRunner().invoke(app, {words!r}).exception)\n"
    program += "print(sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))\n"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    message, heavy = result.stdout.splitlines()
    assert told[wrong] in message, result.stderr
    assert heavy == "[]"
    assert not (tmp_path / "out").exists()
