"""The policy that tests of commands look at, and counters for its domains."""

from policy_state.algorithms.settings import PolicySettings
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta

META = PolicyMeta("default", "f1", (1, 3, 7, 12), PolicySettings("uee-ucb", cost="layers"))


def stats(texts: int, differing: float) -> ExitStats:
    """Return counters of texts that all went to the last exit; some differ from exit 1 on."""
    differ = int(texts * differing)
    return ExitStats((texts,) * 4, (0, differ, differ, differ), (0, 0, 0, texts))


def count(store: RedisStore, deltas: dict[str, ExitStats]) -> None:
    """Count texts after those counted so far."""
    mark = store.watermarks().get("t1/0")
    first = mark.upto if mark else 0
    store.apply([PartitionDeltas("t1", 0, first, first + 1, deltas)])
