"""The arithmetic of `offramp plan`: worked examples, and what must hold whatever is asked for."""

import math
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import InvalidSettings
from consumer.sizing.measured import Measured, Times
from consumer.sizing.plan import Wanted, plan
from consumer.sizing.redis_load import redis_load

CPU = Measured(
    machine="2 cores, x86_64",
    device="cpu",
    cores=2,
    precision="bf16",
    fingerprint="f",
    layers=(1, 12),
    tokens=32,
    tokenise_s=0.0,
    tokenise_cpu_s=0.0,
    exits=(Times(0, 0.0001, 0.0002), Times(0, 0.001, 0.002)),
)
GPU = replace(
    CPU,
    machine="a GPU",
    device="cuda",
    cores=16,
    tokenise_s=20e-6,
    tokenise_cpu_s=40e-6,
    exits=(Times(0.001, 2e-6, 2e-6), Times(0, 10e-6, 10e-6)),
)
LAST = Wanted(events_per_s=1000, shares=(0, 1))


def test_machines_without_a_gpu_are_limited_by_their_cores() -> None:
    """2 cores, and 2 ms of CPU + 20 us + 5.8 ms / 100 a text: 962 texts/s; half of it is used."""
    found = plan(CPU, replace(LAST, utilisation=0.5, max_events=100))
    assert found.texts_per_s == pytest.approx(2 / (0.002 + 20e-6 + 58e-6))
    assert found.limited_by == "the cores"
    assert (found.machines, found.processes, found.workers, found.partitions) == (3, 1, 3, 6)
    assert found.gpus == 0
    assert found.utilisation == pytest.approx(1000 / 3 / found.texts_per_s)
    assert found.price_per_hour is None
    assert found.price_per_million is None


def test_a_gpu_is_filled_by_several_processes() -> None:
    """100,000 texts/s need 7 processes of 1 / 62.7 us; 6 would reach less than 98 %."""
    found = plan(GPU, replace(LAST, events_per_s=500_000, price_per_hour=2.5))
    assert found.texts_per_s == pytest.approx(100_000)
    assert found.limited_by == "the model"
    assert (found.machines, found.processes, found.gpus) == (8, 7, 8)
    assert (found.workers, found.partitions) == (56, 112)
    assert found.price_per_hour == 20
    assert found.price_per_million == pytest.approx(20 / 3600 / 0.5)


def test_a_mixture_costs_its_shares_and_the_fixed_part_of_its_deepest_exit() -> None:
    """Half at 2 us, half at 10 us; a batch costs the 1 ms of the exit that has it."""
    assert astuple(GPU.mixed((0.5, 0.5))) == pytest.approx((0.001, 6e-6, 6e-6))
    assert GPU.mixed((0, 1)).batch_s == 0


def test_latency_is_waiting_computing_and_committing() -> None:
    """10 texts/s wait 50 ms, prepare in 5.82 ms, compute in 1 ms, queue and commit in 15 ms."""
    found = plan(CPU, replace(LAST, events_per_s=10))
    queue_s = 0.15 / (2 * 0.85) * 0.015
    assert found.batch == 1
    assert found.latency_s == pytest.approx(0.05 + 0.00582 + 0.001 + queue_s + 0.015)


def test_machines_are_added_until_texts_are_answered_in_time() -> None:
    """One machine fewer would be too slow; what no number can reach is an error with a cure."""
    slow = plan(CPU, LAST)
    limit_s = slow.latency_s * 0.9
    quick = plan(CPU, replace(LAST, latency_s=limit_s))
    assert quick.machines > slow.machines
    assert quick.latency_s <= limit_s
    assert plan(CPU, replace(LAST, latency_s=quick.latency_s)).machines == quick.machines
    assert quick.utilisation < slow.utilisation
    with pytest.raises(InvalidSettings, match=r"^a latency of 60 ms cannot be reached: even one"):
        plan(CPU, replace(LAST, latency_s=0.06))
    assert plan(CPU, replace(LAST, latency_s=0.06, max_wait_s=0.01)).latency_s <= 0.06


def test_redis_is_charged_for_batches_and_for_workers() -> None:
    """10 workers, 100 batches/s of 1 domain with 4 exits: 100 + 10 x (4 + 0.1 x 10) commands/s."""
    load = redis_load(10, batches_per_s=100, batch=256, domains=1, exits=4)
    assert load.commands_per_s == pytest.approx(150)
    assert load.bytes_per_s == pytest.approx(100 * (750 + 4 * 225))
    idle = 40 * 33e-6 + 10 * 15e-6
    assert load.busy == pytest.approx(100 * (210e-6 + 4 * 23e-6) + idle)
    assert load.memory_bytes == 4 * 157
    many = redis_load(10, batches_per_s=100, batch=2, domains=10**6, exits=4)
    assert many.busy == pytest.approx(
        100 * (210e-6 + 2 * 4 * 23e-6) + 40 * 33e-6 + 10 * 15e-6, rel=1e-3
    )


WANTED = st.builds(
    Wanted,
    events_per_s=st.floats(0.1, 1e7),
    shares=st.floats(0, 1).map(lambda share: (share, 1 - share)),
    utilisation=st.floats(0.1, 1),
    domains=st.integers(1, 10**5),
    max_events=st.integers(1, 10_000),
    max_wait_s=st.floats(0, 10),
    price_per_hour=st.floats(0.01, 100),
    latency_s=st.none() | st.floats(12, 1000),
)
MACHINES = st.sampled_from([CPU, GPU])


@given(MACHINES, WANTED, st.floats(1, 100))
def test_more_events_never_need_fewer_machines(
    measured: Measured, wanted: Wanted, times: float
) -> None:
    """And no machine is used beyond what was asked for."""
    less = plan(measured, wanted)
    more = plan(measured, replace(wanted, events_per_s=wanted.events_per_s * times))
    assert more.machines >= less.machines
    assert less.utilisation <= wanted.utilisation * (1 + 1e-9)
    assert 1 <= less.batch <= wanted.max_events
    assert less.partitions == 2 * less.machines * less.processes


@given(WANTED)
def test_deeper_texts_never_need_fewer_machines(wanted: Wanted) -> None:
    """All texts at the last exit need at least as many machines as any mixture of exits."""
    found = plan(CPU, replace(wanted, latency_s=None))
    deep = plan(CPU, replace(wanted, latency_s=None, shares=(0, 1)))
    assert deep.machines >= found.machines


@given(MACHINES, WANTED, st.floats(12, 1000))
def test_less_patience_never_needs_fewer_machines(
    measured: Measured, wanted: Wanted, limit_s: float
) -> None:
    """A limit is kept, and costs machines or nothing."""
    free = plan(measured, replace(wanted, latency_s=None))
    bound = plan(measured, replace(wanted, latency_s=limit_s))
    assert bound.machines >= free.machines
    assert bound.latency_s <= limit_s
    assert math.isfinite(bound.redis.busy)
