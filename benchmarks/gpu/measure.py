"""Measures the engine on a GPU: equality, speed, rivals, processes that share it, memory.

Needs torch, transformers, tokenizers, safetensors and numpy, no Kafka and no Redis. Each part runs
in a separate process and tells every figure as soon as it has it, so that a part that breaks or
runs out of time leaves what it found. Without a GPU a small model goes through the same code.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.model import write_model
from benchmarks.gpu.findings import Request
from benchmarks.report import Goal, Report, Table, hand_in, parser

# How many seconds a part may take of the usual budget; what one leaves goes to those behind it.
PARTS = {"equality": 80, "speed": 90, "rivals": 120, "processes": 80, "switches": 40, "memory": 20}
_QUICK_S = 55
_PROGRAM = "import sys; from benchmarks.gpu.measure import answer; answer(sys.argv[1])"
_ROOT = Path(__file__).parents[2]
_GPU_WIDTH, _CPU_WIDTH = 768, 64


def main() -> None:
    """Parse the command line, measure, write."""
    arguments = parser("gpu.measure", __doc__)
    arguments.add_argument(
        "--device", choices=["cpu", "cuda"], help="default: cuda where there is one"
    )
    arguments.add_argument(
        "--budget", type=float, metavar="SECONDS", help="in all (default: 430, quick 55)"
    )
    arguments.add_argument("--parts", default=",".join(PARTS), help="default: %(default)s")
    options = arguments.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        arguments.error(f"--parts has {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    budget = options.budget or (_QUICK_S if options.quick else sum(PARTS.values()))
    report = Report("gpu")
    with tempfile.TemporaryDirectory() as scratch:
        width = _GPU_WIDTH if device == "cuda" else _CPU_WIDTH
        end = time.time() + budget
        folder = write_model(Path(scratch) / "model", width=width)
        for number, part in enumerate(parts):
            share = PARTS[part] / sum(PARTS[each] for each in parts[number:])
            now = time.time()
            request = Request(
                part=part,
                folder=str(folder),
                device=device,
                width=width,
                quick=options.quick,
                ends_at=now + share * max(0.0, end - now),
            )
            run_part(report, request, out=options.out)
    hand_in(report, options)


def answer(request: str) -> None:
    """Run the part that `request` asks for, in this process."""
    asked = Request(**json.loads(request))
    if not asked.on_gpu:
        torch.set_num_threads(1)
    import_module(f"benchmarks.gpu.{asked.part}").measure(asked)


def run_part(report: Report, request: Request, *, out: Path | None) -> None:
    """Run a part in a separate process and add what it tells to the report, also if it breaks."""
    begun = time.time()
    tables: dict[str, list[dict[str, Any]]] = {}
    before = list(report.tables)
    ended = "unfinished"
    for line in _lines(request):
        if line.startswith("ended "):
            ended = line.removeprefix("ended ")
            break
        if not line.startswith("{"):
            continue
        found = json.loads(line)
        if "table" in found:
            tables.setdefault(found["table"], []).append(found["cells"])
            report.tables = [*before, *(_table(title, rows) for title, rows in tables.items())]
        elif "goal" in found:
            report.goals.append(Goal.at_least(found["goal"], found["at_least"], found["reached"]))
        else:
            report.notes.append(f"{request.part}: {found['note']}")
        if out:
            report.write(out)
    report.notes.append(f"{request.part}: {ended} after {time.time() - begun:.0f} s")
    print(report.notes[-1], file=sys.stderr, flush=True)
    if out:
        report.write(out)


def _lines(request: Request) -> Iterator[str]:
    """Yield what a part tells, then how it ended; it is killed when its time is over."""
    child = subprocess.Popen(  # noqa: S603  (ourselves)
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(request))],
        cwd=_ROOT,
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its own children go with it
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                lines.put(line)
        lines.put(f"ended {'well' if child.wait() == 0 else f'with status {child.returncode}'}")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            yield lines.get(timeout=max(0.1, request.left_s()))
    except queue.Empty:
        yield "ended by its time limit"
    finally:
        _kill(child)
        reader.join(timeout=5)


def _kill(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, 9)
    except ProcessLookupError:
        return
    child.wait()


def child_environment() -> dict[str, str]:
    """Return the environment of a child that finds this repository without being installed."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(name for cells in rows for name in cells))
    return Table(
        title, columns, tuple(tuple(cells.get(name) for name in columns) for cells in rows)
    )


if __name__ == "__main__":
    main()
