"""What the demo streams: the sample reviews, or the user's own files, as numbered events."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from consumer.producing import read_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SAMPLES = Path(__file__).parent / "reviews"
_MOST_TEXTS = 100_000


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a domain, and its true class where the file has it."""

    text: str
    label: int | None


@dataclass(frozen=True, slots=True)
class DemoEvent:
    """One event of the stream: a text of a domain, by its number in the domain's file."""

    domain: str
    number: int
    id: str
    value: bytes


def sample_files() -> dict[str, Path]:
    """Return the shipped samples by domain."""
    return {path.stem: path for path in sorted(SAMPLES.glob("*.jsonl"))}


def read_texts(path: Path) -> list[Text]:
    """Return the texts of a file, with labels where it has whole numbers for them.

    Raises:
        InvalidSettings: naming the file and the line that cannot be read.
    """
    events = (orjson.loads(value) for value in islice(read_events(path), _MOST_TEXTS))
    return [Text(event["text"], _label(event.get("label"))) for event in events]


def draw(texts: Mapping[str, list[Text]], per_domain: int, *, seed: int) -> Iterator[DemoEvent]:
    """Yield events of all domains in turn, each text drawn before any is drawn again."""
    rng = random.Random(seed)
    decks: dict[str, list[int]] = {domain: [] for domain in texts}
    for n in range(per_domain):
        for domain, rows in texts.items():
            if not decks[domain]:
                decks[domain] = rng.sample(range(len(rows)), len(rows))
            number = decks[domain].pop()
            event_id = f"{domain}-{number}-{n}"
            value = orjson.dumps({"id": event_id, "text": rows[number].text})
            yield DemoEvent(domain, number, event_id, value)


def _label(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() else None
