"""What the demo streams: the sample texts, or the user's own files, as numbered events."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from model.labels import Classes
from model.texts.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SAMPLES = Path(__file__).parent / "reviews"
REVIEW_LABELS = ("negative", "positive")
_MOST_TEXTS = 100_000


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a domain, and its true class where the file has it."""

    text: str
    label: int | None
    later: bool = False  # of the kind that the domain has from the middle of the stream on


@dataclass(frozen=True, slots=True)
class DemoEvent:
    """One event of the stream: a text of a domain, by its number among the domain's texts."""

    domain: str
    number: int
    id: str
    value: bytes


def sample_files() -> dict[str, Path]:
    """Return the shipped samples by domain."""
    return {path.stem: path for path in _by_name(SAMPLES)}


def later_files() -> dict[str, Path]:
    """Return the texts of another kind that some of the samples turn to in the middle."""
    return {path.stem: path for path in _by_name(SAMPLES / "later")}


def _by_name(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"), key=lambda path: path.stem)


def read_domains(
    files: Mapping[str, Path], later: Mapping[str, Path], labels: Sequence[str]
) -> dict[str, list[Text]]:
    """Return the texts of each domain, those of the later kind last.

    Raises:
        InvalidData: naming the file and the line that cannot be read.
    """
    return {
        name: read_texts(path, labels)
        + (read_texts(later[name], labels, later=True) if name in later else [])
        for name, path in files.items()
    }


def read_texts(
    path: Path, labels: Sequence[str] = REVIEW_LABELS, *, later: bool = False
) -> list[Text]:
    """Return the texts of a file, with their classes where all its labels are those of the model.

    Raises:
        InvalidData: naming the file and the line that cannot be read.
    """
    classes = Classes(tuple(labels))
    rows = list(islice(read_rows(path), _MOST_TEXTS))
    numbers = [None if row.label is None else classes.number(row.label) for row in rows]
    foreign = any(
        row.label is not None and number is None for row, number in zip(rows, numbers, strict=True)
    )
    return [
        Text(row.text, None if foreign else number, later)
        for row, number in zip(rows, numbers, strict=True)
    ]


def draw(texts: Mapping[str, list[Text]], per_domain: int, *, seed: int) -> Iterator[DemoEvent]:
    """Yield events of all domains in turn, each text drawn before any is drawn again.

    Texts of the later kind come in the second half, and no others of their domain.
    """
    rng = random.Random(seed)
    decks: dict[tuple[str, bool], list[int]] = {}
    for n in range(per_domain):
        for domain, rows in texts.items():
            later = 2 * n >= per_domain and rows[-1].later
            deck = decks.setdefault((domain, later), [])
            if not deck:
                deck += [number for number, row in enumerate(rows) if row.later == later]
                rng.shuffle(deck)
            number = deck.pop()
            event_id = f"{domain}-{number}-{n}"
            value = orjson.dumps({"id": event_id, "text": rows[number].text})
            yield DemoEvent(domain, number, event_id, value)


def number_of(event_id: str) -> int:
    """Return which of its domain's texts an event has."""
    return int(event_id.rsplit("-", 2)[1])
