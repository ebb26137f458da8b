"""The tutorial: what a newcomer types, in the order in which the pages show it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs.commands import ROOT, Block, blocks
from tests.support.long_form import IS_LONG
from tests.support.waiting import wait_for

PAGES = [
    ROOT / "docs" / "tutorial" / f"{name}.md" for name in ("demo", "model", "topics", "cluster")
]
STAYS = "leave it running"
READY = {"deploy.local.services": "export OFFRAMP_REDIS", "offramp worker": "reading topic="}
ELSEWHERE = ("docker ", "helm ", "kubectl ")  # what needs a cluster is tried by `make cluster`


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator["Terminal"]:
    """Yield a terminal in the root of the repository; what it leaves running ends with it."""
    opened = Terminal(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


class Terminal:
    """Runs blocks one after the other: each knows what those before it have exported."""

    def __init__(self, folder: Path) -> None:
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith("OFFRAMP_")
        }
        self._environ = {**ours, "COLUMNS": "120"}
        self._folder = folder
        self._before = ""
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, block: Block) -> str:
        """Return what a block prints; fail if one of its commands does."""
        if STAYS in block.title:
            return self._start(block)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._before + block.text],
            cwd=ROOT,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-3000:]}"
        self._before += "".join(
            f"{line}\n"
            for line in block.text.splitlines()
            if line.startswith(("source ", "export "))
        )
        return done.stdout

    def _start(self, block: Block) -> str:
        log = self._folder / f"{len(self._running)}.log"
        with log.open("wb") as to:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", self._before + block.text],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        written = [log, ROOT / "build" / "services.sh"]
        ready = next(said for command, said in READY.items() if command in block.text)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return any(ready in file.read_text() for file in written if file.exists())

        wait_for(is_ready, timeout_s=300)
        return log.read_text()

    def close(self) -> None:
        """End what is running, the latest first, as Ctrl-C does."""
        for process in reversed(self._running):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


@pytest.mark.skipif(not IS_LONG, reason="the demo, a training and a worker, in `make chaos` only")
def test_the_tutorial_works_from_its_first_line_to_its_last(terminal: Terminal) -> None:
    """Each block ends without an error, and the reader sees what the pages promise."""
    (ROOT / "build" / "services.sh").unlink(missing_ok=True)
    shutil.rmtree(ROOT / "build" / "films-model", ignore_errors=True)
    seen = ""
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "sh" and not block.text.startswith(ELSEWHERE):
                seen += terminal.run(block)
    for promised in (
        "15,000 predictions for 15,000 events, 0 twice",
        "held out",
        "worth of the steps",
        "All is well",
        "cost_weight: 0.1 -> 0.03",
        "reviews.products",
        "invalid-field",
    ):
        assert promised in seen, promised
