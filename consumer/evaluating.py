"""Delayed labels beside predictions: which text of which domain was labelled what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from consumer.errors import InvalidSettings
from consumer.predictions import read_prediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_HEADER: Final = b"id\tlabel"
_SHOWN_CHARACTERS: Final = 40
_LABEL_DIGITS: Final = 9

Label = int | str
"""A class by number or by name. A name of digits is a name where some class is called so."""


@dataclass(slots=True)
class LabelledTexts:
    """The labelled texts of one domain."""

    exit_labels: list[tuple[int, ...]] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Joined:
    """Predictions and labels that belong together, and how many do not."""

    domains: dict[str, LabelledTexts]
    unlabelled: int  # predictions of the model whose id has no label
    skipped: int  # records that are no predictions of the model
    unknown: Counter[str]  # labels that are no class which any prediction has


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises:
        InvalidSettings: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from (line.rstrip(b"\r\n") for line in file)
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error}") from error


def labels_of_file(path: Path) -> dict[str, Label]:
    """Return the label of every id in a file of JSON lines or TSV; the last one counts.

    Raises:
        InvalidSettings: it cannot be read, or a line is no label; names the line.
    """
    found: dict[str, Label] = {}
    for number, line in enumerate(lines_of(path), start=1):
        if not line.strip() or (number == 1 and line == _HEADER):
            continue
        try:
            id_, label = parse_label(line)
        except ValueError as error:
            raise InvalidSettings(f"{path}: line {number}: {error}") from error
        found[id_] = label
    return found


def labels_of_records(values: Iterable[bytes | None]) -> tuple[dict[str, Label], int]:
    """Return the label of every id in the records of a topic, and how many hold none.

    The last one counts, within a partition: give records their id as key.
    """
    found: dict[str, Label] = {}
    skipped = 0
    for value in values:
        try:
            id_, label = parse_label(value or b"")
        except ValueError:
            skipped += 1
        else:
            found[id_] = label
    return found, skipped


def parse_label(line: bytes) -> tuple[str, Label]:
    r"""Return id and label of `{"id": .., "label": ..}`, or of `id<TAB>label`.

    >>> parse_label(b'{"id": 7, "label": "positive"}'), parse_label(b"films-17\t1")
    (('7', 'positive'), ('films-17', '1'))

    Raises:
        ValueError: it is neither.
    """
    if line.lstrip()[:1] == b"{":
        body = orjson.loads(line)
        id_, label = body.get("id"), body.get("label")
        if not (_plain(id_) and _plain(label)):
            raise ValueError("expected an object with id and label, each a string or an integer")
        return str(id_), label
    cells = line.decode().strip("\r\n").split("\t")
    if len(cells) != 2 or not all(cells):  # noqa: PLR2004
        raise ValueError(f"{line[:_SHOWN_CHARACTERS]!r}: expected id, a tab, label")
    return cells[0], cells[1]


def join(
    predictions: Iterable[bytes | None],
    labels: Mapping[str, Label],
    *,
    fingerprint: str,
    exits: int,
) -> Joined:
    """Return the labelled texts of every domain, from predictions as in docs/events.md.

    Names of classes are known from the predictions: each tells the name of its label.
    """
    found: dict[str, list[tuple[tuple[int, ...], Label]]] = {}
    classes: dict[str, int] = {}
    unlabelled = skipped = 0
    for value in predictions:
        body = read_prediction(value, fingerprint=fingerprint, exits=exits)
        if body is None or body.id is None or body.label is None or body.label_name is None:
            skipped += 1
            continue
        classes[body.label_name] = body.label
        id_ = str(body.id)
        if id_ in labels:
            found.setdefault(body.domain, []).append((body.exit_labels, labels[id_]))
        else:
            unlabelled += 1
    domains, unknown = {}, Counter[str]()
    for domain, texts in found.items():
        kept = LabelledTexts()
        for exit_labels, label in texts:
            number = _class(label, classes)
            if number is None:
                unknown[str(label)] += 1
            else:
                kept.exit_labels.append(exit_labels)
                kept.truth.append(number)
        if kept.truth:
            domains[domain] = kept
    return Joined(domains, unlabelled, skipped, unknown)


def _class(label: Label, classes: Mapping[str, int]) -> int | None:
    """Return the number of a class; None where no class has that name."""
    if isinstance(label, int):
        return label
    if label in classes:
        return classes[label]
    digits = label.isascii() and label.isdigit() and len(label) <= _LABEL_DIGITS
    return int(label) if digits else None


def _plain(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""
