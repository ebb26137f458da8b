"""Tools that come as Go modules: `make tools` builds those that the cache lacks."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from deploy.local.process import say

TOOLS = {  # what `go install` takes, and the program that it makes
    "helm": ("helm.sh/helm/v3/cmd/helm@v3.19.5", "helm"),
    "kubeconform": ("github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0", "kubeconform"),
    "kube-score": ("github.com/zegl/kube-score/cmd/kube-score@v1.20.0", "kube-score"),
    "compose-go": ("github.com/compose-spec/compose-go/v2/cmd@v2.16.2", "cmd"),
}
SOURCES = {  # modules of which only files are needed
    "keda": "github.com/kedacore/keda/v2@v2.20.2",
    "prometheus-operator": "github.com/prometheus-operator/prometheus-operator@v0.92.1",
}
_BUILD_S = 1800.0  # helm takes three minutes of a core


def _path(name: str) -> Path:
    module, program = TOOLS[name]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "offramp" / "go" / module.replace("/", "_") / program


def go_tool(name: str) -> Path:
    """Return where a tool is; the test is skipped where it was never built."""
    if not _path(name).exists():
        pytest.skip(f"no {name}: `make tools` builds it, with Go")
    return _path(name)


@cache
def module_folder(name: str) -> Path | None:
    """Return the folder of a module's files, downloaded first if the cache has none."""
    go = shutil.which("go")
    if go is None:
        return None
    answer = _go(go, "mod", "download", "-json", SOURCES[name])
    return Path(json.loads(answer.stdout)["Dir"]) if answer.returncode == 0 else None


def _go(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GOTOOLCHAIN": "local", **more}
    return subprocess.run(
        command,
        cwd="/",
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_S,
    )


def main() -> int:
    """Build what is missing; return 1 if something could not be built."""
    go = shutil.which("go")
    if go is None:
        say("no Go: install it, 1.24 or later")
        return 1
    failed = 0
    for name, (module, _) in TOOLS.items():
        if _path(name).exists():
            continue
        say(f"building {name}")
        answer = _go(go, "install", module, GOBIN=str(_path(name).parent))
        if answer.returncode != 0:
            say(f"go install {module} failed: {answer.stderr.strip()[-300:]}")
            failed = 1
    return failed or int(any(module_folder(name) is None for name in SOURCES))


if __name__ == "__main__":
    sys.exit(main())
