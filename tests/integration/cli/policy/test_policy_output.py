"""How `offramp policy` prints: CSV headers, hostile names, completion, `--watch`, workers."""

import os
import subprocess
import sys
from typing import Any

import pytest

from policy_state.store.admin import Freeze, Pin
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PolicyMeta
from tests.support.policies.shown import count, stats
from tests.support.policy_cli import data
from tests.support.waiting import wait_for_output

HOSTILE = ["旅館 🏨", "=1+1", "a b'; rm -rf / #", "$(reboot)", "[red]x[/red]", "x\u0301\u200b"]


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
