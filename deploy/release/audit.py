"""Ask a database of vulnerabilities about every version in `constraints.txt`.

    python -m deploy.release.audit [--osv-url URL]

A known vulnerability ends it with 1. If the database cannot be reached, it says so and ends with 0:
a developer without a network can still commit, and CI has one.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> int:
    """Return the exit status of pip-audit, or 0 if nobody answers it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv"),
            *("--requirement", ROOT / "constraints.txt", "--no-deps", "--disable-pip"),
            *("--timeout", "5", "--progress-spinner", "off", *arguments),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    if done.returncode and any(name in said for name in ("ConnectionError", "ConnectTimeout")):
        print("audit skipped: the database of vulnerabilities cannot be reached")  # noqa: T201
        return 0
    print(said, end="")  # noqa: T201
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
