"""What the files of the repository host promise: pinned actions, few rights, real targets."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.release.lock import EXTRAS

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*"))


def workflow(file: Path) -> dict[Any, Any]:
    """Return a workflow; YAML reads its key `on` as true."""
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def steps(file: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in workflow(file)["jobs"].values() for step in job["steps"]]


def used(name: str) -> list[str]:
    """Return the actions of a workflow, without their commits."""
    return [step["uses"].split("@")[0] for step in steps(workflow_file(name)) if "uses" in step]


def workflow_file(name: str) -> Path:
    """Return the file of a workflow."""
    return GITHUB / "workflows" / f"{name}.yml"


def test_the_workflows_are_these() -> None:
    """Nobody adds a workflow, with rights of its own, unnoticed."""
    assert [file.name for file in FILES] == [
        "ci.yml",
        "codeql.yml",
        "release.yml",
        "scorecard.yml",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_action_is_a_commit_with_its_version(file: Path) -> None:
    """A tag can move, a commit cannot; the comment is what Dependabot and readers go by."""
    lines = re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))
    assert lines
    assert [x for x in lines if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", x)] == []


def test_an_action_is_the_same_commit_in_every_workflow() -> None:
    """No workflow is left behind at an update."""
    uses = {step["uses"] for file in FILES for step in steps(file) if "uses" in step}
    pins = {("/".join(use.split("/")[:2]).split("@")[0], use.split("@")[1]) for use in uses}
    assert len(pins) == len({repository for repository, _ in pins})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_may_only_read_and_a_job_says_why_it_may_more(file: Path) -> None:
    """The default is `contents: read`; each right to write stands in its job with a reason."""
    assert workflow(file)["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow(file)[True]
    writes = re.findall(r"^ +[\w-]+: write(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert [reason for reason in writes if not reason.startswith(" # ")] == []
    expected = {"codeql": 1, "release": 7, "scorecard": 2}
    assert len(writes) == expected.get(file.stem, 0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_job_keeps_the_token_of_its_checkout_or_runs_without_an_end(file: Path) -> None:
    """What a build runs cannot push, and a job that hangs is ended."""
    assert all("timeout-minutes" in job for job in workflow(file)["jobs"].values())
    checkouts = [s for s in steps(file) if s.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_workflow_runs_is_in_the_repository(file: Path) -> None:
    """Make targets and scripts exist, and no event's text is pasted into a shell."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for step in steps(file):
        run = step.get("run", "")
        assert "${{" not in run
        assert set(re.findall(r"make (\w+)", run)) <= targets
        for script in re.findall(r"^(\.[\w/]+)", run):
            assert (ROOT / script).stat().st_mode & 0o111


def test_ci_and_release_run_every_check() -> None:
    """Both run the script that runs `make test`, and `make test` runs `make check`."""
    for name in ("ci", "release"):
        assert ".ci/run" in [step.get("run") for step in steps(workflow_file(name))]
    assert re.search(r"^ *make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "check" in re.findall(r"^test: (.*?)  ##", makefile, re.MULTILINE)[0].split()
    check = re.findall(r"^check: (.*?)  ##", makefile, re.MULTILINE)[0].split()
    assert {"audit", "licences"} <= set(check)


def test_a_release_is_attested_before_it_is_published() -> None:
    """Provenance of all files and the SBOM of the wheel are signed, then the files go out."""
    publish = workflow(workflow_file("release"))["jobs"]["publish"]["steps"]
    provenance, sbom = (s for s in publish if s.get("uses", "").startswith("actions/attest@"))
    assert provenance["with"] == {"subject-path": "dist/*"}
    assert sbom["with"] == {"subject-path": "dist/*.whl", "sbom-path": "dist/offramp.cdx.json"}
    assert publish.index(sbom) < next(
        number for number, step in enumerate(publish) if "gh release create" in step.get("run", "")
    )
    assert "dist/offramp.intoto.jsonl" in publish[-1]["run"]
    assert workflow(workflow_file("release"))[True] == {"push": {"tags": ["v*"]}}


def test_images_of_a_release_are_on_a_base_with_a_digest_and_are_attested() -> None:
    """Each target is built on what the base is that day, by its digest, pushed and signed."""
    images = workflow(workflow_file("release"))["jobs"]["images"]
    assert images["needs"] == "build"
    assert images["strategy"]["matrix"] == {"target": list(EXTRAS)}
    *_, build, attest = images["steps"]
    assert re.search(r'make image .*BASE="python:3.11-slim@\$\{base#\*@\}"', build["run"])
    assert "BASE ?= python:3.11-slim\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert attest["with"] == {
        "subject-name": "${{ steps.image.outputs.name }}",
        "subject-digest": "${{ steps.image.outputs.digest }}",
        "push-to-registry": True,
    }


def test_code_and_scores_are_looked_at_by_tools() -> None:
    """Static analysis of Python and of the workflows, and the Scorecard, run by themselves."""
    assert "github/codeql-action/analyze" in used("codeql")
    languages = workflow(workflow_file("codeql"))["jobs"]["analyse"]["strategy"]["matrix"]
    assert languages == {"language": ["python", "actions"]}
    assert "ossf/scorecard-action" in used("scorecard")


def test_updates_are_proposed_for_every_kind_of_pin() -> None:
    """Python packages, actions, base images, images of compose, and the Kafka of tests."""
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    places = {update["package-ecosystem"]: update["directory"] for update in updates}
    for ecosystem, folder, files in [
        ("pip", "/", ["constraints.txt", "pyproject.toml"]),
        ("github-actions", "/", [".github/workflows/ci.yml"]),
        ("docker", "/deploy", ["Dockerfile"]),
        ("docker-compose", "/deploy", ["compose.yaml"]),
        ("maven", "/deploy/local", ["pom.xml"]),
    ]:
        assert places.pop(ecosystem) == folder
        assert all((ROOT / folder.strip("/") / file).is_file() for file in files)
    assert places == {}


def test_the_way_to_report_is_private_and_has_dates() -> None:
    """SECURITY.md names the host's private form, no address, dates, and the threat model."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "https://docs.github.com/" in text
    assert "@" not in text
    assert len(re.findall(r"within \d+ days", text)) == 3
    for link in re.findall(r"\]\(([\w/.-]+\.md)\)", text):
        assert (ROOT / link).is_file()
