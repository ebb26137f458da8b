"""`offramp policy` as an operator uses it, on a real Redis: data, changes, codes, hostile names."""

import csv
import io
import json
import os
import pty
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import PolicyStateError
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.admin import Freeze, Pin, Reset, Unpin
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, PartitionDeltas, PolicyMeta
from tests.support.policy_cli import data, offramp_policy
from tests.support.servers.proxies import proxy
from tests.support.waiting import wait_for_output

META = PolicyMeta("default", "f1", (1, 3, 7, 12), PolicySettings("uee-ucb", cost="layers"))
HOSTILE = ["旅館 🏨", "=1+1", "a b'; rm -rf / #", "$(reboot)", "[red]x[/red]", "x\u0301\u200b"]


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store with three domains."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        count(opened, {"hotels": stats(60, 0.5), "books": stats(40, 0.0), "music": stats(9, 0.2)})
        yield opened


def stats(texts: int, differing: float) -> ExitStats:
    """Return counters of texts that all went to the last exit; some differ from exit 1 on."""
    differ = int(texts * differing)
    return ExitStats((texts,) * 4, (0, differ, differ, differ), (0, 0, 0, texts))


def count(store: RedisStore, deltas: dict[str, ExitStats]) -> None:
    """Count texts after those counted so far."""
    mark = store.watermarks().get("t1/0")
    first = mark.upto if mark else 0
    store.apply([PartitionDeltas("t1", 0, first, first + 1, deltas)])


@pytest.fixture
def offramp(redis_url: str) -> Any:
    """Return a function that runs `offramp policy` and returns what came of it."""
    return offramp_policy(redis_url)


def test_list_names_domains_with_their_exits(store: RedisStore, offramp: Any) -> None:
    """The table, JSON, YAML and CSV hold the same domains; JSON says its version."""
    table = offramp("list").stdout
    listed = data(offramp("list", "-o", "json"))
    assert (listed["version"], listed["kind"], listed["policy"]) == (1, "policy-list", "default")
    by_name = {row["domain"]: row for row in listed["domains"]}
    assert by_name.keys() == {"hotels", "books", "music"}
    assert (by_name["hotels"]["exit"], by_name["books"]["exit"]) == (1, 0)
    assert all(name in table for name in by_name)
    assert yaml.safe_load(offramp("list", "-o", "yaml").stdout) == listed
    rows = list(csv.DictReader(io.StringIO(offramp("list", "-o", "csv").stdout)))
    assert {row["domain"]: int(row["texts"]) for row in rows} == {
        "hotels": 60,
        "books": 40,
        "music": 9,
    }


def test_show_tells_all_of_one_domain(store: RedisStore, offramp: Any) -> None:
    """Every exit with cost, counts, interval, reward, bonus and flags; a header with the rest."""
    store.change("hotels", Pin(2), by="bob", reason="why")
    shown = data(offramp("show", "hotels", "-o", "json"))
    assert (shown["revision"], shown["pin"], shown["pin_reason"]) == (1, 2, "why")
    exits = shown["exits"]
    assert [row["layer"] for row in exits] == [1, 3, 7, 12]
    best = exits[1]
    assert best["flags"] == ["best"]
    assert exits[2]["flags"] == ["pinned"]
    assert best["disagreement_low"] < best["disagreement"] == 0.5 < best["disagreement_high"]
    assert best["index"] == pytest.approx(best["reward"] + best["bonus"])
    table = offramp("show", "hotels").stdout
    for text in ("exit 2 (layer 7) after 60 texts", "revision 1", "pinned to exit 2: why", "95 %"):
        assert text in table
    assert "not known" in str(offramp("show", "hotles", code=1).exception)


