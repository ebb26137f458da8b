"""The Helm chart as `helm template` renders it.

`python -m tests.support.chart.render` writes the committed renders.
"""

import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.helm.derived import CHART
from tests.support.chart.go_tools import go_tool

CASES = sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").iterdir())
RENDERS = Path(__file__).parents[2] / "integration" / "chart" / "renders"
KUBERNETES = "1.34.0"
_SPECIAL = ("claims", "gpu")
_LONG = ("PrometheusRule", "reviews-grafana")  # these hold whole files of deploy/observe


def helm(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run helm, which sees nothing of this user's own settings."""
    command = [go_tool("helm"), *arguments]
    return subprocess.run(
        list(map(str, command)),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def template(case: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Render one of the chart's sets of values, with more options of helm."""
    values = CHART / "ci" / f"{case}-values.yaml"
    where = ("--namespace", "streams", "--kube-version", KUBERNETES)
    return helm("template", "reviews", CHART, *where, "--values", values, *more)


@cache
def rendered(case: str, *more: str) -> str:
    """Return what helm would send to the cluster."""
    answer = template(case, *more)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


Objects = Mapping[tuple[str, str], dict[str, Any]]


@cache
def objects(case: str, *more: str) -> Objects:
    """Return the objects of a render, by kind and name."""
    found = filter(None, yaml.load_all(rendered(case, *more), yaml.CSafeLoader))
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in found}


def worker_of(things: Objects) -> dict[str, Any]:
    """Return the StatefulSet."""
    return things["StatefulSet", "reviews-worker"]


def pod_of(thing: dict[str, Any]) -> dict[str, Any]:
    """Return the pod that an object makes, or is."""
    spec = thing["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def committed(case: str) -> str:
    """Return what is committed of a render: of the special ones the workers, and no long files."""
    documents = rendered(case).split("---\n")[1:]
    if case in _SPECIAL:
        kept = [text for text in documents if "kind: StatefulSet" in text]
    else:
        kept = [text for text in documents if not any(f": {name}\n" in text for name in _LONG)]
    return "".join(f"---\n{text}" for text in kept)


def main() -> None:
    """Write the committed renders anew."""
    for case in CASES:
        (RENDERS / f"{case}.yaml").write_text(committed(case), encoding="utf-8")


if __name__ == "__main__":
    main()
