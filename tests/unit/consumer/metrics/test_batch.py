"""What a batch adds is what a plain count of its texts says."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.record import BatchOutcome, DeadLetter, Event, Prediction, Record
from consumer.metrics import catalogue as m
from consumer.metrics.batch import add_batch, seen
from consumer.metrics.tally import Tally

LAYERS = (1, 3, 7, 12)
NOW = 1_000_000.0
LABELS = st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)
TEXTS = st.lists(
    st.tuples(st.sampled_from("abc"), LABELS, st.none() | st.integers(0, 3), st.booleans()),
    max_size=20,
)


def batch(texts, bad):
    """Return records and what became of them: predictions, and `bad` dead letters."""
    records = [Record("t", 0, i, 0, None, b"") for i in range(len(texts) + bad)]
    predictions = tuple(
        Prediction(Event(record, "e", "", domain, 0, "out"), labels[-1], "x", 0.5,
                   len(labels) - 1, LAYERS[len(labels) - 1], labels, truncated, "m",
                   chosen_exit=chosen)
        for record, (domain, labels, chosen, truncated) in zip(records, texts, strict=False)
    )  # fmt: skip
    letters = tuple(DeadLetter(record, "parse", "bad", "") for record in records[len(texts) :])
    return records, BatchOutcome(predictions, letters)


def tally(records, outcome, processing_s=0.5):
    """Return what a batch adds."""
    found = Tally()
    facts = seen(
        records,
        outcome,
        truncated=sum(prediction.truncated for prediction in outcome.predictions),
        stages_s={"infer": 0.25},
        taken_at=NOW,
        processing_s=processing_s,
        domains=frozenset("a"),
    )
    add_batch(found, facts, LAYERS)
    return found


@given(TEXTS, st.integers(0, 3))
def test_texts_are_counted_as_one_by_one(texts, bad):
    """Exits, layers, labels that changed, holdout and gate; only an allowed domain is named."""
    found = tally(*batch(texts, bad)).sums
    expected: Counter[m.Key] = Counter()
    for domain, labels, chosen, truncated in texts:
        named, last = domain if domain == "a" else "", len(labels) - 1
        expected[m.RECORDS.name, ("predicted",)] += 1
        expected[m.TEXTS.name, (named, str(last))] += 1
        expected[m.LAYERS.name, (named,)] += LAYERS[last]
        expected[m.FULL_LAYERS.name, (named,)] += 12
        expected[m.TRUNCATED.name, ()] += truncated
        for exit_, label in enumerate(labels):
            expected[m.OBSERVED.name, (str(exit_),)] += 1
            expected[m.DISAGREED.name, (str(exit_),)] += label != labels[0]
        if chosen is not None:
            expected[m.GATED.name, ()] += chosen > last
            expected[m.HOLDOUT.name, ()] += chosen <= last
            expected[m.HOLDOUT_AGREED.name, ()] += chosen <= last and labels[chosen] == labels[-1]
    expected[m.RECORDS.name, ("dead_letter",)] += bad
    expected[m.DEAD_LETTERS.name, ("parse", "bad")] += bad
    assert found == {key: count for key, count in expected.items() if count}


def test_what_is_left_out_is_skipped():
    """A record that is neither predicted nor a dead letter was skipped, as the settings say."""
    records, outcome = batch([("a", (0,), None, False)], 0)
    more = [*records, Record("t", 0, 9, 0, None, b"")]
    assert tally(more, outcome).sums[m.RECORDS.name, ("skipped",)] == 1


@given(st.lists(st.integers(-10_000, 10**7), min_size=1), st.floats(0, 100))
def test_latencies_are_of_records_with_a_timestamp_and_never_negative(ages_ms, processing_s):
    """A record of the future waited for 0 s, and one without a timestamp is left out."""
    stamps = [1000 * int(NOW) - age for age in ages_ms] + [-1]
    records = [Record("t", 0, i, stamp, None, b"") for i, stamp in enumerate(stamps)]
    found = tally(records, BatchOutcome((), ()), processing_s=processing_s)
    waits_s = [max(0, age) / 1000 for age in ages_ms]
    for metric, more_s in ((m.QUEUEING, 0.0), (m.END_TO_END, processing_s)):
        spread = found.spreads[metric.name, ()]
        assert sum(spread.counts.values()) == len(ages_ms)
        assert spread.total == pytest.approx(sum(waits_s) + more_s * len(ages_ms), abs=1e-3)
        for bucket, bound in enumerate(metric.buckets):
            upto = sum(count for number, count in spread.counts.items() if number <= bucket)
            least = sum(wait + more_s <= bound - 1e-6 for wait in waits_s)
            assert least <= upto <= sum(wait + more_s <= bound + 1e-6 for wait in waits_s)
    processing = found.spreads[m.PROCESSING.name, ()]
    assert sum(processing.counts.values()) == len(records)