def test_explain_gives_reasons_one_by_one(store: RedisStore, offramp: Any) -> None:
    """Why this exit, by what margin, and what would change it."""
    count(store, {"cars": ExitStats((400,) * 4, (0, 100, 120, 125), (0, 0, 0, 400))})
    said = " ".join(offramp("explain", "cars").stdout.split())
    assert said.startswith("cars: - After")
    for text in (
        "After 400 texts exit 2 (layer 7) has the best estimated reward",
        "differed from the first exit's on 30.0% of 400 texts",
        "second best is exit 1 (layer 3)",
        "So would a cost weight above 0.15; it is 0.1 now.",
    ):
        assert text in said
    store.change("cars", Pin(3), by="bob", reason="a contract")
    assert "pinned it to exit 3 (layer 12) because: a contract" in offramp("explain", "cars").stdout
    count(store, {"new": ExitStats((1, 0, 0, 0), (0,) * 4, (1, 0, 0, 0))})
    assert "no text has reached exit 1, 2, 3 yet" in offramp("explain", "new").stdout
    (row,) = data(offramp("explain", "new", "-o", "json"))["explanations"]
    assert (row["domain"], row["exit"]) == ("new", 3)
    shown = offramp("explain", "new").stdout.replace("\n- ", " ").split()
    assert shown == ["new:", *row["text"].split()]


@pytest.mark.parametrize("words", [("explain", "hotels"), ("show", "hotels"), ("list",)])
def test_what_is_shown_of_a_domain_is_read_once(
    store: RedisStore, offramp: Any, redis_url: str, words: tuple[str, ...]
) -> None:
    """No reset comes between two readings of its counters, for there is one."""
    readings = 0
    with redis.Redis.from_url(redis_url) as client, client.monitor() as monitor:
        offramp(*words)
        client.echo("that was all")
        for seen in monitor.listen():
            if "that was all" in seen["command"]:
                break
            readings += seen["command"].startswith("EVALSHA") and "hotels" in seen["command"]
    assert readings == 1


def test_a_tolerance_is_explained_and_no_zero_is_negative(store: RedisStore, offramp: Any) -> None:
    """The paragraph names the tolerance; rewards of exits that differ in nothing are 0.000."""
    offramp("set", "algorithm=default", "tolerance=0.02", "--yes")
    count(store, {"cars": stats(900, 0.5)})
    assert "certain to make at most 2 % more errors than" in offramp("explain", "cars").stdout
    shown = offramp("show", "cars").stdout
    assert "0.000" in shown
    assert "-0.0" not in shown
    assert "-0.0" not in offramp("show", "cars", "-o", "json").stdout


def test_pin_and_unpin(store: RedisStore, offramp: Any) -> None:
    """A pin is previewed, made with --yes, in force at once, and ends by itself or by hand."""
    args = ("pin", "hotels", "--exit", "3", "--for", "2h", "--reason", "incident 12")
    refused = offramp(*args, code=3)
    assert "pin: - -> 3" in refused.stderr
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


def test_history_shows_how_the_choice_came_about(store: RedisStore, offramp: Any) -> None:
    """Samples and changes in one list, the newest first, each sample with the exit of then."""
    for texts, differing in ((20, 0.0), (20, 0.5), (200, 0.5)):
        count(store, {"cars": stats(texts, differing)})
    store.change("cars", Freeze(), by="bob", reason="enough")
    count(store, {"cars": stats(500, 0.0)})
    entries = data(offramp("history", "cars", "-o", "json"))["entries"]
    assert [(e["what"], e["texts"], e["exit"], e["played"]) for e in entries] == [
        ("freeze", None, None, None),
        ("sample", 240, 1, [0, 0, 0, 240]),
        ("sample", 40, 1, [0, 0, 0, 40]),
        ("sample", 20, 0, [0, 0, 0, 20]),
    ]
    table = offramp("history", "cars").stdout
    assert table.count("sample") == 3
    assert "enough" in table
    assert len(data(offramp("history", "cars", "--limit", "2", "-o", "json"))["entries"]) == 2
    (row, *_) = csv.DictReader(io.StringIO(offramp("history", "cars", "-o", "csv").stdout))
    assert (row["what"], row["by"]) == ("freeze", "bob")
    assert offramp("history", "music").stderr.strip() == "no samples and no changes yet"
    assert "hotles is not known" in str(offramp("history", "hotles", code=1).exception)
    offramp("remove", "music", "--yes")
    assert "remove" in offramp("history", "music").stdout


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


