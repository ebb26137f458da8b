"""Changes by `offramp policy`: previewed, asked for, made at once, and found in the audit."""

import os
import pty
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

from policy_state.errors import PolicyStateError
from policy_state.store.admin import Reset, Unpin
from policy_state.store.redis.store import RedisStore
from tests.support.policies.shown import count, stats
from tests.support.policy_cli import data
from tests.support.servers.proxies import proxy
from tests.support.waiting import wait_for_output


def test_pin_and_unpin(store: RedisStore, offramp: Any) -> None:
    """A pin is previewed, made with --yes, in force at once, and ends by itself or by hand."""
    args = ("pin", "hotels", "--exit", "3", "--for", "2h", "--reason", "incident 12")
    refused = offramp(*args, code=3)
    assert "pin: none -> 3" in refused.stderr
    assert "for: 2 h" in refused.stderr
    assert refused.stdout == ""
    assert store.read(["hotels"])["hotels"].pin is None
    done = data(offramp(*args, "--yes", "-o", "json"))
    assert [row["pin"] for row in done["records"]] == [None, 3]
    snapshot = store.read(["hotels"])["hotels"]
    assert (snapshot.pin, snapshot.pin_reason) == (3, "incident 12")
    assert snapshot.pin_until_ms is not None
    offramp("unpin", "hotels", "--yes")
    assert store.read(["hotels"])["hotels"].pin is None
    unpin, pin, sample = data(offramp("history", "hotels", "-o", "json"))["entries"]
    assert (sample["what"], sample["texts"], sample["exit"]) == ("sample", 60, 1)
    assert (pin["by"], pin["reason"], pin["detail"]["exit"]) == ("anna", "incident 12", 3)
    assert unpin["what"] == "unpin"
    assert "incident 12" in offramp("audit").stdout


def test_freeze_reset_remove(store: RedisStore, offramp: Any) -> None:
    """Each change does what it says; what was lost by it is in the history."""
    offramp("freeze", "books", "--yes")
    assert store.read(["books"])["books"].frozen
    offramp("unfreeze", "books", "--yes")
    preview = offramp("reset", "hotels", "--keep", "0.5", code=3).stderr
    assert "texts: 60 -> 30" in preview
    offramp("reset", "hotels", "--keep", "0.5", "--yes")
    assert store.read(["hotels"])["hotels"].stats == stats(30, 0.5)
    offramp("reset", "hotels", "--yes", "--reason", "new kind")
    assert store.read(["hotels"])["hotels"].epoch == 1
    offramp("remove", "music", "-y")
    assert "music" not in store.domains()
    entries = data(offramp("history", "hotels", "-o", "json"))["entries"]
    assert [(row["what"], (row["before"] or {}).get("n0")) for row in entries] == [
        ("reset", 30),
        ("reset", 60),
        ("sample", None),
    ]
    offramp("doctor", "--no-log")
    for command in ("unpin", "reset", "remove", "unfreeze"):
        assert "not known" in str(offramp(command, "nowhere", "--yes", code=1).exception)
    assert "has no text yet" in offramp("freeze", "nowhere", code=3).stderr
    for blank in ("", " \t"):
        assert "is blank" in offramp("pin", "hotels", "-e", "1", "-r", blank, "-y", code=2).stderr
    assert "  until it is unpinned" in offramp("pin", "hotels", "-e", "1", "-r", "x", code=3).stderr
    assert "exits 0..3" in str(
        offramp("pin", "hotels", "-e", "4", "-r", "x", "-y", code=1).exception
    )


def test_set_changes_settings_for_all(store: RedisStore, offramp: Any) -> None:
    """Costs, alpha, limits: previewed, checked against the exits, and a revision more."""
    args = ("set", "cost=0.1,0.2,0.3,0.4", "alpha=0.5", "domains=7")
    preview = offramp(*args, code=3).stderr
    for line in ("cost: layers -> (0.1, 0.2, 0.3, 0.4)", "alpha: 1.0 -> 0.5", "domains: 100000"):
        assert line in preview
    assert data(offramp(*args, "--yes", "-o", "json"))["revision"] == 2
    applied = store.apply([])
    assert (applied.revision, applied.settings.cost) == (2, (0.1, 0.2, 0.3, 0.4))
    assert store.describe().meta.limits.domains == 7
    assert offramp("set", "alpha=0.5", "--yes").stderr.strip() == "nothing to change"
    for wrong in (
        ["cost=0.1,0.2"],
        ["cost=1,x"],
        ["nonsense=1"],
        ["alpha=wide"],
        ['cost=[0.1,"x",1,1]'],
        ["cost=[0.1,[1],1,1]"],
        ["cost=[0.1,true,1,1]"],
        ["domains=0"],
        ["domains"],
        ["alpha=-1"],
    ):
        error = offramp("set", *wrong, "--yes", code=1).exception
        assert isinstance(error, PolicyStateError), wrong
    offramp("set", "--alpha", "1", "--yes", code=2)
    assert store.describe().revision == 2
    told = str(offramp("set", "cost=measured", "--yes", code=1).exception)
    assert "the model's costs.json when the policy is created; give its numbers here" in told
    tolerance = ("set", "algorithm=default", "tolerance=0.02")
    assert "tolerance: none -> 0.02" in offramp(*tolerance, code=3).stderr
    offramp(*tolerance, "--yes")
    assert "tolerance: none -> 0.02" in offramp("audit").stdout


