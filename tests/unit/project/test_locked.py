"""What the images install is locked: versions, digests, and nothing left out."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from deploy.release.lock import BUILD, EXTRAS, LOCKED, OF_TORCH, name_of
from deploy.release.sbom import shipped

ROOT = Path(__file__).resolve().parents[3]
REPAIR = "run `make lock`"
OLDER_PYTHON = {"async-timeout"}  # what only some patch releases of Python 3.11 need
LOCKS = sorted(LOCKED.glob("*.txt"))


def entries(name: str) -> dict[str, str]:
    """Return the entries of a lock by the names of their packages."""
    text = (LOCKED / f"{name}.txt").read_text(encoding="utf-8")
    found = re.findall(r"^[^#\s].*\n(?: +--.*\n)*", text, re.MULTILINE)
    return {name_of(entry): entry for entry in found}


def test_each_target_has_its_lock() -> None:
    """No lock is left over, and each is installed with its digests checked."""
    assert {file.stem for file in LOCKS} == {"build", *EXTRAS}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for file in LOCKS:
        assert f"COPY deploy/locked/{file.name} " in dockerfile
        option = "--requirement" if file.stem == "build" else "--requirements"
        assert f"--require-hashes {option} {file.name}" in dockerfile


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_a_lock_has_the_versions_of_the_constraints_with_digests(file: Path) -> None:
    """A version that moves in one place only is an error, and no package goes unchecked."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for entry in entries(file.stem).values():
        pin, *rest = entry.replace("\\\n", " ").split()
        assert pin in constraints, REPAIR
        assert rest, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in rest), pin


@pytest.mark.parametrize("target", EXTRAS)
def test_a_lock_has_what_its_target_needs(target: str) -> None:
    """Each dependency of a dependency is there, and none that nobody asks for."""
    needed = shipped("offramp", EXTRAS[target]) - {"offramp"}
    if target == "cpu":
        needed = {name for name in needed if not OF_TORCH.fullmatch(name)}
    assert set(entries(target)) - OLDER_PYTHON == needed, REPAIR


def test_the_wheel_is_built_with_what_is_locked() -> None:
    """The lock of the build has the backend that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {Requirement(text).name for text in project["build-system"]["requires"]}
    assert asked <= set(BUILD) <= set(entries("build")), REPAIR


def test_no_image_is_whatever_is_newest() -> None:
    """Each base image and each service has a version in its name."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    bases = re.findall(r"^ARG PYTHON=(\S+)$", dockerfile, re.MULTILINE)
    assert len(bases) == 1
    images = [service["image"] for service in services.values()]
    for image in [*bases, *(image for image in images if not image.startswith("offramp:"))]:
        assert re.search(r":v?\d+\.\d+", image), image
    starts = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE))
    assert starts - stages == {"${PYTHON}"}


@pytest.mark.parametrize("target", EXTRAS)
def test_what_changes_most_is_the_last_layer(target: str) -> None:
    """Dependencies, then the model, then our code: a changed line pushes a layer of megabytes."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    own = dockerfile.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    copies = re.findall(r"^COPY (.*)", own, re.MULTILINE)
    model = [] if target == "control" else ["--from=code /shipped /"]
    assert copies == [f"--from=installed-{target} /layer /", *model, "--from=code /layer /"]