def test_doctor_finds_damage(store: RedisStore, offramp: Any) -> None:
    """A sound policy gives code 0, a damaged one code 4 and the place."""
    assert data(offramp("doctor", "--no-log", "-o", "json"))["healthy"] is True
    keys, _ = store.bound()
    store.server.command("HSET", keys.domain("books"), "1", "40 999 0")
    found = data(offramp("doctor", "--no-log", "-o", "json", code=4))
    assert [(f["check"], f["subject"]) for f in found["findings"]] == [("counters", "books")]


def test_doctor_does_not_call_healthy_what_it_could_not_see(
    store: RedisStore, redis_url: str
) -> None:
    """Without Kafka the log is a finding of its own, and the exit code is 1; --no-log is 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    args = ["policy", "doctor", "--redis-url", redis_url, "-b", nobody, "-o", "json"]
    args += ["--set", "kafka.request_timeout_s=1"]
    # In a process of its own: a client that finds no broker leaves sockets open.
    found = subprocess.run(
        [sys.executable, "-m", "consumer", *args], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1, found.stderr
    assert "healthy" not in found.stderr
    told = json.loads(found.stdout)
    assert (told["healthy"], told["log_checked"]) == (False, False)
    assert [(f["severity"], f["check"]) for f in told["findings"]] == [("unknown", "log")]


@pytest.mark.parametrize(
    "command",
    [
        ["audit"],
        ["workers"],
        ["doctor", "--no-log"],
        ["history", "music"],
        ["diff", *["default"] * 2],
    ],
)
def test_csv_without_rows_has_its_header(
    store: RedisStore, offramp: Any, command: list[str]
) -> None:
    """The header alone, the same as with rows; workers have what fields they like."""
    (empty,) = offramp(*command, "-o", "csv").stdout.splitlines()
    store.change("music", Pin(2), by="bob", reason="why")
    store.heartbeat("w", {"pid": 5}, ttl_s=60)
    keys, _ = store.bound()
    store.server.command("HSET", keys.domain("books"), "1", "40 999 0")
    more = ["--all"] if command[0] == "diff" else []
    code = 4 if command[0] == "doctor" else 0
    header = offramp(*command, *more, "-o", "csv", code=code).stdout.splitlines()[0]
    assert empty == header.removesuffix(",pid")


def test_a_csv_list_without_domains_has_its_header(store: RedisStore, offramp: Any) -> None:
    """The header is the one that a list with domains has."""
    store.open(PolicyMeta("new", "f2", (2, 4, 6, 8)))
    (empty,) = offramp("list", "--policy", "new", "-o", "csv").stdout.splitlines()
    assert empty == offramp("list", "-o", "csv").stdout.splitlines()[0]


def test_workers_are_listed(store: RedisStore, offramp: Any) -> None:
    """Each worker alive with the fields it shows."""
    assert offramp("workers").stderr.strip() == "no workers"
    store.heartbeat("w-1", {"events": 5, "group": "g"}, ttl_s=60)
    (row,) = data(offramp("workers", "-o", "json"))["workers"]
    assert row == {"instance": "w-1", "group": "g", "events": 5}


@pytest.mark.parametrize("output", ["table", "csv", "json", "yaml"])
def test_hostile_names_never_reach_the_terminal_raw(
    store: RedisStore, offramp: Any, output: str
) -> None:
    """No control, escape or direction character is printed, nor is markup or a formula run."""
    store.server.command("ZADD", store.bound()[0].key("idx"), 5, "%1B%5B31mred%07%E2%80%AE")
    count(store, dict.fromkeys(HOSTILE, stats(1, 0)))
    for number, name in enumerate(HOSTILE):
        store.heartbeat(f"w{number}", {"seen": name + "\x1b]0;x\x07\u202e"}, ttl_s=60)
    store.change("hotels", Freeze(), by="eve\x1b[2J", reason="\u202egnp.exe\x9b31m")
    for command in (["list"], ["audit"], ["workers"], ["show", "hotels"], ["history", "hotels"]):
        printed = offramp(*command, "-o", output)
        for text in (printed.stdout, printed.stderr):
            assert not [c for c in text if not (c.isprintable() or c == "\n")], repr(text)
    if output == "table":
        assert "[red]x[/red]" in offramp("list").stdout
    if output == "csv":
        assert "\n'=1+1," in offramp("list", "-o", "csv").stdout
    assert "\x1b" not in str(offramp("show", "\x1b[31m", code=1).exception)


def test_completion_knows_domains_and_offers_no_code(store: RedisStore, redis_url: str) -> None:
    """The shell completes domain names; those that it would run or split are left out."""
    count(store, dict.fromkeys([*HOSTILE, "hot/els-2", "hôtel"], stats(1, 0)))
    environ = {
        **os.environ,
        "OFFRAMP_REDIS__URL": redis_url,
        "_OFFRAMP_COMPLETE": "complete_bash",
        "COMP_WORDS": "offramp policy show h",
        "COMP_CWORD": "3",
    }
    code = "from consumer.cli.app import app; app(prog_name='offramp')"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert set(found.stdout.split()) == {"hotels", "hot/els-2", "hôtel"}, found.stderr
    environ["COMP_WORDS"], environ["OFFRAMP_REDIS__URL"] = "offramp policy show ", "redis://x:1"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert (found.stdout.strip(), found.stderr.strip()) == ("", "")


def test_the_policy_commands_start_without_heavy_imports(redis_url: str, store: RedisStore) -> None:
    """Listing and explaining import no torch, no transformers, no Kafka."""
    code = (
        "import sys; from typer.testing import CliRunner; from consumer.cli.app import app;"
        "r = [CliRunner().invoke(app, a) for a in (['policy', 'list'], ['explain', 'hotels'])];"
        "assert not any(x.exit_code for x in r), r;"
        "print(sorted({'torch', 'transformers', 'kafka'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OFFRAMP_REDIS__URL": redis_url},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.strip() == "[]"


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


def test_watch_draws_again_until_it_is_stopped(redis_url: str, store: RedisStore) -> None:
    """`--watch` shows fresh data every two seconds; Ctrl-C ends it with code 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "policy", "list", "--watch", "-o", "csv"],
        env={**os.environ, "OFFRAMP_REDIS__URL": redis_url},
        stdout=subprocess.PIPE,
    )
    with process:
        wait_for_output(process.stdout, b"domain,")
        count(store, {"fresh": stats(1, 0)})
        again = wait_for_output(process.stdout, b"\nfresh,")
        process.send_signal(2)
        assert process.wait(10) == 0
    assert b"domain," in again


