"""The formats of files of texts, and which one a file's name shows. Imports next to nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from model.errors import InvalidData

STDIN: Final = Path("-")
PACKED: Final = (".gz", ".zst")
_PANDAS: Final = (
    'convert it: python -c "import pandas; pandas.read_{0}({1!r})'
    ".to_json('NEW.jsonl', orient='records', lines=True)\""
)


class Format(StrEnum):
    """How a file says where a record and a field end."""

    AUTO = "auto"  # by the name of the file
    TSV = "tsv"  # a header, tabs, no quoting: a quote is a character like any other
    CSV = "csv"  # a header, commas (or what the header has: semicolons, tabs), quoting
    JSONL = "jsonl"  # one JSON object a line
    LINES = "lines"  # one text a line


_SUFFIXES: Final = {
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".txt": Format.LINES,
    ".text": Format.LINES,
}
_FOREIGN: Final = {  # endings of unsupported formats, and what pandas calls them
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".orc": "orc",
    ".xlsx": "excel",
    ".xls": "excel",
}


def shown(path: Path) -> str:
    """Return how a file is called in messages."""
    return "stdin" if path == STDIN else str(path)


def format_of(path: Path) -> Format:
    """Return the format that a file's name shows, packed or not.

    >>> from pathlib import Path
    >>> format_of(Path("a.TSV.gz"))
    <Format.TSV: 'tsv'>

    Raises:
        InvalidData: the name shows no format, or one that must be converted first.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _FOREIGN:
        raise InvalidData(
            f"{path}: {suffix} is not supported; {_PANDAS.format(_FOREIGN[suffix], str(path))}"
        )
    if path == STDIN or suffix not in _SUFFIXES:
        known = ", ".join(form for form in Format if form is not Format.AUTO)
        raise InvalidData(
            f"{shown(path)}: has no name that shows the format; give --format: {known}"
        )
    return _SUFFIXES[suffix]
