"""The image `control`, built by a real engine: small, in layers, without rights, soon ended."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.long_form import IS_LONG
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
OURS_MB = 150  # on top of the base image
CODE_MB = 8  # of which a change of our code replaces
STOP_S = 9  # of the ten that an engine gives a container

pytestmark = pytest.mark.skipif(not IS_LONG, reason="builds images: `make chaos` does")


def docker(*command):
    """Return what a command of the engine says, and skip where no engine answers."""
    done = subprocess.run(
        ["docker", *map(str, command)],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def layers(image):
    return docker("inspect", "--format", '{{join .RootFS.Layers " "}}', image).split()


def sizes_mb(image):
    """Return the sizes of what was copied into an image, the last one first."""
    told = docker("history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", image)
    return [int(line.split()[0]) / 1e6 for line in told.splitlines() if "COPY /layer" in line]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the image is built from, to change."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.splitlines()):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def build(source):
    """A function that builds the image from the copy; the image goes when the tests are done."""
    if shutil.which("docker") is None:
        pytest.skip("no container engine")
    engine = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    if engine.returncode != 0:
        pytest.skip(f"no container engine answers: {engine.stderr.strip()[-200:]}")
    built: list[str] = []

    def build(*options):
        tag = f"offramp:test-{os.getpid()}-{len(built)}"
        docker("build", *options, "--file", source / "deploy" / "Dockerfile", "--target", "control",
               "--tag", tag, source)  # fmt: skip
        built.append(tag)
        return tag

    yield build
    if built:
        docker("rmi", *built)


@pytest.fixture(scope="module")
def image(build):
    return build()


def test_a_changed_comment_is_a_small_layer_on_another_machine_too(build, image, source):
    """Built anew, from nothing, all layers but the last are the same, to the bit."""
    with (source / "consumer" / "entry.py").open("a") as file:
        file.write("# A comment.\n")
    before, after = layers(image), layers(build("--no-cache"))
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert after[-1] in changed
    # The other one has the time at which the user was added, and is smaller than a megabyte.
    assert len(changed) == 2
    assert after[-2] == before[-2]
    code_mb, installed_mb = sizes_mb(image)
    assert code_mb < CODE_MB
    assert code_mb + installed_mb < OURS_MB


def test_nobody_in_the_image_can_become_root_or_compile(image):
    """No setuid or setgid file, no compiler, and a user by number."""
    shell = ("run", "--rm", "--entrypoint", "sh")
    found = "find / -xdev -perm /6000 -type f 2>/dev/null; command -v cc gcc clang; id -u"
    assert docker(*shell, image, "-c", found) == "10001"
    as_root = (*shell, "--user", "0", image, "-c", "find / -xdev -perm /6000 -type f")
    assert docker(*as_root) == ""


def test_a_container_runs_on_a_read_only_root_and_ends_when_it_is_told_to(image):
    """Process 1 of the image heeds SIGTERM: no command waits for the kill."""
    only_tmp = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")  # noqa: S108
    assert docker("run", "--rm", *only_tmp, image, "--version").startswith("offramp ")
    waits = "mkfifo /tmp/t.txt; exec offramp produce /tmp/t.txt --to t"
    shell = ("run", "--detach", *only_tmp, "--entrypoint", "sh", image, "-c", waits)
    container = docker(*shell)
    try:
        wait_for(lambda: heeds_sigterm(container))
        docker("stop", "--time", STOP_S, container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "143"
    finally:
        docker("rm", "--force", container)


def heeds_sigterm(container):
    """Say whether process 1 has set a handler."""
    status = docker("exec", container, "cat", "/proc/1/status")
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return int(caught, 16) >> (signal.SIGTERM - 1) & 1
