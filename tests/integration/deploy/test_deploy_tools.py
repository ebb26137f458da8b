"""The image and the manifests, read by the tools that judge them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
OLDEST, NEWEST = "1.30.0", "1.37.0"  # of Kubernetes, that the manifests are for
GO_TOOLS = {
    "kubeconform": ("github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0", "kubeconform"),
    "compose-go": ("github.com/compose-spec/compose-go/v2/cmd@v2.16.2", "cmd"),
}
GO_INSTALL_S = 600


def run(*command, **more):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **more
    )


def beside_python(tool):
    """Return a tool that a pip package has put beside this Python."""
    found = shutil.which(tool, path=Path(sys.executable).parent)
    if found is None:
        pytest.skip(f"{tool} is not installed beside {sys.executable}")
    return found


def go_tool(name):
    """Return a tool that `go install` builds into the cache, once."""
    module, binary = GO_TOOLS[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "offramp" / "go" / module.replace("/", "_")
    if not (folder / binary).exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip(f"no Go to install {name} with")
        environ = {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local"}
        built = subprocess.run(
            [go, "install", module],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=GO_INSTALL_S,
        )
        if built.returncode != 0:
            pytest.skip(f"go install {module} failed: {built.stderr.strip()[-300:]}")
    return folder / binary


@pytest.fixture(scope="module", params=["files", "cpu", "cuda"])
def rendered(request):
    """All objects: as they stand in the files, and of each variant as kubectl would send them."""
    if request.param == "files":
        files = sorted((DEPLOY / "kubernetes" / "cpu").glob("*.yaml"))
        return "---\n".join(f.read_text() for f in files if f.name != "kustomization.yaml")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl to render the manifests with")
    result = run(kubectl, "kustomize", DEPLOY / "kubernetes" / request.param)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def schemas():
    """Folder of Kubernetes' own JSON schemas, from the pip package kubernetes-validate."""
    package = pytest.importorskip("kubernetes_validate")
    return Path(package.__file__).parent / "kubernetes-json-schema"


def test_hadolint_has_nothing_to_say():
    """The Dockerfile keeps to hadolint's rules, down to its smallest remarks."""
    result = run(
        beside_python("hadolint"), "--no-color", "--failure-threshold", "style",
        DEPLOY / "Dockerfile",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_what_kubernetes_takes(rendered, version):
    """Every object fits the API of the oldest and the newest Kubernetes; no field is unknown."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for thing in yaml.safe_load_all(rendered):
        used = kubernetes_validate.validate(thing, version, strict=True)
        assert version.startswith(used)


def test_kubeconform_has_nothing_to_say(rendered, schemas, tmp_path):
    """kubeconform, strict, finds every object valid."""
    kubeconform = go_tool("kubeconform")
    for name in ("_definitions", *sorted(map(schema_name, yaml.safe_load_all(rendered)))):
        source = schemas / f"v{NEWEST}-local-strict" / f"{name}.json"
        # The package's references are to a web server's root; kubeconform has them side by side.
        schema = json.loads(source.read_text().replace("/api/_definitions", "_definitions"))
        schema.pop("$id", None)
        (tmp_path / f"{name}.json").write_text(json.dumps(schema))
    command = [kubeconform, "-strict", "-summary", "-output", "json", "-schema-location"]
    location = f"{tmp_path}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    result = run(*command, location, input=rendered)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["summary"] == {
        "valid": len(list(yaml.safe_load_all(rendered))), "invalid": 0, "errors": 0, "skipped": 0,
    }  # fmt: skip


def schema_name(thing):
    version = re.sub(r"^([^./]*)[^/]*/", r"\1-", thing["apiVersion"])
    return f"{thing['kind'].lower()}-{version}"


def test_compose_file_is_read_by_composes_own_reader():
    """The library inside `docker compose` reads the file and finds all of its services."""
    result = run(go_tool("compose-go"), "--format", "json", "compose.yaml", cwd=DEPLOY)
    assert result.returncode == 0, result.stderr
    read = json.loads(result.stdout)["services"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert read.keys() == services.keys()
    assert read["worker-0"]["build"]["context"] == str(ROOT)