def test_on_a_terminal_a_change_is_asked_for(redis_url: str, store: RedisStore) -> None:
    """With a terminal the preview is followed by a question; no is code 3, yes does it."""
    for answer, code, frozen in ((b"n\n", 3, False), (b"y\n", 0, True)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "policy", "freeze", "hotels"],
            env={**os.environ, "OFFRAMP_REDIS__URL": redis_url},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.write(ours, answer)
        _, said = process.communicate(timeout=30)
        os.close(ours)
        os.close(theirs)
        assert b"frozen: False -> True" in said
        assert process.returncode == code
        assert store.read(["hotels"])["hotels"].frozen is frozen


def test_a_change_without_an_answer_may_have_been_done(redis_url: str, store: RedisStore) -> None:
    """The error says so and names the audit: a second `reset --keep 0.1` would keep a hundredth."""
    port = urlsplit(redis_url).port
    assert port is not None
    with proxy(port) as between:
        url = redis_url.replace(f":{port}", f":{between.port}")
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "policy", "reset", "hotels", "--keep", "0.5"],
            env={**os.environ, "OFFRAMP_REDIS__URL": url},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        wait_for_output(process.stderr, b"Apply this change?")
        between.answers_to_lose = 1_000
        os.write(ours, b"y\n")
        _, said = process.communicate(timeout=30)
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 1
    assert b"may have been made anyway: check `offramp policy audit`" in said
    assert store.read(["hotels"])["hotels"].stats == stats(30, 0.5)
    assert [entry.action for entry in store.audit()] == ["reset"]


def test_without_room_an_unknown_domain_is_not_taken_for_a_known_one(
    store: RedisStore, offramp: Any
) -> None:
    """A misspelt name shows nothing of `__overflow__`, and a pin of it is refused unasked."""
    offramp("set", "domains=3", "--yes")
    for texts in (5, 6):
        count(store, {"cars": stats(texts, 0.0)})
        assert store.read(["typo"])["typo"].stats.texts > 0
        for command in ("show", "explain", "history", "unpin", "reset", "remove"):
            assert "typo is not known" in str(offramp(command, "typo", code=1).exception)
        for change in (("pin", "typo", "-e", "1", "-r", "x"), ("freeze", "typo")):
            refused = offramp(*change, code=1)
            assert "no room for another: limit 3" in str(refused.exception)
            assert refused.stderr == ""
    assert data(offramp("show", "__overflow__", "-o", "json"))["texts"] == 11
    offramp("freeze", "__overflow__", "--yes")
    offramp("freeze", "hotels", "--yes")
    offramp("set", "domains=4", "--yes")
    offramp("freeze", "new", "--yes")


def test_a_change_that_changes_nothing_is_told_and_not_audited(
    store: RedisStore, offramp: Any
) -> None:
    """It asks nothing and leaves the audit as it was; none unsets a setting that is shown so."""
    for change in (("unpin", "hotels"), ("unfreeze", "hotels")):
        assert "there is nothing to change" in offramp(*change).stderr
    assert not store.change("hotels", Unpin(), by="bob", reason="").done
    assert store.audit() == ()
    for value in ("none", "null"):
        offramp("set", "tolerance=0.02", "--yes")
        offramp("set", f"tolerance={value}", "--yes")
        assert store.describe().meta.settings.tolerance is None
    offramp("set", "tolerance=0.02", "--yes")
    offramp("set", "tolerance=none", "cost_weight=0.3", "--yes")
    settings = store.describe().meta.settings
    assert (settings.tolerance, settings.cost_weight) == (None, 0.3)
    for wrong in ("nan", "2"):
        offramp("set", f"tolerance={wrong}", "--yes", code=1)


def test_drift_and_an_operators_reset_are_told_apart(store: RedisStore, offramp: Any) -> None:
    """What a worker did by itself says so in the audit, the history and the words."""
    store.change("hotels", Reset(), by="anna", reason="")
    store.change("hotels", Reset(), by="w-1", reason="drift: x", automatic=True)
    assert store.read(["hotels"])["hotels"].drifts == 1
    said = offramp("explain", "hotels").stdout
    assert (
        "- Its texts changed once, so learning started again.\n- Operators reset it once." in said
    )
    changes = data(offramp("audit", "-o", "json"))["changes"]
    assert [(c["by"], c["automatic"]) for c in changes] == [("w-1", True), ("anna", False)]
    for command in (("audit",), ("history", "hotels")):
        printed = offramp(*command).stdout
        assert "w-1 (by itself)" in printed
        assert "anna (by itself)" not in printed
