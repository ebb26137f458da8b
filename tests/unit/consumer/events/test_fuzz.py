"""A short run of what `make fuzz` runs for a minute."""

import sys
from pathlib import Path
from subprocess import run

import pytest

FUZZ = Path(__file__).resolve().parents[3] / "fuzz"
RUNS = 5_000


@pytest.mark.skipif(sys.platform != "linux", reason="atheris is for Linux only")
def test_hostile_bytes_are_read_or_refused(tmp_path):
    """Bytes that coverage guides end in an event or in an InvalidEvent, and nothing else."""
    limits = (f"-runs={RUNS}", "-seed=1", "-timeout=10", f"-artifact_prefix={tmp_path}/")
    words = f"-dict={FUZZ / 'records.dict'}"
    program = (sys.executable, "-m", "tests.fuzz.fuzz_records")
    command = [*program, tmp_path, FUZZ / "seeds", words, *limits]
    ended = run(command, check=False, cwd=FUZZ.parents[1], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"Done {RUNS} runs" in ended.stderr
