"""Rows of a file of texts: the text, its label if the file has one, and the other fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from model.errors import InvalidData
from model.texts.formats import Format, shown
from model.texts.records import no_column, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from model.texts.records import FileRecord

TEXT_OPTION = "--text-column"
LABEL_OPTION = "--label-column"
_USUAL_TEXTS = ("sentence", "review", "content", "comment", "message", "body", "tweet", "document")
_USUAL_LABELS = ("sentiment", "class", "category", "target", "polarity", "rating", "stars", "score")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is read: its format, and which columns hold the text and the label."""

    format: Format = Format.AUTO
    text: str = "text"
    label: str | None = "label"  # None: labels are not read
    labelled: bool = False  # every row must have a label

    @property
    def unlabelled(self) -> Layout:
        """The same without labels."""
        return replace(self, label=None, labelled=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it begins, its text, and its label, unchanged."""

    line: int  # of the file, from 1
    text: str
    label: str | None
    fields: Mapping[str, Any]  # all fields by the names of their columns
    raw: str | None = None  # of JSON lines: the line


def read_rows(path: Path, layout: Layout | None = None) -> Iterator[Row]:
    """Yield the rows of a file one by one; `-` is stdin.

    Raises:
        InvalidData: the file cannot be read, has no texts, lacks a column, or a row has no text or
            an unusable label; names the file, the line where the row begins and the field.
    """
    layout = layout or Layout()
    name = shown(path)
    empty = True
    for record in read_records(path, layout.format):
        yield _row(record, layout, name)
        empty = False
    if empty:
        raise InvalidData(f"{name}: contains no texts")


def _row(record: FileRecord, layout: Layout, name: str) -> Row:
    place = f"{name}:{record.line}"
    if layout.text not in record.fields:
        # Tables have their columns in the first line, JSON lines each their own.
        where = _columns_of(record, name)
        no_column(where, layout.text, record.fields, TEXT_OPTION, usual=_USUAL_TEXTS)
    text = record.fields[layout.text]
    if not isinstance(text, str):
        raise InvalidData(f"{place}: {layout.text} is {_kind(text)}, expected a text")
    if not text.strip():
        raise InvalidData(f"{place}: {layout.text} is empty; leave the row out")
    return Row(record.line, text, _label(record, layout, name), record.fields, record.raw)


def _label(record: FileRecord, layout: Layout, name: str) -> str | None:
    if layout.label is None:
        return None
    if layout.labelled and layout.label not in record.fields:
        where = _columns_of(record, name)
        no_column(where, layout.label, record.fields, LABEL_OPTION, usual=_USUAL_LABELS)
    label = record.fields.get(layout.label)
    if isinstance(label, bool) or not isinstance(label, int | str | None):
        raise InvalidData(
            f"{name}:{record.line}: {layout.label} is {_kind(label)}, "
            "expected a word or a whole number"
        )
    said = "" if label is None else str(label).strip()
    if layout.labelled and not said:
        raise InvalidData(f"{name}:{record.line}: {layout.label} is empty")
    return said or None


def _columns_of(record: FileRecord, name: str) -> str:
    return f"{name}:{1 if record.raw is None else record.line}"


def _kind(value: object) -> str:
    """Return what a value is, for messages: never a text, which may be somebody's."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
