"""Texts and labels from files (zstd-compressed or not), and exit matrices to files."""

from __future__ import annotations

import contextlib
import csv
import io
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import zstandard

from model.errors import InvalidData

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TRUTH_COLUMN = "op_labels"  # as in the exit matrices of the paper's authors
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|<br\s*/?>")
_SENTENCE_WORDS = range(3, 41)


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts and the class of each, in file order."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def sample(self, most: int, *, seed: int) -> LabelledTexts:
        """Return at most `most` rows, drawn at random."""
        if len(self.texts) <= most:
            return self
        rows = random.Random(seed).sample(range(len(self.texts)), most)
        return LabelledTexts(
            tuple(self.texts[i] for i in rows), tuple(self.labels[i] for i in rows)
        )


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 file; a name that ends in .zst is decompressed on the way.

    Raises:
        InvalidData: the file cannot be read, is not UTF-8 or not zstd.
    """
    try:
        with path.open("rb") as raw:
            packed = path.suffix == ".zst"
            stream = zstandard.ZstdDecompressor().stream_reader(raw) if packed else raw
            yield io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
    except (OSError, UnicodeDecodeError, zstandard.ZstdError) as error:
        raise InvalidData(f"{path}: cannot be read: {error}") from error


def read_labelled(path: Path, *, classes: int | None = None) -> LabelledTexts:
    """Read a TSV with the columns `text` and `label` (whole numbers from 0).

    Args:
        path: the file.
        classes: how many classes the model has; a label beyond them is an error.

    Raises:
        InvalidData: naming the file, the line and what is wrong with it.
    """
    texts, labels = read_texts(path)
    if labels is None:
        raise InvalidData(
            f"{path}: has no labels, expected a .tsv file with the columns text and label"
        )
    if classes is not None and max(labels) >= classes:
        row = next(i for i, label in enumerate(labels) if label >= classes)
        raise InvalidData(
            f"{path}:{row + 2}: label is {labels[row]}, the model has classes 0..{classes - 1}"
        )
    return LabelledTexts(texts, labels)


def read_texts(path: Path) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Read texts, and their labels where the file has them (else None).

    A .tsv file names its columns in the first line, one is `text`; any other has one text a line.

    Raises:
        InvalidData: naming the file, the line and what is wrong with it.
    """
    with open_text(path) as file:
        if ".tsv" in path.suffixes:
            texts, labels = _rows(file, path)
        else:
            texts = [line.rstrip("\r\n") for line in file if line.strip()]
            labels = None
    if not texts:
        raise InvalidData(f"{path}: no texts")
    return tuple(texts), None if labels is None else tuple(labels)


def read_sentences(path: Path, most: int | None, *, seed: int) -> list[str]:
    """Return different sentences of 3 to 40 words from a file of texts, at most `most`, shuffled.

    Raises:
        InvalidData: the file cannot be read or has no such sentence.
    """
    texts, _ = read_texts(path)
    parts = (part.strip() for text in texts for part in _SENTENCE_END.split(text))
    found = sorted({part for part in parts if len(part.split()) in _SENTENCE_WORDS})
    if not found:
        raise InvalidData(
            f"{path}: no sentences of {_SENTENCE_WORDS[0]} to {_SENTENCE_WORDS[-1]} words"
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


def write_matrix(file: TextIO, rows: Sequence[Sequence[int]], truth: Sequence[int] | None) -> None:
    """Write an exit matrix: columns 0..K-1 with each exit's label, then the truth where known."""
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow([*range(len(rows[0])), *([] if truth is None else [TRUTH_COLUMN])])
    for i, row in enumerate(rows):
        writer.writerow([*row, *([] if truth is None else [truth[i]])])


def _rows(file: TextIO, path: Path) -> tuple[list[str], list[int] | None]:
    header = file.readline().rstrip("\r\n").split("\t")
    if "text" not in header:
        raise InvalidData(f"{path}:1: columns are {', '.join(header)}, expected one named text")
    text_at = header.index("text")
    label_at = header.index("label") if "label" in header else None
    texts: list[str] = []
    labels: list[int] = []
    for line, raw in enumerate(file, start=2):
        row = raw.rstrip("\r\n").split("\t")
        if len(row) != len(header):
            raise InvalidData(f"{path}:{line}: {len(row)} columns, expected {len(header)}")
        texts.append(row[text_at])
        if label_at is None:
            continue
        label = row[label_at]
        if not (label.isascii() and label.isdecimal()):
            raise InvalidData(f"{path}:{line}: label is {label!r}, expected a whole number from 0")
        labels.append(int(label))
    return texts, labels if label_at is not None else None