def test_what_texts_get_is_the_same_everywhere(store: RedisStore, offramp: Any) -> None:
    """A pin, and a route's cost weight, are in `list`, `show` and `explain`, tables and data."""
    routes = [
        {"name": "dear", "topics": r"a\.(?P<domain>hotels|books)", "output": "o", "cost_weight": 9},
        {"name": "cars", "topics": r"b\.(?P<domain>cars)", "output": "o", "cost_weight": 8},
    ]
    signed = {"by": "anna", "reason": ""}
    store.write_routes("offramp", routes, revision=0, action="a", detail={}, **signed)
    listed = {row["domain"]: row for row in data(offramp("list", "-o", "json"))["domains"]}
    assert [(r["route"], r["exit"]) for r in listed["hotels"]["by_route"]] == [("dear", 0)]
    assert listed["music"]["by_route"] == []
    assert "1 / 0" in offramp("list").stdout
    store.change("hotels", Pin(2), by="bob", reason="why")
    listed = {row["domain"]: row for row in data(offramp("list", "-o", "json"))["domains"]}
    shown = data(offramp("show", "hotels", "-o", "json"))
    (told,) = data(offramp("explain", "hotels", "-o", "json"))["explanations"]
    assert {(x["exit"], x["layer"]) for x in (listed["hotels"], shown, told)} == {(2, 7)}
    assert (listed["hotels"]["learnt"], shown["by_route"][0]["exit"]) == (1, 2)


