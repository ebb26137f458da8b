"""What a committed batch adds to the figures."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.metrics import catalogue as m
from consumer.metrics.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.events.record import BatchOutcome, Prediction, Record
    from consumer.metrics.catalogue import Key, Metric

_Labels = tuple[int, ...]  # of the exits that a text computed

_NO_DOMAIN: Final = ""
_labels_of = attrgetter("exit_labels")
_written_ms = attrgetter("timestamp_ms")


class Seen(NamedTuple):
    """What the figures need of a committed batch: nothing that holds its records in memory."""

    records: int
    truncated: int
    labels: Mapping[str, Counter[_Labels]]  # by domain: how many texts have the same ones
    chosen: Sequence[tuple[_Labels, int]]  # of texts that ran to another exit than the chosen one
    letters: Sequence[tuple[str, str]]  # stage and class of each dead letter
    written_ms: list[int]  # the timestamps of the records in Kafka
    taken_at: float  # when the batch was taken, in seconds since 1970
    processing_s: float  # how long it took from then on
    stages_s: Mapping[str, float]


def seen(  # noqa: PLR0913  (the facts of a batch, by keyword)
    records: Sequence[Record],
    outcome: BatchOutcome,
    *,
    truncated: int,
    stages_s: Mapping[str, float],
    taken_at: float,
    processing_s: float,
    domains: frozenset[str],
) -> Seen:
    """Return what the figures need of a batch; only these domains are named."""
    predictions = outcome.predictions
    return Seen(
        len(records),
        truncated,
        _by_domain(predictions, domains),
        [(p.exit_labels, p.chosen_exit) for p in predictions if p.chosen_exit is not None],
        [(letter.stage, letter.error_class) for letter in outcome.dead_letters],
        sorted(map(_written_ms, records)),
        taken_at,
        processing_s,
        stages_s,
    )


def nothing_yet(domains: frozenset[str], exits: int) -> Tally:
    """Return zeros of the counters by domain and exit, so that a rate is right from the start."""
    named, numbers = (_NO_DOMAIN, *domains), [str(exit_) for exit_ in range(exits)]
    keys: list[Key] = [
        (metric.name, (at,)) for metric in (m.OBSERVED, m.DISAGREED) for at in numbers
    ]
    keys += [(metric.name, (name,)) for metric in (m.LAYERS, m.FULL_LAYERS) for name in named]
    keys += [(m.TEXTS.name, (name, at)) for name in named for at in numbers]
    return Tally(dict.fromkeys(keys, 0.0))


def add_batch(tally: Tally, batch: Seen, layers: Sequence[int]) -> None:
    """Add a batch to a tally; `layers` says the layer of each exit."""
    predicted = sum([count for alike in batch.labels.values() for count in alike.values()])
    letters = len(batch.letters)
    tally.add(m.RECORDS, predicted, "predicted")
    tally.add(m.RECORDS, letters, "dead_letter")
    tally.add(m.RECORDS, batch.records - predicted - letters, "skipped")
    tally.observe(m.BATCH_RECORDS, batch.records)
    for stage, spent_s in batch.stages_s.items():
        tally.observe(m.STAGE, spent_s, stage)
    for labels in batch.letters:
        tally.add(m.DEAD_LETTERS, 1, *labels)
    tally.add(m.TRUNCATED, batch.truncated)
    _add_latencies(tally, batch)
    _add_texts(tally, batch.labels, layers)
    _add_chosen(tally, batch.chosen)


def _add_latencies(tally: Tally, batch: Seen) -> None:
    """Add latencies: none of a record without a timestamp, and no wait of one of the future."""
    tally.observe(m.PROCESSING, batch.processing_s, times=batch.records)
    now_ms = round(1000 * batch.taken_at)
    stamps_ms = batch.written_ms
    if stamps_ms and stamps_ms[0] < 0:
        stamps_ms = stamps_ms[bisect_left(stamps_ms, 0) :]
    if stamps_ms and stamps_ms[-1] > now_ms:
        stamps_ms = [min(stamp, now_ms) for stamp in stamps_ms]
    if stamps_ms:
        sum_ms = sum(stamps_ms)
        _add_ages(tally, m.QUEUEING, stamps_ms, sum_ms, now_ms)
        _add_ages(tally, m.END_TO_END, stamps_ms, sum_ms, now_ms + 1000 * batch.processing_s)


def _add_ages(
    tally: Tally, metric: Metric, stamps_ms: list[int], sum_ms: int, until_ms: float
) -> None:
    """Add how old stamps are, which are in order; usually all fall into one bucket or two."""
    bounds, texts = metric.buckets, len(stamps_ms)
    first = bisect_left(bounds, (until_ms - stamps_ms[-1]) / 1000)
    last = bisect_left(bounds, (until_ms - stamps_ms[0]) / 1000)
    older = [bisect_left(stamps_ms, until_ms - 1000 * bound) for bound in bounds[first:last]]
    edges = pairwise([texts, *older, 0])
    counts = {bucket: upto - beyond for bucket, (upto, beyond) in enumerate(edges, first)}
    tally.spread((metric.name, ())).add(counts, (until_ms * texts - sum_ms) / 1000)


def _by_domain(
    predictions: Sequence[Prediction], domains: frozenset[str]
) -> dict[str, Counter[_Labels]]:
    """Return how many texts have the same labels, by the name that is reported of their domain."""
    if not domains:
        return {_NO_DOMAIN: Counter(map(_labels_of, predictions))}
    labels = defaultdict(list)
    for prediction in predictions:
        domain = prediction.event.domain
        labels[domain if domain in domains else _NO_DOMAIN].append(prediction.exit_labels)
    return {domain: Counter(found) for domain, found in labels.items()}


def _add_texts(
    tally: Tally, by_domain: Mapping[str, Counter[_Labels]], layers: Sequence[int]
) -> None:
    """Add where texts stopped, and how often exits named another label than the first one."""
    exits = range(len(layers))
    stopped, disagreed = [0] * len(layers), [0] * len(layers)
    for domain, alike in by_domain.items():
        here = [0] * len(layers)
        for labels, count in alike.items():
            here[len(labels) - 1] += count
            first = labels[0]
            if labels.count(first) < len(labels):
                for exit_, label in enumerate(labels):
                    if label != first:
                        disagreed[exit_] += count
        for exit_ in exits:
            tally.add(m.TEXTS, here[exit_], domain, str(exit_))
            stopped[exit_] += here[exit_]
        run = sum([count * layer for count, layer in zip(here, layers, strict=True)])
        tally.add(m.LAYERS, run, domain)
        tally.add(m.FULL_LAYERS, sum(here) * layers[-1], domain)
    reached = sum(stopped)
    for exit_ in exits:
        tally.add(m.OBSERVED, reached, str(exit_))
        tally.add(m.DISAGREED, disagreed[exit_], str(exit_))
        reached -= stopped[exit_]


def _add_chosen(tally: Tally, found: Sequence[tuple[_Labels, int]]) -> None:
    """Add the texts of the holdout, and those that a gate let stop."""
    for (labels, chosen), count in Counter(found).items():
        if chosen >= len(labels):
            tally.add(m.GATED, count)
        else:
            tally.add(m.HOLDOUT, count)
            tally.add(m.HOLDOUT_AGREED, count if labels[chosen] == labels[-1] else 0)
