"""What every benchmark asks and hands in: goals, tables, machine, command, as JSON or Markdown."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was promised, and what was reached; `reached` is None where unmeasured."""

    name: str
    goal: str
    reached: float | None
    met: bool | None

    @classmethod
    def at_least(cls, name: str, goal: float, reached: float | None) -> Goal:
        """Return a goal that asks for `goal` or more."""
        return cls(
            name, f">= {goal:g}", _rounded(reached), None if reached is None else reached >= goal
        )

    @classmethod
    def at_most(cls, name: str, goal: float, reached: float | None) -> Goal:
        """Return a goal that asks for `goal` or less."""
        return cls(
            name, f"<= {goal:g}", _rounded(reached), None if reached is None else reached <= goal
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of figures under one title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])


@dataclass(slots=True)
class Report:
    """All a benchmark found."""

    name: str
    goals: list[Goal] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made_by: str | None = None  # default: how this process was started

    def to_json(self) -> str:
        """Return the report with command, machine and date."""
        content = {
            "benchmark": self.name,
            "command": self.made_by or command(),
            "machine": machine(),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "goals": [asdict(goal) for goal in self.goals],
            "tables": [asdict(table) for table in self.tables],
            "notes": self.notes,
        }
        return json.dumps(content, indent=2)

    def to_markdown(self) -> str:
        """Return the same for people."""
        machine_text = ", ".join(f"{key} {value}" for key, value in machine().items() if value)
        date = dt.datetime.now(dt.UTC).date().isoformat()
        goals = Table(
            "Goals",
            ("goal", "asked", "reached", "met"),
            tuple((g.name, g.goal, _shown(g.reached), _verdict(g)) for g in self.goals),
        )
        parts = [
            f"# {self.name}",
            "",
            f"`{self.made_by or command()}`, {date}. Machine: {machine_text}.",
            "",
            *(table.markdown() for table in ([goals] if self.goals else []) + self.tables),
        ]
        if self.notes:
            parts += ["## Notes", "", *(f"- {note}" for note in self.notes), ""]
        return "\n".join(parts)

    def write(self, folder: Path) -> None:
        """Write `<name>.json` and `<name>.md` into a folder of results."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(self.to_json() + "\n", encoding="utf-8")
        (folder / f"{self.name}.md").write_text(self.to_markdown(), encoding="utf-8")


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="a short look, in under a minute")
    made.add_argument("-o", "--output", choices=("table", "json"), default="table")
    made.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write the report there, too, as in results/"
    )
    return made


def hand_in(report: Report, options: argparse.Namespace) -> None:
    """Print a report and write it, as the options of `parser` say."""
    print(report.to_json() if options.output == "json" else report.to_markdown())
    if options.out:
        report.write(options.out)


def command() -> str:
    """Return how this process was started, without the paths of this machine."""
    arguments = [Path(arg).name if arg.startswith("/") else arg for arg in sys.argv[1:]]
    spec = sys.modules["__main__"].__spec__
    return " ".join(["python", "-m", spec.name if spec else "benchmarks", *arguments])


def machine() -> dict[str, str]:
    """Return what figures depend on: processor, cores, memory, GPU, versions."""
    found = {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in ("torch", "transformers", "onnxruntime", "openvino"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in facts.items()}
    if "model name" not in fields:
        return platform.processor()
    return f"{fields['model name']} family {fields.get('cpu family')} model {fields.get('model')}"


def _memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GiB"


def _gpu() -> str:
    try:
        import torch
    except ImportError:
        return ""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _line(cells: Any) -> str:  # noqa: ANN401  (any row of printable values)
    return "| " + " | ".join(_shown(cell) for cell in cells) + " |"


def _shown(value: object) -> str:
    if value is None:
        return "unmeasured"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _verdict(goal: Goal) -> str:
    return {None: "unmeasured", True: "yes", False: "**no**"}[goal.met]