def test_a_domain_with_few_texts_is_shown_at_the_exit_that_workers_play(
    store: RedisStore, offramp: Any, tmp_path: Path
) -> None:
    """It goes by what all domains have shown, with workers and in every report alike."""
    offramp("set", "algorithm=default", "--yes")
    deep = ExitStats.from_texts([(0, 0, 0, n % 2) for n in range(4000)], exits=4)
    count(store, {"forum": deep, "new": ExitStats.from_labels([0, 0, 0, 0], exits=4)})
    new, pool = store.read(["new"])["new"], store.totals().stats
    policy = build(store.describe().meta.settings, META.layers)
    played = Counter(policy.decide(new.stats, 100, pool=pool)).most_common(1)[0][0]
    assert played != policy.assess(new.stats).exit  # by itself it would be another one
    (listed,) = [d for d in data(offramp("list", "-o", "json"))["domains"] if d["domain"] == "new"]
    shown = data(offramp("show", "new", "-o", "json"))
    (told,) = data(offramp("explain", "new", "-o", "json"))["explanations"]
    export = tmp_path / "now.json"
    offramp("export", "--out", str(export))
    compared = data(offramp("diff", str(export), "default", "--all", "-o", "json"))["domains"]
    (diff,) = [row for row in compared if row["domain"] == "new"]
    found = (listed["exit"], shown["exit"], told["exit"], diff["exit_a"], diff["exit_b"])
    assert found == (played,) * 5
    assert f"After 1 text the best guess is exit {played} (layer 12)." in told["text"]
    assert "what other domains have shown counts, too" in told["text"]
    rows = shown["exits"]
    assert rows[played]["flags"] == ["prior"]
    assert sum("best" in row["flags"] for row in rows) == 1


def test_a_route_that_an_earlier_one_leaves_nothing_has_no_exit(
    store: RedisStore, offramp: Any
) -> None:
    """Only the route that takes a domain's topic is named, and data say the words on screen."""
    routes = [
        {"name": "first", "topics": r"a\.hotels", "output": "o", "cost_weight": 8},
        {"name": "dear", "topics": r"a\.(?P<domain>.+)", "output": "o", "cost_weight": 9},
        {"name": "same", "topics": r"a\.(?P<domain>.+)", "output": "o", "cost_weight": 7},
    ]
    signed = {"by": "anna", "reason": ""}
    store.write_routes("offramp", routes, revision=0, action="a", detail={}, **signed)
    listed = data(offramp("list", "-o", "json"))["domains"]
    named = {row["domain"]: [r["route"] for r in row["by_route"]] for row in listed}
    assert named == {"hotels": [], "books": ["dear"], "music": ["dear"]}
    (told,) = data(offramp("explain", "books", "-o", "json"))["explanations"]
    assert told["text"].endswith("by route dear, cost weight 9: exit 0 (layer 1)")
    shown = offramp("explain", "books").stdout.replace("\n- ", " ").split()
    assert shown == ["books:", *told["text"].split()]


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


def test_workers_have_columns_in_one_order_and_numbers_as_numbers(
    store: RedisStore, offramp: Any
) -> None:
    """Whatever order Redis gives fields in; a name made of digits stays a text."""
    store.heartbeat("w-1", {"pid": 7, "x": 1, "policy": "12", "events": 5, "group": "g"}, ttl_s=60)
    (row,) = data(offramp("workers", "-o", "json"))["workers"]
    assert list(row.items()) == [
        *(("instance", "w-1"), ("group", "g"), ("policy", "12"), ("events", 5), ("pid", 7)),
        ("x", "1"),
    ]
