"""Lock what the images install: each package in one version, with the digests of its files.

    python -m deploy.release.lock

The versions are those of constraints.txt. torch's CPU build comes from another index than the rest,
so `cpu.txt` leaves out torch and what only its CUDA build needs.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.release.sbom import EXTRAS as ALL

ROOT: Final = Path(__file__).parents[2]
LOCKED: Final = ROOT / "deploy" / "locked"
EXTRAS: Final = {"control": ("dashboard",), "cpu": ALL, "cuda": ALL}
BUILD: Final = ("hatchling", "uv")
OF_TORCH: Final = re.compile(r"torch|triton|cuda-.*|nvidia-.*")


def lock(*what: str, stdin: str = "") -> list[str]:
    """Return an entry for each package that is needed; an entry ends with a line break."""
    locked = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", *what),
            *("--constraint", ROOT / "constraints.txt", "--generate-hashes"),
            *("--python-version", "3.11", "--python-platform", "linux"),
            *("--no-header", "--no-annotate"),
        ],
        cwd=ROOT,
        input=stdin,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return re.findall(r"^\S.*\n(?:    .*\n)*", locked, re.MULTILINE)


def name_of(entry: str) -> str:
    """Return the name of an entry's package.

    >>> name_of("numpy==2.4.6 --hash=sha256:0a")
    'numpy'
    """
    return entry.partition("==")[0]


def write(name: str, entries: list[str]) -> None:
    """Write a lock."""
    head = "# Made by `make lock` from pyproject.toml and constraints.txt.\n"
    (LOCKED / f"{name}.txt").write_text(head + "".join(entries), encoding="utf-8")


def main() -> None:
    """Write the lock of each target of the Dockerfile, and of what builds the wheel."""
    LOCKED.mkdir(exist_ok=True)
    write("build", lock("-", stdin="\n".join(BUILD)))
    for target, extras in EXTRAS.items():
        entries = lock("pyproject.toml", *(f"--extra={extra}" for extra in extras))
        if target == "cpu":
            entries = [entry for entry in entries if not OF_TORCH.fullmatch(name_of(entry))]
        write(target, entries)


if __name__ == "__main__":
    main()
