"""Tables on a terminal of 80 columns: no number, time or heading is broken."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.topics import create_topics

WIDTH = 80
META = PolicyMeta("default", "f1", tuple(range(1, 13)))
BUSY = ExitStats(
    (12_345_678, *(12_045_678,) * 11),
    (0, *(3_456_789,) * 11),
    (300_000, *(0,) * 10, 12_045_678),
    held=(0, 123, *(0,) * 10),
    parted=(0, 12, *(0,) * 10),
    confidence=(0,) * 11 + (11_000_000_000,),
)
LONG = "electronics-and-more-things-of-that-kind"
WORKER: dict[str, str | int] = {
    "group": "offramp",
    "model": "3f0c9b1de8a24c57",
    "pid": 1_234_567,
    "started": 1_790_000_000,
    "partitions": "texts.films[0],texts.films[1],texts.hotels[0]",
    "routes": "redis@4",
    "held_texts": 1_234,
    "lost_texts": 0,
    "gap_offsets": 12,
    "snapshot_age_ms": 25,
    "events": 123_456_789,
    "dead_letters": 1_212,
    "batches": 456_789,
}


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store with busy domains of long names, and busy workers."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        opened.apply([PartitionDeltas("t1", 0, 0, 1, {"hotels": BUSY, LONG: BUSY})])
        opened.change("hotels", Pin(2), by="anna", reason="incident 12")
        opened.change("hotels", Freeze(), by="anna", reason="labels are being checked")
        for number in (1, 2):
            opened.heartbeat(f"offramp-worker-6d4cf56db6-{number}", WORKER, ttl_s=60)
        yield opened


def offramp(width: int, environ: dict[str, str], *args: str) -> tuple[list[str], str]:
    """Return the lines that a command prints on a terminal so wide, and what stderr says."""
    done = subprocess.run(
        [sys.executable, "-m", "consumer", *args],
        env={**os.environ, **environ, "COLUMNS": str(width)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def rows_below(lines: list[str], heading: str) -> list[list[str]]:
    """Return the words of the lines below the one with all the words of a heading."""
    (at,) = (i for i, line in enumerate(lines) if set(heading.split()) <= set(line.split()))
    assert all(len(line) <= WIDTH for line in lines[at:]), lines
    return [line.split() for line in lines[at + 1 :]]


def test_list_keeps_its_numbers(store: RedisStore, redis_url: str) -> None:
    """What the holdout shows comes first; exit and flags stay; what has no room is named."""
    environ = {"OFFRAMP_REDIS__URL": redis_url}
    lines, said = offramp(WIDTH, environ, "policy", "list")
    heading = "domain saved full depth holdout texts exit flags text"  # last is above
    first, *others = rows_below(lines, heading)
    (at,) = (i for i, words in enumerate(others) if LONG.startswith(words[0]))
    second, folded = others[at], others[at + 1 :]
    measured = ["83.3%", "±2.9", "90.2%", "±6.5", "123", "12345678"]
    assert first[:9] == ["hotels", *measured, "2", "pinned"]  # frozen is below
    assert second[1:8] == [*measured, "0"]
    name = [second[0], *(word for line in folded for word in line if word != "ago")]
    assert "".join(name) == LONG
    assert said.splitlines()[-1] == ("no room on this terminal for: texts per exit, differs, layer")
    wide, said = offramp(250, environ, "policy", "list")
    assert "300000 0 0 0 0 0 0 0 0 0 0 12045678" in "\n".join(wide)
    assert said == ""


def test_show_has_one_line_an_exit(store: RedisStore, redis_url: str) -> None:
    """Twelve exits are twelve lines, interval and all."""
    environ = {"OFFRAMP_REDIS__URL": redis_url}
    lines, said = offramp(WIDTH, environ, "policy", "show", "hotels")
    rows = rows_below(lines, "exit layer stopped ran differs 95 % reward most flags")
    assert [row[0] for row in rows] == list(map(str, range(12)))
    assert rows[0][:6] == ["0", "1", "300000", "12345678", "0.0%", "0.0..0.0%"]
    assert rows[11][:6] == ["11", "12", "12045678", "12045678", "28.7%", "28.7..28.7%"]
    assert (rows[0][-1], rows[2][-1]) == ("best", "pinned")
    assert said.splitlines()[-1] == "no room on this terminal for: share, bonus, cost"


def test_show_of_a_calibrated_model_has_one_line_an_exit(redis_url: str) -> None:
    """Worth and accuracy have room beside the counts."""
    with RedisStore(redis_url) as store:
        store.open(replace(META, name="sure", fingerprint="f2", calibrated=True))
        store.apply([PartitionDeltas("t1", 0, 0, 1, {"hotels": BUSY})])
    environ = {"OFFRAMP_REDIS__URL": redis_url, "OFFRAMP_POLICY__NAME": "sure"}
    lines, said = offramp(WIDTH, environ, "policy", "show", "hotels")
    rows = rows_below(lines, "exit layer stopped ran reward most worth accuracy flags")
    assert [row[0] for row in rows] == list(map(str, range(12)))
    assert "91.3% ±0.0" in lines[-1]
    assert "bonus, cost, 95 %, differs" in said


def test_workers_keep_their_counts(store: RedisStore, redis_url: str) -> None:
    """What a worker did and holds is whole; what it said once at the start has no room."""
    environ = {"OFFRAMP_REDIS__URL": redis_url}
    lines, said = offramp(WIDTH, environ, "policy", "workers")
    rows = rows_below(lines, "instance events dead_letters held_texts")
    assert len([row for row in rows if row[-3:] == ["123456789", "1212", "1234"]]) == 2
    assert "started, pid, model" in said


def test_history_keeps_its_times(store: RedisStore, redis_url: str) -> None:
    """A time is on one line, before what happened then."""
    environ = {"OFFRAMP_REDIS__URL": redis_url}
    for command in (["history", "hotels"], ["audit"]):
        lines, _ = offramp(WIDTH, environ, "policy", *command)
        whole = [line for line in lines[1:] if time.strftime("%Y-") in line]
        assert [line.split()[2] for line in whole[:2]] == ["freeze", "pin"]


def test_topics_and_routes_keep_their_numbers(redis_url: str, kafka: str) -> None:
    """Partitions, lag and cost weight are whole beside names that have to be folded."""
    prefix = f"reviews-of-last-week.n{time.time_ns()}"
    environ = {
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_KAFKA__GROUP": prefix,
    }
    create_topics(kafka, {f"{prefix}.{LONG}": 12})
    route = [
        "--domain",
        "topic",
        "--to",
        f"{prefix}-out",
        "--cost-weight",
        "0.125",
        "--create",
        "--yes",
    ]
    pattern = prefix.replace(".", r"\.") + r"\.(?P<domain>.+)"
    offramp(WIDTH, environ, "route", "add", pattern, *route, "--create", "--yes")
    lines, _ = offramp(WIDTH, environ, "route", "list")
    rows = rows_below(lines, "name topics domain output cost_weight gate")
    assert any("0.125" in row for row in rows)
    lines, _ = offramp(WIDTH, environ, "topics", "list")
    rows = rows_below(lines, "topic role partitions lag route domain")
    assert ["input", "12", "0"] in [row[1:4] for row in rows]  # beside those of other tests
