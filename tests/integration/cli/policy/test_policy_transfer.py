"""`offramp policy export`, `import`, `diff` and `warm-start`, on a real Redis."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, PolicyMeta
from tests.support.policies.shown import META, count, stats
from tests.support.policy_cli import data


def test_export_import_and_diff(store: RedisStore, offramp: Any, tmp_path: Path) -> None:
    """An export comes back the same under another name; differences are found, with code 4."""
    file = tmp_path / "default.json"
    offramp("export", "--out", str(file))
    assert json.loads(offramp("export").stdout) == json.loads(file.read_text())
    assert offramp("import", str(file), "--policy", "copy", code=3)
    offramp("import", str(file), "--policy", "copy", "--yes")
    offramp("diff", "default", "copy")
    offramp("diff", str(file), "copy")
    count(store, {"books": stats(4000, 0.9)})
    found = data(offramp("diff", "copy", "default", "-o", "json", code=4))
    assert [(r["domain"], r["exit_a"], r["exit_b"]) for r in found["domains"]] == [("books", 0, 1)]
    assert (
        len(data(offramp("diff", "copy", "default", "--all", "-o", "json", code=4))["domains"]) == 3
    )
    assert "not found" in str(offramp("diff", "default", "absent", code=1).exception)
    for content in ("{", "[]", '{"kind": "offramp-policy", "version": 9}'):
        file.write_text(content)
        assert str(file) in str(offramp("import", str(file), "--yes", code=1).exception)


def test_an_import_that_fails_half_way_is_told_and_calls_nothing_counted(
    store: RedisStore, offramp: Any, tmp_path: Path
) -> None:
    """The audit says who began it and why; watermarks are not taken, and a rerun completes it."""
    file = tmp_path / "default.json"
    offramp("export", "--out", str(file))
    full = ExitStats((COUNT_MAX, 0, 0, 0), (0,) * 4, (COUNT_MAX, 0, 0, 0))
    store.open(replace(META, name="copy"))
    store.load({"huge": DomainSnapshot(full, 0, None)}, replace=True)
    args = ("import", str(file), "--policy", "copy", "--yes", "--reason", "moved")
    assert "limit 9007199254740991" in str(offramp(*args, code=1).exception)
    assert store.watermarks() == {}
    (entry,) = store.audit()
    assert (entry.action, entry.by, entry.reason) == ("import-begin", "anna", "moved")
    offramp("import", str(file), "--policy", "other", "--yes")
    offramp("diff", "default", "other")
    store.open(replace(META, name="other"))
    assert store.watermarks().keys() == {"t1/0"}


def test_a_damaged_export_is_one_line_and_no_policy(
    store: RedisStore, offramp: Any, tmp_path: Path
) -> None:
    """A control character in a name, JSON without an end: the policy is not even made."""
    file = tmp_path / "default.json"
    document = json.loads(offramp("export").stdout)
    document["domains"]["b\x07"] = document["domains"]["books"]
    for content in (json.dumps(document), "[" * 100_000):
        file.write_text(content)
        told = str(offramp("import", str(file), "-p", "copy", "--yes", code=1).exception)
        assert str(file) in told
    assert [meta.name for meta in store.policies()] == ["default"]


def test_warm_start_takes_a_share(store: RedisStore, offramp: Any) -> None:
    """A policy of a new model gets part of the counters of the old one."""
    store.open(PolicyMeta("new", "f2", (2, 4, 6, 8)))
    offramp("warm-start", "--from", "default", "--to", "new", "--weight", "0.5", "--yes")
    assert store.read(["hotels"])["hotels"].stats == stats(30, 0.5)
    assert data(offramp("audit", "--policy", "new", "-o", "json"))["changes"][0]["detail"] == {
        "from": "default",
        "weight": 0.5,
        "written": 3,
    }
