"""Files of texts into a topic, as they are read: nothing is held but what is under way."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import orjson

from consumer.errors import InvalidSettings
from consumer.kafka.writing.topic_writer import TopicWriter
from consumer.routes.pattern import check_topic
from model.texts.formats import shown
from model.texts.rows import Layout, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from consumer.settings.sections import KafkaSettings

FIELDS = ("id", "domain", "timestamp")
_REPORTS_A_SECOND = 10


@dataclass(slots=True)
class Produced:
    """How far it has come, also where it ended early."""

    written: int = 0  # events that the broker has
    unclear: int = 0  # events that were sent; whether it has them is not known


def produce_file(  # noqa: PLR0913  (what and where to; the rest is keyword-only)
    path: Path,
    *,
    topic: str,
    settings: KafkaSettings,
    layout: Layout | None = None,
    skip: int = 0,
    limit: int | None = None,
    rate: float | None = None,
    produced: Produced | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the events of a file to a topic and return how many.

    Args:
        path: the file; `-` is stdin.
        topic: it must exist.
        settings: where Kafka is.
        layout: how the file is read.
        skip: how many to leave out at the beginning.
        limit: how many to write at most.
        rate: how many to write a second at most.
        produced: is right at the end, also where this raises.
        report: called with the number written so far.

    Raises:
        ModelError: the file cannot be read; names the line.
        InvalidSettings: no topic can have such a name.
        StreamUnavailable: there is no such topic, or Kafka did not take the events.
    """
    produced = produced or Produced()
    try:
        check_topic(topic)
    except ValueError as error:
        raise InvalidSettings(str(error)) from error
    end = None if limit is None else skip + limit
    events = islice(read_events(path, layout or Layout()), skip, end)
    first = list(islice(events, 1))  # a file that cannot be read is told before connecting
    often = None if rate is None else max(1, int(rate / _REPORTS_A_SECOND))
    writer = TopicWriter(settings)
    begun = time.monotonic()
    try:
        with writer:
            for sent, (line, event) in enumerate(chain(first, events), start=1):
                confirmed = writer.send(topic, event, origin=f"{shown(path)}:{line}")
                if often is not None and sent % often == 0:
                    writer.flush()
                    confirmed = True
                if confirmed:
                    report(writer.written.total())
                if rate is not None:
                    time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
    finally:
        produced.written, produced.unclear = writer.written.total(), writer.unclear
    return produced.written


def read_events(path: Path, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """Yield the events of a file as JSON, each with the line where it begins.

    Raises:
        ModelError: the file cannot be read; names the line.
    """
    renamed = (layout.text, layout.label) != ("text", "label")
    for row in read_rows(path, layout):
        if row.raw is not None and not renamed:
            yield row.line, row.raw.encode()
        elif row.raw is not None:
            rest = {k: v for k, v in row.fields.items() if k not in {layout.text, layout.label}}
            label = None if layout.label is None else row.fields.get(layout.label)
            yield row.line, json.dumps({**rest, "text": row.text, "label": label}).encode()
        else:
            rest = {name: row.fields[name] for name in FIELDS if row.fields.get(name)}
            labelled = {} if row.label is None else {"label": row.label}
            yield row.line, orjson.dumps({"text": row.text, **rest, **labelled})
