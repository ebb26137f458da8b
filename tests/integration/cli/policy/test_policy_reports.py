"""`offramp policy list`, `show`, `explain` and `history` report what a Redis holds."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from policy_state.algorithms.base import build
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin
from policy_state.store.redis.store import RedisStore
from tests.support.policies.shown import META, count, stats
from tests.support.policy_cli import data


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
    played = Counter(policy.decide(new.stats, 100, pool=pool).exits).most_common(1)[0][0]
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
