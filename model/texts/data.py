"""Texts and classes from files, a part of them held out, and exit matrices to files."""

from __future__ import annotations

import csv
import random
import re
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from model.errors import InvalidData
from model.labels import classes_of
from model.texts.formats import shown
from model.texts.rows import Layout, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from model.labels import Classes

TRUTH_COLUMN = "op_labels"  # as in the exit matrices of the paper's authors
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>")
_SENTENCE_WORDS = range(3, 41)
_CURE = "; labels of another model are left out with --no-labels"


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts and the class of each, in file order."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def sample(self, most: int, *, seed: int) -> LabelledTexts:
        """Return at most `most` rows, drawn at random."""
        if len(self.texts) <= most:
            return self
        return self._rows(random.Random(seed).sample(range(len(self.texts)), most))

    def split(self, share: float, *, most: int, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
        """Return what is left to train on, and a share of the texts to measure on.

        The share is drawn by chance from every class alike, at least one text of each class that
        has two or more, about `most` in all. Rows with the same text stay together.
        """
        share = min(share, most / len(self.texts))
        of_class: dict[int, list[str]] = {}
        for text, label in dict(zip(self.texts, self.labels, strict=True)).items():
            of_class.setdefault(label, []).append(text)
        drawn: set[str] = set()
        chance = random.Random(seed)
        for _, texts in sorted(of_class.items()):
            count = min(max(1, round(share * len(texts))), len(texts) - 1)
            drawn.update(chance.sample(texts, count))
        kept = [i for i, text in enumerate(self.texts) if text not in drawn]
        held = [i for i, text in enumerate(self.texts) if text in drawn]
        return self._rows(kept), self._rows(held)

    def _rows(self, rows: Sequence[int]) -> LabelledTexts:
        return LabelledTexts(
            tuple(self.texts[i] for i in rows), tuple(self.labels[i] for i in rows)
        )


@dataclass(frozen=True, slots=True)
class NamedTexts:
    """Texts and their labels as a file has them, not yet as the classes of a model."""

    path: Path
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[int, ...]  # where in the file each begins

    def numbered(self, classes: Classes) -> LabelledTexts:
        """Return the texts with their classes' numbers.

        Raises:
            InvalidData: a label is no class of the model; names its line.
        """
        labels = tuple(
            classes.require(label, f"{shown(self.path)}:{line}")
            for label, line in zip(self.labels, self.lines, strict=True)
        )
        return LabelledTexts(self.texts, labels)


def read_named(path: Path, layout: Layout | None = None) -> NamedTexts:
    """Read a file in which every text has a label.

    Raises:
        InvalidData: naming the file, the line and what is wrong with it.
    """
    layout = replace(layout or Layout(), labelled=True)
    texts: list[str] = []
    labels: list[str] = []
    lines: list[int] = []
    for row in read_rows(path, layout):
        texts.append(row.text)
        labels.append(str(row.label))
        lines.append(row.line)
    return NamedTexts(path, tuple(texts), tuple(labels), tuple(lines))


def read_labelled(
    path: Path, *, classes: Classes | None = None, layout: Layout | None = None
) -> LabelledTexts:
    """Read texts and the numbers of their classes.

    Args:
        path: the file.
        classes: of the model; else what the labels themselves tell, see `classes_of`.
        layout: how the file is read.

    Raises:
        InvalidData: naming the file, the line and what is wrong with it.
    """
    named = read_named(path, layout)
    return named.numbered(classes or classes_of(named.labels, where=shown(path)))


def read_texts(path: Path, layout: Layout | None = None) -> tuple[str, ...]:
    """Read the texts of a file, whatever else it has.

    Raises:
        InvalidData: naming the file, the line and what is wrong with it.
    """
    return tuple(row.text for row in read_rows(path, (layout or Layout()).unlabelled))


def read_known(
    path: Path, classes: Classes, layout: Layout | None = None
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Read texts, and the model's numbers for their labels, or None if the file has no labels.

    Raises:
        InvalidData: naming the file, the line and what is wrong with it.
    """
    layout = layout or Layout()
    texts: list[str] = []
    labels: list[int] = []
    for row in read_rows(path, layout):
        place = f"{shown(path)}:{row.line}"
        if row.label is not None:
            labels.append(classes.require(row.label, place, cure=_CURE))
            if len(labels) <= len(texts):
                raise InvalidData(f"{place}: this row has a label, but rows before it have none")
        texts.append(row.text)
        if labels and len(labels) < len(texts):
            raise InvalidData(f"{place}: this row has no label, but rows before it have one")
    return tuple(texts), tuple(labels) or None


def read_sentences(
    path: Path, most: int | None, *, seed: int, layout: Layout | None = None
) -> list[str]:
    """Return different sentences of 3 to 40 words from a file of texts, at most `most`, shuffled.

    Raises:
        InvalidData: the file cannot be read or has no such sentence.
    """
    texts = read_texts(path, layout)
    parts = (part.strip() for text in texts for part in _SENTENCE_END.split(text))
    found = sorted({part for part in parts if len(part.split()) in _SENTENCE_WORDS})
    if not found:
        raise InvalidData(
            f"{path}: contains no sentences of {_SENTENCE_WORDS[0]} to {_SENTENCE_WORDS[-1]} words"
        )
    random.Random(seed).shuffle(found)
    return found[:most]


def set_name(path: Path) -> str:
    """Return how a file of texts is called in tables: its folder and its name without endings.

    >>> from pathlib import Path
    >>> set_name(Path("data/sst2/dev.tsv.zst"))
    'sst2/dev'
    """
    return f"{path.absolute().parent.name}/{path.name.partition('.')[0]}"


def write_matrix(
    file: TextIO,
    rows: Sequence[Sequence[int]],
    truth: Sequence[int] | None,
    *,
    credits: Sequence[Sequence[int]] | None = None,
    scores: Sequence[Sequence[int]] | None = None,
) -> None:
    """Write an exit matrix: columns 0..K-1 with each exit's label, then what else is known.

    That is the truth, what the step to each exit is worth (c0..), and the score of each exit
    (s0..), both in thousandths.
    """
    exits = range(len(rows[0]))
    columns = {
        tuple(map(str, exits)): rows,
        (TRUTH_COLUMN,): None if truth is None else [(label,) for label in truth],
        tuple(f"c{j}" for j in exits): credits,
        tuple(f"s{j}" for j in exits): scores,
    }
    known = {names: table for names, table in columns.items() if table is not None}
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow(chain.from_iterable(known))
    writer.writerows(map(chain.from_iterable, zip(*known.values(), strict=True)))
