"""Predicted texts of two partitions, and the counters that they make."""

from random import Random

from policy_state.health.rebuild import PredictedText
from policy_state.stats import ExitStats
from policy_state.store.admin import PolicyAdmin
from tests.support.policies.counted import part


def texts(count: int, *, seed: int = 0) -> list[PredictedText]:
    """Return texts of two partitions; every seventh offset holds none."""
    rng = Random(seed)
    return [
        PredictedText(
            "t1",
            offset % 2,
            offset // 2,
            rng.choice(["hotels", "books", "旅館"]),
            tuple(rng.randrange(2) for _ in range(rng.randrange(1, 5))),
        )
        for offset in range(count)
        if offset % 7
    ]


def sums(of: list[PredictedText]) -> dict[str, ExitStats]:
    """Return the counters that texts make."""
    made: dict[str, ExitStats] = {}
    for text in of:
        one = ExitStats.from_labels(text.exit_labels, exits=4)
        made[text.domain] = made[text.domain] + one if text.domain in made else one
    return made


def held(store: PolicyAdmin) -> dict[str, ExitStats]:
    """Return the counters of all domains."""
    return {name: record.stats for name, record in store.read(store.domains()).items()}


def count(store: PolicyAdmin, some: list[PredictedText], first: int, upto: int) -> None:
    """Count the texts of both partitions with offsets from `first` to below `upto`."""
    for partition in (0, 1):
        mine = [t for t in some if t.partition == partition and first <= t.offset < upto]
        store.apply([part(first, upto, sums(mine), partition)])
