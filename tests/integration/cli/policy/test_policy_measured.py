"""`offramp policy list`, `show` and `explain` of a calibrated model, and what its holdout shows."""

from dataclasses import replace
from typing import Any

import pytest

from policy_state.algorithms.settings import PolicySettings
from policy_state.stats import ExitStats
from policy_state.store.admin import Pin
from policy_state.store.redis.store import RedisStore
from tests.support.policies.shown import META, count
from tests.support.policy_cli import data, offramp_policy

CALIBRATED = replace(META, settings=PolicySettings(), calibrated=True)
ROWS = [(0, 1, 1, 1), (1, 1, 1, 1), (0, 1, 1, 0), (1, 1, 1, 1)]
STATS = ExitStats.from_texts(
    ROWS * 500,
    exits=4,
    credits=[(0, 400, 0, 0), (0, 0, 0, 0), (0, 600, 0, 100), (0, 0, 0, 0)] * 500,
    scores=[(600, 700, 800, 900)] * 2000,
    chosen=[1, *[None] * 3] * 250 + [1, None, 1, None] * 250,
)


@pytest.fixture
def offramp(redis_url: str) -> Any:
    """Return a function that runs `offramp policy` on a domain of a calibrated model."""
    with RedisStore(redis_url) as store:
        store.open(CALIBRATED)
        quiet = ExitStats.from_texts(ROWS, exits=4)
        count(store, {"hotels": STATS, "new": quiet})
    return offramp_policy(redis_url)


def test_list_says_first_what_the_holdout_shows(offramp: Any) -> None:
    """Layers saved and labels as at full depth, with their doubt, in the table and in JSON."""
    heading, hotels, new = offramp("list").stdout.splitlines()
    assert heading.split()[:5] == ["domain", "saved", "full", "depth", "holdout"]
    assert hotels.split()[:6] == ["hotels", "75.0%", "±0.4", "66.7%", "±3.5", "750"]
    assert new.split()[:4] == ["new", "0.0%", "-", "0"]
    by_name = {row["domain"]: row for row in data(offramp("list", "-o", "json"))["domains"]}
    held = by_name["hotels"]["holdout"]
    assert held["agreement"]["share"] == pytest.approx(2 / 3)
    assert held["agreement"]["low"] < 2 / 3 < held["agreement"]["high"]
    assert (held["layers_saved"]["share"], held["layers_saved"]["texts"]) == (0.75, 750)
    assert by_name["new"]["holdout"] is None
    assert by_name["hotels"]["layers_saved"] == 0  # counted over all texts, which all ran deep


def test_show_has_what_a_change_is_worth_and_how_often_exits_are_right(offramp: Any) -> None:
    """On top the holdout; then worth and estimated accuracy of each exit, with its interval."""
    table = offramp("show", "hotels").stdout
    assert "holdout of 750 texts: saved 75.0% (±0.4) of layers, 66.7% as full depth (±3.5)" in table
    heading = next(line for line in table.splitlines() if line.startswith("exit"))
    assert heading.split()[-3:] == ["worth", "accuracy", "flags"]
    shown = data(offramp("show", "hotels", "-o", "json"))
    assert shown["calibrated"] is True
    assert [row["worth"] for row in shown["exits"]] == [None, pytest.approx(0.5), None, 0.1]
    accuracy = shown["exits"][3]["accuracy"]
    assert accuracy["share"] == pytest.approx(0.9)
    assert accuracy["low"] < accuracy["share"] < accuracy["high"]
    assert f"{accuracy['share']:.1%} ±" in table
    assert "not calibrated" not in table


def test_explain_says_what_steps_are_worth(offramp: Any) -> None:
    """In place of disagreement, with the holdout and the estimate of accuracy."""
    text = " ".join(offramp("explain", "hotels").stdout.split())
    for words in (
        "It saves about 25.0 errors in 100 texts and costs as much as 1.7 errors in 100 texts.",
        "The step to exit 1 (layer 3) changes 50.0% of labels. A change saves 0.50 errors",
        "The step to exit 2 (layer 7) changes 0.0% of labels. It costs as much as 3.3 errors",
        "The holdout has 750 texts that ran to the last exit only to measure.",
        "If the texts are unlike those of the calibration, this estimate is too high.",
    ):
        assert words in text
    assert "Dominance" not in text


