"""What a committed batch adds to the figures."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from consumer.metrics import catalogue as m
from consumer.metrics.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.events.record import BatchOutcome, Prediction, Record

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
    for labels, count in Counter((d.stage, d.error_class) for d in letters).items():
        tally.add(m.DEAD_LETTERS, count, *labels)
    tally.add(m.TRUNCATED, sum([p.truncated for p in predictions]))
    _add_texts(tally, _kinds(predictions, domains), layers)
    return tally


def _add_latencies(
    tally: Tally, records: Sequence[Record], taken_at: float, processing_s: float
) -> None:
    """Add latencies: none of a record without a timestamp, and no wait of one of the future."""
    tally.observe(m.PROCESSING, processing_s, times=len(records))
    now_ms = 1000 * taken_at
    stamps_ms = sorted(map(_written_ms, records), reverse=True)
    queued_s = [(now_ms - at_ms) / 1000 for at_ms in stamps_ms if at_ms >= 0]
    if queued_s and queued_s[0] < 0:
        queued_s = [max(0.0, queued) for queued in queued_s]
    tally.observe_all(m.QUEUEING, queued_s)
    tally.observe_all(m.END_TO_END, [queued + processing_s for queued in queued_s])


def _kinds(predictions: Iterable[Prediction], domains: frozenset[str]) -> Counter[_Kind]:
    """Return how many texts are alike in all that is reported of them; there are few kinds."""
    if not domains:
        alike = Counter(map(_seen_of, predictions))
        return Counter({(_NO_DOMAIN, *seen): count for seen, count in alike.items()})
    return Counter(
        (p.event.domain if p.event.domain in domains else _NO_DOMAIN, p.exit_labels, p.chosen_exit)
        for p in predictions
    )


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
