"""What is counted of predictions live, and what is counted of them when they are read again."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consumer.events.predictions import encode_prediction
from consumer.events.record import Prediction
from consumer.learning.counter import Counting
from consumer.learning.prediction_log import predicted_text
from policy_state.contradictions import contradictions
from policy_state.health.rebuild import rebuild
from policy_state.stats import ExitStats
from policy_state.store.values import PolicyMeta
from tests.support.memory.store import MemoryStore
from tests.support.policies.written import prediction, predictions

META = PolicyMeta(name="default", fingerprint="abc", layers=(1, 3, 7, 12), calibrated=True)
IDS = {"texts.films": "i1"}


def placed(offset: int, domain: str, text: Prediction) -> Prediction:
    """Return the prediction of the text at an offset."""
    event = text.event
    record = event.record._replace(offset=offset, topic_id="i1")
    return text._replace(event=event._replace(record=record, domain=domain))


def held(store: MemoryStore) -> dict[str, ExitStats]:
    """Return the counters of all domains."""
    return {name: found.stats for name, found in store.read(store.domains()).items()}


def counted_live(texts: list[Prediction]) -> dict[str, ExitStats]:
    """Return the counters that a worker makes of them, in batches."""
    store = MemoryStore()
    counting = Counting(store, store.open(META), by="w")
    for start in range(0, len(texts), 7):
        batch = texts[start : start + 7]
        counting.count([text.event.record for text in batch], batch, {})
        counting.committed()
    return held(store)


def counted_again(texts: list[Prediction]) -> dict[str, ExitStats]:
    """Return the counters that a rebuild makes of what is written of them."""
    store = MemoryStore()
    store.open(META)
    written = map(encode_prediction, texts)
    found = [
        text
        for value in written
        if (text := predicted_text(value, ids=IDS, fingerprint="abc", exits=4))
    ]
    done = rebuild(store, found, upto={("i1", 3): len(texts)})
    assert done.counted == len(texts)
    return held(store)


@given(st.lists(st.tuples(st.sampled_from("ab"), predictions()), min_size=1, max_size=60))
def test_a_rebuild_counts_exactly_what_was_counted_live(drawn):
    """Labels, credits, scores, holdout and gate enter the counters in one way, from either side."""
    texts = [placed(offset, domain, text) for offset, (domain, text) in enumerate(drawn)]
    live = counted_live(texts)
    assert live == counted_again(texts)
    assert not any(contradictions(stats) for stats in live.values())


def test_credits_scores_and_the_holdout_reach_the_counters():
    """One text that stopped early and two of the holdout, one of which was bound for the end."""
    first = prediction(exit_labels=(0, 1), exit_scores=(600, 900), exit_credits=(0, 150))
    far = {"exit_labels": (0, 1, 1, 1), "exit_scores": (700, 800, 900, 990)}
    deep = prediction(**far, exit_credits=(0, 500, 0, 0))
    texts = [first, deep._replace(chosen_exit=0), deep._replace(chosen_exit=3)]
    found = counted_live([placed(offset, "a", text) for offset, text in enumerate(texts)])["a"]
    assert found == replace(
        ExitStats.from_texts([(0, 1), (0, 1, 1, 1), (0, 1, 1, 1)], exits=4),
        credit=(0, 1150, 0, 0),
        squares=(0, 23 + 250 + 250, 0, 0),
        confidence=(2000, 2500, 1800, 1980),
        held=(1, 0, 0, 1),
        parted=(1, 0, 0, 0),
        misled_600=(0, 1, 0, 2),
        misled_650=(0, 0, 0, 2),
        misled_700=(0, 0, 0, 2),
    )
