"""Files of texts into a topic: TSV, CSV, JSONL or plain lines."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, TextIO

import orjson
import zstandard
from kafka import KafkaProducer
from kafka.errors import KafkaError

from consumer.errors import InvalidSettings, StreamUnavailable
from consumer.kafka_client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from consumer.settings import KafkaSettings

FIELDS = ("text", "id", "domain", "timestamp", "label")
_ENDINGS = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "lines"}
_FLUSH_EVERY = 1000


def produce_file(  # noqa: PLR0913  (what and where to; the rest is keyword-only)
    path: Path,
    *,
    topic: str,
    settings: KafkaSettings,
    form: str = "auto",
    limit: int | None = None,
    rate: float | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the events of a file to a topic and return how many.

    Args:
        path: the file; `-` is stdin.
        topic: it must exist.
        settings: where Kafka is.
        form: "tsv", "csv", "jsonl", "lines", or "auto" for what the file's ending says.
        limit: stop after so many.
        rate: at most so many a second.
        report: called with the number written so far.

    Raises:
        InvalidSettings: the file cannot be read, naming the line.
        StreamUnavailable: Kafka did not take the events.
    """
    events = islice(read_events(path, form=form), limit)
    first = list(islice(events, 1))  # a file that cannot be read is told before connecting
    sent = 0
    begun = time.monotonic()
    try:
        producer = KafkaProducer(**connect(settings), acks="all", linger_ms=20)
        try:
            futures = []
            for value in chain(first, events):
                futures.append(producer.send(topic, value=value))
                sent += 1
                if sent % _FLUSH_EVERY == 0 or (rate and sent % max(1, int(rate / 10)) == 0):
                    _confirm(producer, futures)
                    report(sent)
                if rate:
                    time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
            _confirm(producer, futures)
        finally:
            producer.close(timeout=10)
    except KafkaError as error:
        raise StreamUnavailable(f"producing to {topic}: {error!r}") from error
    report(sent)
    return sent


def read_events(path: Path, *, form: str = "auto") -> Iterator[bytes]:
    """Yield the events of a file as JSON.

    Raises:
        InvalidSettings: naming the file, the line, and what is wrong with it.
    """
    name = "stdin" if str(path) == "-" else str(path)
    if form == "auto":
        ending = path.with_suffix("").suffix if path.suffix == ".zst" else path.suffix
        form = _ENDINGS.get(ending, "")
    readers = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl, "lines": _lines}
    if form not in readers:
        known = ", ".join(readers)
        raise InvalidSettings(f"{name}: format {form!r}, expected one of {known} (see --format)")
    try:
        with _open(path) as file:
            yield from readers[form](file, name)
    except OSError as error:
        raise InvalidSettings(f"{name}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, zstandard.ZstdError) as error:
        raise InvalidSettings(f"{name}: {error}") from error


def _open(path: Path) -> TextIO:
    if str(path) == "-":
        return sys.stdin
    if path.suffix == ".zst":
        stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
        return io.TextIOWrapper(stream, encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _tsv(file: Iterable[str], name: str) -> Iterator[bytes]:
    return _rows(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), name)


def _csv(file: Iterable[str], name: str) -> Iterator[bytes]:
    return _rows(csv.reader(file), name)


def _rows(rows: Iterator[list[str]], name: str) -> Iterator[bytes]:
    header = next(rows, [])
    if "text" not in header:
        raise InvalidSettings(f"{name}:1: header is {header}, expected a column text")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InvalidSettings(f"{name}:{line}: {len(row)} columns, expected {len(header)}")
        event = dict(zip(header, row, strict=True))
        yield orjson.dumps({field: event[field] for field in FIELDS if event.get(field)})


def _jsonl(file: Iterable[str], name: str) -> Iterator[bytes]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            event = json.loads(text)
        except ValueError as error:
            raise InvalidSettings(f"{name}:{line}: not JSON: {error}") from error
        if not isinstance(event, dict) or "text" not in event:
            raise InvalidSettings(f"{name}:{line}: expected an object with a field text")
        yield text.strip().encode()


def _lines(file: Iterable[str], name: str) -> Iterator[bytes]:
    del name
    for text in file:
        if text.strip():
            yield orjson.dumps({"text": text.rstrip("\r\n")})


def _confirm(producer: KafkaProducer, futures: list) -> None:  # type: ignore[type-arg]
    producer.flush(timeout=30)
    for future in futures:
        if future.exception is not None:
            raise future.exception
    futures.clear()
