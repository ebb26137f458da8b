"""`benchmarks.scale`: simulated fleets and autoscaling, against what can be worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling.autoscaler import CHART, Pods, Rules, loads, scaled
from benchmarks.scaling.fleet import Pace, simulate
from consumer.sizing import redis_load as load
from consumer.sizing.measured import Measured, Times
from consumer.sizing.plan import PLUMBING_BATCH_S, PLUMBING_TEXT_S, Wanted, plan

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "scale.json"
SLOW = Pace(compute_s=(0.09, 0.001), prepare_s=(0, 0), commit_s=0.01, apply_s=0.001, max_events=10)


def test_a_worker_is_as_fast_as_its_slowest_step() -> None:
    """10 texts in 0.1 s of computing; then in 0.2 s of committing, and of preparing."""
    assert simulate(SLOW, 1, seconds=60).texts_per_s == pytest.approx(100, rel=0.02)
    committing = replace(SLOW, commit_s=0.2 - SLOW.apply_s)
    assert simulate(committing, 1, seconds=60).texts_per_s == pytest.approx(50, rel=0.03)
    preparing = replace(SLOW, prepare_s=(0.1, 0.01))
    assert simulate(preparing, 1, seconds=60).texts_per_s == pytest.approx(50, rel=0.02)


def test_workers_add_up_until_redis_is_busy() -> None:
    """4 workers do four times as much; of 20, Redis lets 100 batches a second pass."""
    assert simulate(SLOW, 4, seconds=60).texts_per_s == pytest.approx(400, rel=0.02)
    full = simulate(replace(SLOW, apply_s=0.01), 20, seconds=60)
    assert full.texts_per_s == pytest.approx(1000, rel=0.02)
    assert full.redis_busy > 0.98


def test_even_events_wait_for_their_batch_and_its_way() -> None:
    """20 texts/s in 50 ms are one a batch, and take 50 + 91 + 11 ms; 200/s do not fit."""
    found = simulate(SLOW, 1, seconds=120, events_per_s=9)
    assert found.texts_per_s == pytest.approx(9, rel=0.02)
    assert found.batch == pytest.approx(1)
    assert found.latency_p50_s == pytest.approx(0.05 + 0.091 + 0.011, rel=0.01)
    late = simulate(SLOW, 1, seconds=120, events_per_s=200)
    assert late.texts_per_s == pytest.approx(100, rel=0.02)
    assert late.latency_p99_s > 10


def test_counters_are_behind_by_what_is_under_way() -> None:
    """A worker with a backlog decides on a batch while the one before it commits."""
    alone = simulate(SLOW, 1, seconds=60)
    assert 0 < alone.age_s < 0.1
    assert 0 < alone.unseen <= 2 * SLOW.max_events
    many = simulate(SLOW, 8, seconds=60)
    assert many.unseen > 4 * alone.unseen


def test_the_chart_holds_a_steady_load_and_lag_alone_does_not() -> None:
    """Seven pods' worth of texts run on ten, at 70 %, and never wait; lag begins to swing."""
    load, pods = loads(200)["steady"], Pods(200)
    chart = scaled(load, CHART, pods, seconds=7200)
    assert (chart.turns_per_hour, chart.worst_wait_s) == (0, 0)
    assert chart.pod_hours == pytest.approx(20, rel=0.01)
    lag = scaled(load, Rules(backlog_s=None, busy=None), pods, seconds=7200)
    assert lag.turns_per_hour > 2
    assert lag.worst_wait_s > 30


def test_pods_are_added_at_most_twice_as_many_a_minute_and_leave_one_by_one() -> None:
    """From 2 to 40 takes more than four minutes of growing; back again most of an hour."""
    pods = Pods(100, start_s=0, pause_s=0)

    def load(second: int) -> float:
        return 2800 if 600 <= second < 4200 else 100

    up = scaled(load, CHART, pods, seconds=840)  # 240 s later: 2, 4, 8, 16
    assert up.worst_wait_s > 60
    whole = scaled(load, CHART, pods, seconds=8400)
    assert whole.turns_per_hour == pytest.approx(3600 / 8400)
    assert whole.pod_hours > whole.pod_hours_needed * 1.2
    quick = scaled(load, replace(CHART, calm_s=0), pods, seconds=8400)
    assert quick.pod_hours < whole.pod_hours


@pytest.mark.parametrize("used", [0.05, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("wait_s", [0.01, 0.05, 0.5])
def test_a_plan_promises_no_less_latency_than_a_simulated_fleet_has(
    used: float, wait_s: float
) -> None:
    """The slowest text in a hundred takes no longer, and not much less unless batches are full."""
    times = Times(0.9e-3, 100e-6, 100e-6)
    measured = Measured(
        machine="m", device="cuda", cores=1, precision="bf16", fingerprint="f", layers=(1,),
        tokens=50, tokenise_s=20e-6, tokenise_cpu_s=20e-6, exits=(times,),
    )  # fmt: skip
    asked = Wanted(events_per_s=1, shares=(1.0,), utilisation=used, max_wait_s=wait_s)
    rate = 2 * used * plan(measured, asked).texts_per_s * 0.999
    found = plan(measured, replace(asked, events_per_s=rate))
    assert (found.machines, found.workers) == (2, 2)
    pace = Pace(
        compute_s=(times.batch_s, times.text_s),
        prepare_s=(PLUMBING_BATCH_S, PLUMBING_TEXT_S + 20e-6),
        commit_s=asked.commit_s,
        apply_s=1e-6,
        max_wait_s=wait_s,
    )
    told = simulate(pace, 2, seconds=20, events_per_s=rate)
    assert told.texts_per_s == pytest.approx(rate, rel=0.02)
    assert told.latency_p99_s < found.latency_s
    if told.batch < asked.max_events - 1:
        assert told.latency_p99_s > 0.5 * found.latency_s


def test_what_a_plan_takes_for_measured_is_what_was_measured() -> None:
    """The costs of Redis in `offramp plan` are those of the committed report, within a quarter."""
    report = json.loads(RESULTS.read_text())
    goals = {goal["name"]: goal for goal in report["goals"]}
    of_a_plan = [goal for name, goal in goals.items() if "of a plan" in name]
    assert len(of_a_plan) == 3
    assert all(goal["met"] for goal in of_a_plan)
    (costs,) = (t for t in report["tables"] if t["title"].startswith("What a counted batch"))
    for exits, domains, _, planned_us, size in costs["rows"]:
        assert planned_us == round(1e6 * (load.APPLY_S + load.APPLY_COUNTER_S * domains * exits))
        planned_bytes = load.APPLY_BYTES + load.APPLY_COUNTER_BYTES * domains * exits
        assert size < 2 * planned_bytes