def test_a_gate_is_set_and_said_to_be_closed_or_open(offramp: Any) -> None:
    """By `set`; then `show` and `explain` say whether texts of the domain may stop sooner, and why.

    A quarter of the texts of hotels say at exit 2, with a score of 0.8, what exit 3 does not.
    """
    offramp("set", "gate=0.99", "--yes")
    assert "closed until 200 texts have stopped at exit 1" in offramp("explain", "hotels").stdout
    offramp("pin", "hotels", "--exit", "3", "--reason", "to see its gate", "--yes")
    assert "Its gate is open: texts stop before exit 3 at a score of 0.83" in (
        " ".join(offramp("explain", "hotels").stdout.split())
    )
    assert "Its gate is" in offramp("show", "new").stdout
    shown = data(offramp("show", "hotels", "-o", "json"))["gate"]
    assert (shown["promise"], shown["threshold"], shown["exit"]) == (0.99, 830, 3)
    for wrong in ("1", "0.3", "on"):
        offramp("set", f"gate={wrong}", "--yes", code=1)
    offramp("set", "gate=0", "--yes")
    assert data(offramp("show", "hotels", "-o", "json"))["gate"] is None


def test_a_gate_is_judged_by_the_promise_of_its_route(redis_url: str, offramp: Any) -> None:
    """In `list`, `show`, `explain` and `doctor`, whether the policy has a gate or none."""
    stats = ExitStats.from_texts(
        [(0, 0, 0, 1), *[(1, 1, 1, 1)] * 39] * 10,
        exits=4,
        credits=[(0, 0, 0, 900), *[(0,) * 4] * 39] * 10,
        scores=[(999,) * 4] * 400,
    )
    met = replace(ExitStats.zeros(4), gated=(50, 0, 0, 0))
    with RedisStore(redis_url) as store:
        store.open(CALIBRATED)
        count(store, {"films": stats + met})
        for name in ("films", "hotels"):
            store.change(name, Pin(3), by="anna", reason="")
        routes = [
            {"name": name, "topics": rf"{name}\.(?P<domain>{name})", "output": "o", "gate": gate}
            for name, gate in (("films", 0.98), ("hotels", 0.0))
        ]
        signed = {"by": "anna", "reason": ""}
        store.write_routes("offramp", routes, revision=0, action="a", detail={}, **signed)
    for policy in ("0", "0.9"):
        offramp("set", f"gate={policy}", "--yes")
        rows = {row["domain"]: row for row in data(offramp("list", "-o", "json"))["domains"]}
        assert (rows["films"]["gate"]["promise"], rows["hotels"]["gate"]) == (0.98, None)
        assert (rows["new"]["gate"] is None) == (policy == "0")
        assert "gate-broken" in offramp("list").stdout
        assert data(offramp("show", "films", "-o", "json"))["gate"]["threshold"] == 0
        assert "keep the promise of 0.98" in " ".join(offramp("explain", "films").stdout.split())
        found = data(offramp("doctor", "--no-log", "-o", "json"))["findings"]
        assert [row["subject"] for row in found if row["check"] == "gate"] == ["films"]


def test_a_gate_without_a_calibration_is_refused(redis_url: str) -> None:
    """The error names the command that calibrates."""
    with RedisStore(redis_url) as store:
        store.open(replace(CALIBRATED, name="bare", calibrated=False))
    refused = offramp_policy(redis_url)("set", "gate=0.99", "--policy", "bare", "--yes", code=1)
    assert "offramp model calibrate" in str(refused.exception)


def test_without_a_calibration_its_cost_is_told(redis_url: str) -> None:
    """One line in `show` and in `explain`; no columns that nothing is known for."""
    with RedisStore(redis_url) as store:
        store.open(replace(CALIBRATED, name="bare", calibrated=False))
        count(store, {"hotels": ExitStats.from_texts(ROWS * 50, exits=4)})
    offramp = offramp_policy(redis_url)
    for command in ("show", "explain"):
        said = offramp(command, "hotels", "--policy", "bare").stdout
        assert said.count("The model is not calibrated, so every change of label counts") == 1
    assert "accuracy" not in offramp("show", "hotels", "--policy", "bare").stdout
