"""Records of a file by the names of their columns: TSV, CSV, JSON lines, or one text a line."""

from __future__ import annotations

import csv
import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from model.errors import InvalidData
from model.texts.files import LINE_MOST_BYTES, look, read_lines
from model.texts.formats import Format, format_of, shown
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_TEXT: Final = "text"  # what the only column of plain lines is called
_SHOWN_COLUMNS: Final = 12
_SHOWN_CHARACTERS: Final = 30


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One record: where it begins, and its fields by the names of their columns."""

    line: int  # of the file, from 1
    fields: Mapping[str, Any]  # text; of JSON lines whatever stands there
    raw: str | None = None  # of JSON lines: the line


def read_records(path: Path, form: Format = Format.AUTO) -> Iterator[FileRecord]:
    """Yield the records of a file, packed or not; `-` is stdin. Blank lines are none.

    Raises:
        InvalidData: naming the file, the line where the record begins, and what is wrong with it.
    """
    if form is Format.AUTO:
        look(path)  # a missing file is reported first, not its unknown format
        form = format_of(path)
    readers = {
        Format.TSV: _tsv,
        Format.CSV: lambda lines, name: _table(_csv_rows(lines, name), name),
        Format.JSONL: _jsonl,
        Format.LINES: _lines,
    }
    yield from readers[form](read_lines(path), shown(path))


def no_column(
    place: str, name: str, there: Collection[str], option: str, *, usual: Sequence[str] = ()
) -> NoReturn:
    """Say that a column is not there, which ones are, and which may be meant.

    Args:
        place: the file and the line that names the columns.
        name: of the column that was looked for.
        there: the columns that there are.
        option: what names another one.
        usual: what such a column is called elsewhere.

    Raises:
        InvalidData: always.
    """
    folded = {column.casefold(): column for column in there}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    near += [known for known in usual if known in folded]
    meant = f"; did you mean {option} {_short(folded[near[0]])}?" if near else ""
    columns = ", ".join(_short(column) for column in list(there)[:_SHOWN_COLUMNS])
    more = f" and {len(there) - _SHOWN_COLUMNS} more" if len(there) > _SHOWN_COLUMNS else ""
    raise InvalidData(
        f"{place}: no column {_short(name)}; the columns are {columns}{more}"
        f"{meant or f'; name one of them with {option}, or put a header into the first line'}"
    )


def _tsv(lines: Iterable[str], name: str) -> Iterator[FileRecord]:
    cells = (line.rstrip("\r\n").split("\t") for line in lines)
    numbered = ((n, row) for n, row in enumerate(cells, start=1) if row != [""])
    return _table(numbered, name)


def _csv_rows(lines: Iterator[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV, each with the line where it begins."""
    header = next(lines, "")
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    # A process has one limit for all its readers, and 131,072 characters are few for a text.
    csv.field_size_limit(LINE_MOST_BYTES)
    reader = csv.reader(_again(header, lines), delimiter=delimiter, strict=True)
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InvalidData(f"{name}:{begin}: {_explained(error)}") from error
        if row:
            yield begin, row


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _explained(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end" in said or "field limit" in said:
        return (
            "a quote that opens here is not closed; a quote within a quoted field is written "
            "twice, and a file without quoting is read with --format tsv if it has tabs"
        )
    if "new-line" in said:
        return (
            "a carriage return without a line feed; convert the file: tr '\\r' '\\n' < FILE > NEW"
        )
    return f"not CSV: {said}"


def _table(rows: Iterator[tuple[int, Sequence[str]]], name: str) -> Iterator[FileRecord]:
    _, header = next(rows, (1, ()))
    columns = [cell.strip() for cell in header]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise InvalidData(f"{name}:1: two columns are called {_short(twice)}")
    for line, row in rows:
        if len(row) != len(columns):
            raise InvalidData(
                f"{name}:{line}: {counted(len(row), 'column')}, "
                f"expected {len(columns)} as in the header"
            )
        yield FileRecord(line, dict(zip(columns, row, strict=True)))
    if columns == []:
        raise InvalidData(f"{name}: is empty")


def _jsonl(lines: Iterable[str], name: str) -> Iterator[FileRecord]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        if line.lstrip().startswith("["):
            raise InvalidData(
                f"{place}: an array, expected one object a line; convert it: jq -c '.[]' FILE > NEW"
            )
        try:
            fields = json.loads(line, parse_constant=_no_constant)
        except RecursionError as error:
            raise InvalidData(f"{place}: the JSON is nested too deeply") from error
        except ValueError as error:
            raise InvalidData(f"{place}: not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InvalidData(f"{place}: expected a JSON object, got {type(fields).__name__}")
        if "\\u" in line and _has_lone_surrogate(fields):
            raise InvalidData(f"{place}: half of a surrogate pair (\\ud800-\\udfff) is not Unicode")
        yield FileRecord(number, fields, raw=line.strip())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _has_lone_surrogate(fields: Mapping[str, Any]) -> bool:
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _lines(lines: Iterable[str], name: str) -> Iterator[FileRecord]:
    del name
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield FileRecord(number, {_TEXT: line.rstrip("\r\n")})


def _short(name: str) -> str:
    """Return the name of a column for messages: without a header it may be somebody's text."""
    cut = name if len(name) <= _SHOWN_CHARACTERS else name[: _SHOWN_CHARACTERS - 3] + "..."
    plain = cut.isprintable() and cut.strip() == cut and "," not in cut and cut
    return cut if plain else repr(cut)
