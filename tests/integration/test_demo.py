"""The demo, as `make demo` runs it, with fewer events."""

import json
import subprocess
import sys

import pytest

from consumer.settings import PRETRAINED
from demo.texts import draw, read_texts, sample_files


def test_the_samples_are_enough_and_labelled():
    """Four domains or more, at least 120 texts each, no text twice, both classes."""
    files = sample_files()
    assert len(files) >= 4
    for path in files.values():
        texts = read_texts(path)
        assert len(texts) >= 120
        assert len({t.text for t in texts}) == len(texts)
        assert {t.label for t in texts} == {0, 1}


def test_draws_use_every_text_before_any_again():
    """Each domain's texts come round in turn, with ids of their own."""
    texts = {name: read_texts(path)[:5] for name, path in sample_files().items()}
    events = list(draw(texts, 10, seed=1))
    assert len({e.id for e in events}) == 10 * len(texts)
    films = [e.number for e in events if e.domain == "films"]
    assert sorted(films[:5]) == sorted(films[5:]) == list(range(5))


@pytest.mark.parametrize("own_files", [False, True])
def test_demo_predicts_everything_and_cleans_up(tmp_path, own_files):
    """It ends by itself with a summary in which each event was predicted once."""
    args = ["--events", "60", "-o", "json"]
    domains = set(sample_files())
    if own_files:
        path = tmp_path / "own.tsv"
        path.write_text("text\nfine place\nbad place\n")
        args += ["--input", f"mine={path}"]
        domains = {"mine"}
    result = subprocess.run(
        [sys.executable, "-m", "demo", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["predictions"] == summary["events"] == 60 * len(domains)
    assert summary["duplicates"] == 0
    assert {d["domain"] for d in summary["domains"]} == domains
    assert summary["layers_run"] <= summary["layers_at_full_depth"]
    assert all((d["accuracy"] is None) == own_files for d in summary["domains"])
    assert PRETRAINED.is_dir()
