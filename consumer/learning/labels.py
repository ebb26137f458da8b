"""Delayed labels beside predictions: which text of which domain was labelled what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from consumer.errors import InvalidSettings
from consumer.events.predictions import read_prediction
from model.labels import Classes
from model.texts.formats import Format, shown
from model.texts.records import no_column, read_records
from policy_state.labelled import LabelledDuels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from consumer.events.predictions import ReadPrediction

_SHOWN_CHARACTERS: Final = 40
_CLASSES_MOST: Final = 10_000  # more than a model has: somebody else wrote the prediction

Label = int | str
"""A class by name or by number; where classes are called by whole numbers, by name."""


@dataclass(slots=True)
class JoinedLabels:
    """The labelled texts of one domain."""

    exit_labels: list[tuple[int, ...]] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    gated: list[bool] = field(default_factory=list)  # whether it met the gate

    def duels(self, exits: int) -> LabelledDuels:
        """Return how their duels ended, without texts that met the gate: no fair sample."""
        rows = zip(self.exit_labels, self.truth, self.gated, strict=True)
        fair = [(labels, truth) for labels, truth, gated in rows if not gated]
        return LabelledDuels.of([row[0] for row in fair], [row[1] for row in fair], exits=exits)


@dataclass(frozen=True, slots=True)
class Joined:
    """Predictions and labels that belong together, and how many do not."""

    domains: dict[str, JoinedLabels]
    unlabelled: int  # predictions of the model whose id has no label
    skipped: int  # records that are no predictions of the model
    unknown: Counter[str]  # labels that are no class of the model
    unknown_id: str  # of a text with such a label
    classes: Classes


def labels_of_file(
    path: Path, form: Format = Format.AUTO, *, id_column: str = "id", label_column: str = "label"
) -> dict[str, Label]:
    """Return the label of every id in a file with these columns or fields; the last one counts.

    Raises:
        ModelError: it cannot be read, lacks a column, or a row has no id or label; names the line.
    """
    found: dict[str, Label] = {}
    for record in read_records(path, form):
        line = f"{shown(path)}:{record.line}"
        columns = f"{shown(path)}:{1 if record.raw is None else record.line}"
        for column, option in ((id_column, "--id-column"), (label_column, "--label-column")):
            if column not in record.fields:
                no_column(columns, column, record.fields, option)
            if not _plain(record.fields[column]):
                raise InvalidSettings(f"{line}: {column} is neither a word nor a whole number")
        label = record.fields[label_column]
        found[str(record.fields[id_column])] = label
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
    names: Sequence[str] | None = None,
) -> Joined:
    """Return the labelled texts of every domain, from predictions as in docs/events.md.

    Args:
        predictions: records of the topics of predictions.
        labels: of every id.
        fingerprint: of the model; predictions of others are skipped.
        exits: that the model has.
        names: of the model's classes in order; else what the predictions tell, each of which has
            the name of its label.

    Raises:
        InvalidSettings: a prediction has another name for a class than `names`.
    """
    found: dict[str, list[tuple[ReadPrediction, str, Label]]] = {}
    seen: dict[int, str] = {}
    highest = 0
    unlabelled = skipped = 0
    for value in predictions:
        body = read_prediction(value, fingerprint=fingerprint, exits=exits)
        if body is None or body.id is None or body.label is None or body.label_name is None:
            skipped += 1
            continue
        largest = max(body.label, *body.exit_labels)
        if largest >= _CLASSES_MOST:
            skipped += 1
            continue
        seen[body.label] = body.label_name
        highest = max(highest, largest)
        id_ = str(body.id)
        if id_ in labels:
            found.setdefault(body.domain, []).append((body, id_, labels[id_]))
        else:
            unlabelled += 1
    classes = _classes(seen, highest, names)
    domains, unknown, example = {}, Counter[str](), ""
    for domain, texts in found.items():
        kept = JoinedLabels()
        for body, id_, label in texts:
            truth = classes.number(str(label))
            if truth is None:
                unknown[str(label)] += 1
                example = example or id_
            else:
                kept.exit_labels.append(body.exit_labels)
                kept.truth.append(truth)
                kept.gated.append(body.gate is not None)
        if kept.truth:
            domains[domain] = kept
    return Joined(domains, unlabelled, skipped, unknown, example, classes)


def _classes(seen: Mapping[int, str], highest: int, names: Sequence[str] | None) -> Classes:
    if names is None:
        named = (seen.get(n, f"(class {n}, never predicted)") for n in range(highest + 1))
        return Classes(tuple(named))
    for number, name in seen.items():
        if number >= len(names) or names[number] != name:
            raise InvalidSettings(
                f"class {number} is {name!r} in the predictions, "
                f"but the model has the classes {Classes(tuple(names))}"
            )
    return Classes(tuple(names))


def _plain(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""
