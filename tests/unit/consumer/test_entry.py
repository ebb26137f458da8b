"""How `offramp` begins: it runs its own packages, whatever lies where it was started."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.entry import own_command

ROOT = Path(__file__).parents[3]
FOREIGN = "raise SystemExit('a file of the current folder was executed')\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with files of the names that Python would import from there."""
    for name in ("model.py", "policy_state.py", "typer.py", "redis.py"):
        (tmp_path / name).write_text(FOREIGN)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "consumer"],
        own_command(),
        [Path(sys.executable).with_name("offramp")],
        [sys.executable, "-c", "from consumer.entry import main; main()"],
    ],
)
def test_nothing_is_imported_from_the_current_folder(folder, command):
    """A `model.py` that lies where a command is started is left alone, however it is started."""
    said = subprocess.run(
        [*command, "config", "show"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert "executed" not in said.stdout + said.stderr


@pytest.mark.parametrize("name", ["model", "offramp", "policy_state"])
def test_a_package_of_ours_that_is_not_ours_ends_the_program(folder, name):
    """Where PYTHONPATH has a package of that name it says which, and runs none of its code."""
    other = folder / "path" / name
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(FOREIGN)
    said = subprocess.run(
        own_command("config", "show"),
        env={**os.environ, "PYTHONPATH": str(other.parent)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert f"import {name} from {other}" in said.stderr
    assert str(ROOT / name) in said.stderr
    assert "executed" not in said.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["worker", "--help"], 0, "Read texts"), (["worker", "--set", "x.y=1"], 1, "error: ")],
)
def test_a_worker_that_is_done_ends_at_once(arguments, code, said):
    """It waits for nothing that Python would tidy up; what it has said is there, and its code."""
    program = (
        "import atexit, sys, time; atexit.register(time.sleep, 60); "
        f"sys.argv[1:] = {arguments}; from consumer.entry import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_next_to_nothing_is_imported_before_signals_are_heeded():
    """Process 1 of a container ignores a signal until then: each import makes that time longer."""
    program = (
        "import sys; old = set(sys.modules); "
        "import consumer.entry; print(*sys.modules.keys() - old)"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(said.stdout.split())
    ours = {name for name in loaded if name.partition(".")[0] == "consumer"}
    assert ours == {"consumer", "consumer.entry", "consumer.process", "consumer.process.signals"}
    assert not loaded & {"asyncio", "logging", "pathlib", "subprocess", "typer"}


def test_every_child_process_of_python_has_a_safe_path():
    """Whoever starts the interpreter says -P or -I, so that no child imports what lies around."""
    starts = 0
    for top in ("benchmarks", "consumer", "demo", "deploy", "model", "offramp", "policy_state"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.List) and node.elts[:1]:
                    words = [ast.unparse(word) for word in node.elts[:2]]
                    if words[0] == "sys.executable":
                        starts += 1
                        assert words[1] in {"'-P'", "'-I'"}, f"{file}:{node.lineno}"
    assert starts >= 4
