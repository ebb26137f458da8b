"""What a committed batch adds to the figures."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from consumer.metrics import catalogue as m
from consumer.metrics.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.events.record import BatchOutcome, Prediction, Record
    from consumer.metrics.catalogue import Metric

_Kind = tuple[str, tuple[int, ...], int | None]  # domain, labels of exits, chosen exit

_NO_DOMAIN: Final = ""
_seen_of = attrgetter("exit_labels", "chosen_exit")
_written_ms = attrgetter("timestamp_ms")


def tally_of(  # noqa: PLR0913  (the facts of a batch, by keyword)
    records: Sequence[Record],
    outcome: BatchOutcome,
    *,
    seconds: Mapping[str, float],
    taken_at: float,
    processing_s: float,
    layers: Sequence[int],
    domains: frozenset[str],
) -> Tally:
    """Return what a batch adds.

    Args:
        records: all records of the batch.
        outcome: what became of them, as it was written.
        seconds: how long each stage took.
        taken_at: when the batch was taken, in seconds since 1970.
        processing_s: how long it took from then on.
        layers: the layer of each exit.
        domains: the domains that may be named.
    """
    tally = Tally()
    predictions, letters = outcome.predictions, outcome.dead_letters
    tally.add(m.RECORDS, len(predictions), "predicted")
    tally.add(m.RECORDS, len(letters), "dead_letter")
    tally.add(m.RECORDS, len(records) - len(predictions) - len(letters), "skipped")
    tally.observe(m.BATCH_RECORDS, len(records))
    for stage, spent_s in seconds.items():
        tally.observe(m.STAGE, spent_s, stage)
    _add_latencies(tally, records, taken_at, processing_s)
    for letter in letters:
        tally.add(m.DEAD_LETTERS, 1, letter.stage, letter.error_class)
    tally.add(m.TRUNCATED, sum([p.truncated for p in predictions]))
    _add_texts(tally, _kinds(predictions, domains), layers)
    return tally


def _add_latencies(
    tally: Tally, records: Sequence[Record], taken_at: float, processing_s: float
) -> None:
    """Add latencies: none of a record without a timestamp, and no wait of one of the future."""
    tally.observe(m.PROCESSING, processing_s, times=len(records))
    now_ms = round(1000 * taken_at)
    stamps_ms = list(map(_written_ms, records))
    if min(stamps_ms, default=0) < 0:
        stamps_ms = [stamp for stamp in stamps_ms if stamp >= 0]
    if max(stamps_ms, default=0) > now_ms:
        stamps_ms = [min(stamp, now_ms) for stamp in stamps_ms]
    if stamps_ms:
        _add_ages(tally, m.QUEUEING, stamps_ms, now_ms)
        _add_ages(tally, m.END_TO_END, stamps_ms, now_ms + 1000 * processing_s)


def _add_ages(tally: Tally, metric: Metric, stamps_ms: list[int], until_ms: float) -> None:
    """Add how old stamps are, and sort them if they do not all fall into one bucket."""
    bounds, texts = metric.buckets, len(stamps_ms)
    first = bisect_left(bounds, (until_ms - max(stamps_ms)) / 1000)
    last = bisect_left(bounds, (until_ms - min(stamps_ms)) / 1000)
    counts = {last: texts}
    if first < last:
        stamps_ms.sort(reverse=True)
        ages_s = [(until_ms - stamp) / 1000 for stamp in stamps_ms]
        upto = [bisect_right(ages_s, bound) for bound in bounds[first:last]]
        edges = enumerate(pairwise([0, *upto, texts]), first)
        counts = {bucket: after - before for bucket, (before, after) in edges}
    total_s = (until_ms * texts - sum(stamps_ms)) / 1000
    tally.spread((metric.name, ())).add(counts, total_s)


def _kinds(predictions: Sequence[Prediction], domains: frozenset[str]) -> Counter[_Kind]:
    """Return how many texts are alike in all that is reported of them; there are few kinds."""
    alike = Counter(map(_seen_of, predictions))
    kinds: Counter[_Kind] = Counter()
    if domains:
        named = [p for p in predictions if p.event.domain in domains]
        kinds.update((p.event.domain, *_seen_of(p)) for p in named)
        alike.subtract(map(_seen_of, named))
    kinds.update({(_NO_DOMAIN, *seen): count for seen, count in alike.items() if count})
    return kinds


def _add_texts(tally: Tally, kinds: Counter[_Kind], layers: Sequence[int]) -> None:
    stopped = Counter[tuple[str, int]]()  # domain, exit
    disagreed = [0] * len(layers)
    for (domain, labels, chosen), count in kinds.items():
        last = len(labels) - 1
        stopped[domain, last] += count
        for exit_, label in enumerate(labels):
            if label != labels[0]:
                disagreed[exit_] += count
        if chosen is not None and chosen > last:
            tally.add(m.GATED, count)
        elif chosen is not None:
            tally.add(m.HOLDOUT, count)
            tally.add(m.HOLDOUT_AGREED, count if labels[chosen] == labels[last] else 0)
    for (domain, exit_), count in stopped.items():
        tally.add(m.TEXTS, count, domain, str(exit_))
        tally.add(m.LAYERS, count * layers[exit_], domain)
        tally.add(m.FULL_LAYERS, count * layers[-1], domain)
    for exit_, count in enumerate(disagreed):
        reached = sum(texts for (_, last), texts in stopped.items() if last >= exit_)
        tally.add(m.OBSERVED, reached, str(exit_))
        tally.add(m.DISAGREED, count, str(exit_))
