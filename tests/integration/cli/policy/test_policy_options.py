"""What `offramp policy` takes beyond the plain case: stdin, files, who, watching, completing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app
from deploy.local.services import start_redis
from policy_state.errors import StoreUnavailable
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.policy_cli import Offramp, offramp_policy

META = PolicyMeta("default", "f1", (1, 3, 7, 12))
SOME = ExitStats((60,) * 4, (0, 30, 30, 30), (0, 0, 0, 60))

SHOW = ("show", "hotels")


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store with two domains."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        opened.apply([PartitionDeltas("t1", 0, 0, 9, {"hotels": SOME, "books": SOME})])
        yield opened


@pytest.fixture
def offramp(redis_url: str) -> Offramp:
    """Return a function that runs `offramp policy` and returns what came of it."""
    return offramp_policy(redis_url)


def command(redis_url: str, *args: str) -> tuple[list[str], dict[str, str]]:
    """Return the words and the environment of the command in a separate process."""
    environ = {**os.environ, "OFFRAMP_REDIS__URL": redis_url, "COLUMNS": "250"}
    return [sys.executable, "-m", "consumer", *args], environ


def test_an_import_keeps_known_domains_where_that_is_asked_for(
    store: RedisStore, offramp: Offramp, tmp_path: Path
) -> None:
    """`--keep-known` leaves them as they are and says how many; without it they are replaced."""
    file = tmp_path / "default.json"
    offramp("export", "--out", str(file))
    offramp("remove", "books", "--yes")
    offramp("reset", "hotels", "--keep", "0.5", "--yes")
    halved = store.read(["hotels"])["hotels"].stats
    args = ("import", str(file), "--keep-known", "--yes")
    assert "those it knows are left out" in offramp(*args[:-1], code=3).stderr
    (row,) = json.loads(offramp(*args, "-o", "json").stdout)["imports"]
    assert row == {"policy": "default", "written": 1, "left_out": 1}
    found = store.read(["hotels", "books"])
    assert (found["hotels"].stats, found["books"].stats) == (halved, SOME)
    assert "are replaced" in offramp("import", str(file), "--yes").stderr
    assert store.read(["hotels"])["hotels"].stats == SOME


def test_an_export_is_piped_into_an_import(store: RedisStore, offramp: Offramp) -> None:
    """`import -` reads stdin; what comes damaged is told as stdin's, in one line."""
    text = offramp("export").stdout
    offramp("import", "-", "--policy", "copy", "--yes", stdin=text)
    offramp("diff", "default", "copy")
    assert (
        "run the command again with --yes to apply the change"
        in offramp("import", "-", "-p", "b", code=3, stdin=text).stderr
    )
    for damaged in ("", text[:-9]):
        told = str(offramp("import", "-", "-p", "b", "--yes", code=1, stdin=damaged).exception)
        assert told.startswith("stdin: not JSON: ")
        assert "\n" not in told
    assert [meta.name for meta in store.policies()] == ["copy", "default"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"),
        (b'{"kind": "offramp-policy"', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[]", "not an export of a policy"),
        (b'{"kind": "offramp-policy", "version": 9}', "version"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_file_ends_what_compares_or_takes_from_it(
    store: RedisStore, redis_url: str, tmp_path: Path, content: bytes | None, told: str
) -> None:
    """`diff` and `warm-start` say which file and why in one error line; nothing is changed."""
    file = tmp_path / "old.json"
    if content is not None:
        file.write_bytes(content)
    runner = CliRunner(env={"OFFRAMP_REDIS__URL": redis_url})
    for args in (
        ["diff", str(file), "default"],
        ["diff", "default", str(file)],
        ["warm-start", "--from", str(file), "--to", "default", "--yes"],
    ):
        said = str(runner.invoke(app, ["policy", *args]).exception)
        assert said.startswith(f"{file}: ")
        assert told in said
        assert "\n" not in said
    assert store.audit() == ()


def test_a_warm_start_from_a_file(store: RedisStore, offramp: Offramp, tmp_path: Path) -> None:
    """A policy takes a share of what an export holds."""
    file = tmp_path / "default.json"
    offramp("export", "--out", str(file))
    store.open(PolicyMeta("new", "f2", (2, 4, 6, 8)))
    offramp("warm-start", "--from", str(file), "--to", "new", "--weight", "0.5", "--yes")
    assert {d: s.stats.texts for d, s in store.read(["hotels", "books"]).items()} == {
        "hotels": 30,
        "books": 30,
    }


def test_who_changes_something_is_given_read_or_found(
    store: RedisStore, offramp: Offramp, redis_url: str
) -> None:
    """`--by` wins over OFFRAMP_USER; without both it is user and host; one too long is refused."""
    offramp("freeze", "books", "--yes", "--by", "bob")
    offramp("set", "alpha=0.5", "--yes", "--by", "carol")
    offramp("unfreeze", "books", "--yes")
    assert [entry.by for entry in store.audit()] == ["anna", "carol", "bob"]
    words, environ = command(redis_url, "policy", "freeze", "books", "--yes")
    environ.pop("OFFRAMP_USER", None)
    subprocess.run(words, env=environ | {"LOGNAME": "dora"}, check=True, capture_output=True)
    assert store.audit()[0].by.startswith("dora@")
    refused = offramp("freeze", "hotels", "--yes", "--by", "x" * 201, code=1)
    assert "limit 200" in str(refused.exception)


def test_a_cost_weight_is_set_for_all_workers(store: RedisStore, offramp: Offramp) -> None:
    """`cost_weight` is previewed, in force with the next answer, and shown as cost of an exit."""
    preview = offramp("set", "cost_weight=0.05", code=3).stderr
    assert "cost_weight: 0.1 -> 0.05" in preview
    offramp("set", "cost_weight=0.05", "--yes")
    assert store.apply([]).settings.cost_weight == 0.05
    exits = json.loads(offramp("show", "hotels", "-o", "json").stdout)["exits"]
    assert [row["cost"] for row in exits] == pytest.approx([0.05 * n / 12 for n in (1, 3, 7, 12)])
    for wrong in ("-1", "nan"):
        offramp("set", f"cost_weight={wrong}", "--yes", code=1)


def test_show_tells_texts_shares_layers_saved_and_age(store: RedisStore, offramp: Offramp) -> None:
    """What ran where, what that saved, how long ago: in the header and by exit."""
    mixed = ExitStats((40, 30, 20, 10), (0, 3, 2, 1), (10, 10, 10, 10))
    store.apply([PartitionDeltas("t1", 0, 9, 10, {"cars": mixed})])
    shown = json.loads(offramp("show", "cars", "-o", "json").stdout)
    assert shown["texts"] == 40
    assert [row["share"] for row in shown["exits"]] == [0.25] * 4
    assert shown["layers_saved"] == pytest.approx(1 - (1 + 3 + 7 + 12) / 48)
    age_ms = time.time() * 1000 - shown["last_seen_ms"]
    assert -1000 < age_ms < 60_000
    table = offramp("show", "cars").stdout
    assert "after 40 texts, 52.1% of layers not run\nlast text " in table
    assert table.count("25.0%") == 4


def test_show_flags_exits_that_tell_nothing(store: RedisStore, offramp: Offramp) -> None:
    """`unseen` where no text came by, `constant` where one label is all that an exit says."""
    constant = ExitStats.from_texts([(0, 1, 0, 0), (1, 1, 1, 1)] * 1000, exits=4)
    shallow = ExitStats.from_texts([(0, 1), (1, 1)], exits=4)
    store.apply([PartitionDeltas("t1", 0, 9, 10, {"cars": constant, "new": shallow})])
    for domain, expected in (
        ("cars", [set(), {"constant"}, set(), set()]),
        ("new", [set(), set(), {"unseen"}, {"unseen"}]),
    ):
        shown = json.loads(offramp("show", domain, "-o", "json").stdout)
        assert [set(row["flags"]) - {"best", "prior"} for row in shown["exits"]] == expected
    assert offramp("show", "new").stdout.count("unseen") == 2
    assert offramp("show", "cars").stdout.count("constant") == 1


@contextmanager
def watching(redis_url: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command with `--watch` and end it with Ctrl-C, which is code 0."""
    words, environ = command(redis_url, "policy", *args, "--watch", "-o", "csv")
    process = subprocess.Popen(
        words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


def first_line(stream: Any, holding: str) -> str:
    """Return the first line of a stream that holds a text."""
    for line in stream:
        if holding in line:
            return str(line)
    raise AssertionError(f"ended without {holding!r}")


def test_a_watch_shows_what_is_new_and_outlives_an_outage() -> None:
    """While Redis is away each turn says so on stderr; when it is back, fresh data comes again."""
    with start_redis() as server, RedisStore(server.url) as store:
        store.open(META)
        store.apply([PartitionDeltas("t1", 0, 0, 9, {"hotels": SOME})])
        store.heartbeat("w-1", {"events": 5}, ttl_s=600)
        with watching(server.url, "workers") as workers, watching(server.url, *SHOW) as show:
            first_line(workers.stdout, "w-1,5")
            first_line(show.stdout, "0,1,")
            server.kill()
            for process in (workers, show):
                told = first_line(process.stderr, "redis did not answer")
                assert "(its address is redis.url, OFFRAMP_REDIS__URL)" in told
                assert "asked again every 2 s" in told
            server.start()
            store.heartbeat("w-1", {"events": 6}, ttl_s=600)
            store.apply([PartitionDeltas("t1", 0, 9, 10, {"hotels": SOME})])
            first_line(workers.stdout, "w-1,6")
            first_line(show.stdout, ",120,")


def test_a_watch_without_redis_does_not_begin() -> None:
    """Nobody at the address is an error at once, not something to wait for."""
    args = ["policy", "workers", "--watch", "--redis-url", "redis://127.0.0.1:1"]
    result = CliRunner().invoke(app, args)
    assert isinstance(result.exception, StoreUnavailable)


def complete(words: str, environ: dict[str, str]) -> list[str]:
    """Return what the shell is offered for the last word."""
    code = "from consumer.cli.app import app; app(prog_name='offramp')"
    asked = {"_OFFRAMP_COMPLETE": "complete_bash", "COMP_WORDS": words}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environ, **asked, "COMP_CWORD": str(words.count(" "))},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()


def test_completion_sees_every_domain_and_follows_the_options(
    store: RedisStore, redis_url: str
) -> None:
    """A domain behind thousands of others is found, also where `--set` says which Redis."""
    one = ExitStats.from_labels([0, 1], exits=4)
    many = dict.fromkeys((f"d{number}" for number in range(6000)), one)
    store.apply([PartitionDeltas("t1", 0, 9, 10, {"zebra": one})])
    time.sleep(0.002)
    names = list(many)
    for first in range(0, 6000, 1000):
        part = dict.fromkeys(names[first : first + 1000], one)
        store.apply([PartitionDeltas("t1", 0, 10 + first, 11 + first, part)])
    assert complete("offramp policy show z", {"OFFRAMP_REDIS__URL": redis_url}) == ["zebra"]
    words = f"offramp policy show --set redis.url={redis_url} z"
    assert complete(words, {"OFFRAMP_REDIS__URL": "redis://127.0.0.1:1"}) == ["zebra"]
