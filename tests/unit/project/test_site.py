"""The site of the docs: `make docs` builds it from every page, and it asks no other server."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.dashboard.openapi import described
from policy_state.store.redis.keys import POLICIES_KEY, PolicyKeys, worker_key
from tests.support.cli_walk import commands

ROOT = Path(__file__).parents[3]
FETCHED = re.compile(r"(?:src=|<link[^>]* href=|url\(|@import )[\"']?(?:https?:)?//[^\"')\s>]+")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site strictly: a page outside the menu, or a link to nowhere, is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Who reads the site is seen by nobody else, and it works without a network."""
    files = [file for file in site.rglob("*") if file.suffix in {".html", ".css", ".svg"}]
    assert len(files) > 80
    found = {file.name: FETCHED.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {name: urls for name, urls in found.items() if urls} == {}


def test_what_is_made_from_code_is_all_there(site: Path) -> None:
    """Every command and option, every path of the API, and every kind of key has its place."""
    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for words, params in commands():
        assert f'id="offramp-{"-".join(words)}"' in page
        for param in params:
            for option in param.opts if not getattr(param, "hidden", False) else ():
                assert not option.startswith("--") or f"<code>{option}</code>" in page
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert all(path in page for path in described()["paths"])
    page = (site / "reference" / "redis-keys.html").read_text(encoding="utf-8")
    keys = [POLICIES_KEY, PolicyKeys("<pid>").domain("x")[:-1], worker_key("x")[:-1]]
    assert all(key.replace("<", "&lt;").replace(">", "&gt;") in page for key in keys)


def test_the_notebook_is_run(site: Path) -> None:
    """Its cells show what they print and draw, and no path of the machine that ran them."""
    page = (site / "concepts" / "exits.html").read_text(encoding="utf-8")
    assert "The model answers after layers 1 2 3 4 6 9 12" in page
    assert "data:image/svg+xml;base64," in page
    assert str(ROOT) not in page
    notebook = json.loads((ROOT / "docs" / "concepts" / "exits.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in notebook["cells"])
