"""Files that people bring: whatever they were written by, what is in them is read, or refused."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InvalidData
from model.texts.files import LINE_MOST_BYTES
from model.texts.formats import Format
from model.texts.rows import Layout, read_rows


def rows_of(path, **layout):
    """Return line, text and label of every row."""
    return [(row.line, row.text, row.label) for row in read_rows(path, Layout(**layout))]


def written(path, content):
    """Write a file and return it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tlabel\ngood\t1\nbad\t0\n"),
        ("a.TSV", "label\ttext\n1\tgood\n0\tbad"),
        ("crlf.tsv", "text\tlabel\r\ngood\t1\r\nbad\t0\r\n"),
        ("bom.csv", b"\xef\xbb\xbftext,label\r\ngood,1\r\nbad,0\r\n"),
        ("semicolons.csv", 'text;label\n"good";1\nbad;0\n'),
        ("tabs.csv", '"text"\t"label"\n"good"\t1\nbad\t0\n'),
        ("spaces.csv", "text, label\ngood, 1\nbad, 0\n"),
        ("a.jsonl", '{"text": "good", "label": 1}\n{"label": "0", "text": "bad", "more": [1]}\n'),
        ("a.NDJSON", '{"text": "good", "label": 1}\r\n{"text": "bad", "label": 0}\r\n'),
        ("a.json", '{"text": "good", "label": 1}\n{"text": "bad", "label": 0}'),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".GZ"])
def test_the_same_rows_come_out_of_every_format(tmp_path, name, content, packed):
    """Whatever program wrote them, in capitals or packed."""
    content = content if isinstance(content, bytes) else content.encode()
    pack: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".zst": zstandard.compress}
    pack |= {".gz": gzip.compress, ".GZ": gzip.compress}
    path = written(tmp_path / (name + packed), pack[packed](content))
    assert [row[1:] for row in rows_of(path)] == [("good", "1"), ("bad", "0")]


def test_lines_are_numbered_where_a_row_begins(tmp_path):
    """Also behind fields with line breaks, empty lines and a header."""
    path = written(
        tmp_path / "a.csv", 'text,label\n"one\r\ntwo\n\n""three""",1\n\n"ok, he said",0\n'
    )
    assert rows_of(path) == [(2, 'one\r\ntwo\n\n"three"', "1"), (7, "ok, he said", "0")]
    path = written(tmp_path / "a.jsonl", '\n{"text": "one\\ntwo"}\n\n{"text": "ok"}\n')
    assert rows_of(path) == [(2, "one\ntwo", None), (4, "ok", None)]


def test_what_looks_like_a_line_end_is_none(tmp_path):
    """Form feeds, line separators and lone carriage returns are part of a text."""
    text = "one\x0ctwo\u2028three\x85four\rfive"
    assert rows_of(written(tmp_path / "a.tsv", f"text\n{text}\n")) == [(2, text, None)]
    assert rows_of(written(tmp_path / "a.txt", f"{text}\n")) == [(1, text, None)]
    quoted = written(tmp_path / "a.csv", f'text\n"{text}"\n')
    assert rows_of(quoted) == [(2, text, None)]


def test_long_texts_are_read_whole(tmp_path):
    """Beyond the 131,072 characters that Python's csv takes at first."""
    text = "good stay " * 14_000
    assert rows_of(written(tmp_path / "a.csv", f"text,label\n{text},1\n")) == [(2, text, "1")]


def test_quotes_in_tsv_are_characters(tmp_path):
    """As in GLUE's files; a TSV with quoting is read as CSV."""
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"so good\t1\n')
    assert rows_of(path) == [(2, '"so good', "1")]
    path = written(tmp_path / "b.tsv", 'text\tlabel\n"so\tgood"\t1\n')
    assert rows_of(path, format=Format.CSV) == [(2, "so\tgood", "1")]


def test_columns_are_named(tmp_path):
    """The text and the label may be in any column; the others come along."""
    path = written(tmp_path / "a.csv", "id,review,sentiment\n7,fine,good\n")
    (row,) = read_rows(path, Layout(text="review", label="sentiment", labelled=True))
    assert (row.text, row.label, row.fields["id"]) == ("fine", "good", "7")
    assert rows_of(path, text="review") == [(2, "fine", None)]
    assert rows_of(path, text="review", label=None) == [(2, "fine", None)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "Text,x\nfine,1\n", r"1: no column text; .* Text, x; .* --text-column Text\?"),
        ("a.tsv", "sentence\tlabel\nx\t1\n", r"1: no column text; .* --text-column sentence\?"),
        ("a.tsv", "good\t1\nbad\t0\n", "1: no column text; .* good, 1; .* put a header into the f"),
        ("a.tsv", "t" * 99 + "\t1\nbad\t0\n", r"1: no column text; .* are t{27}\.\.\., 1;"),
        ("a.csv", "text,text\na,b\n", "1: two columns are called text"),
        ("a.csv", "text,label\na,1,2\n", "2: 3 columns, expected 2 as in the header"),
        ("a.csv", 'text,label\n"a\nb",1\nshort\n', "4: 1 column, expected 2"),
        ("a.csv", 'text,label\na,1\n"b,1\nc,0\n', "3: a quote that opens here is not closed"),
        ("a.csv", 'text,label\n"a"b,1\n', "2: not CSV: ',' expected after '\"'"),
        ("a.csv", "text,label\ra,1\rb,0\r", r"1: a carriage return without a line feed; convert"),
        ("a.csv", "text,label\n ,1\n", "2: text is empty; leave the row out"),
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}\n', r"2: no column text; .* --text-column txt\?"),
        ("a.jsonl", '{"text": null}\n', "1: text is null, expected a text"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n', "1: label is 0.5, expected a word or a whole"),
        ("a.jsonl", '{"text": "a", "label": true}\n', "1: label is true, expected a word"),
        ("a.jsonl", '{"text": "a", "label": NaN}\n', "1: not JSON: NaN is not a JSON number"),
        ("a.jsonl", '{"text": "a"\n', "1: not JSON: Expecting"),
        ("a.jsonl", '"text"\n', "1: expected a JSON object, got str"),
        ("a.jsonl", '[{"text": "a"}]\n', r"1: an array, .* convert it: jq -c '\.\[\]' FILE > NEW"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "1: half of a surrogate pair"),
        ("a.jsonl", '{"text": "a"}\n' + "[" * 100_000 + "]" * 100_000, "2: an array"),
        ("a.jsonl", '{"a": ' * 50_000 + "1" + "}" * 50_000, "1: the JSON is nested too deeply"),
        ("a.csv", b"text,label\ncaf\xe9,1\n", r"2: byte 0xe9 at column 4 is not UTF-8; .* iconv"),
        ("a.csv", "text\nx\n".encode("utf-16"), r"1: the file is UTF-16; .* iconv -f UTF-16 "),
        ("a.txt", "text\nx\n".encode("utf-16-le"), "1: a null character at column 2"),
        ("a.txt", b"x" * (LINE_MOST_BYTES + 1), "1: the line is longer than 16,777,216 bytes"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(tmp_path, name, content, message):
    """The file, the line where the row begins, what is wrong, and where there is one the cure."""
    path = written(tmp_path / name, content)
    with pytest.raises(InvalidData, match=f"{name}:{message}") as caught:
        rows_of(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.tsv", None, "cannot be read: No such file or directory"),
        (".", None, "cannot be read: Is a directory"),
        ("absent", None, "cannot be read: No such file or directory"),
        ("absent.parquet", None, "cannot be read: No such file or directory"),
        ("a.dat", b"text\n", "has no name that shows the format; give --format"),
        ("a.parquet", b"PAR1", r"\.parquet is not supported; convert it: python .*read_parquet\('"),
        ("a.xlsx", b"PK", r"\.xlsx is not supported; convert it: python .*read_excel\("),
        ("a.tsv.zst", b"not zstd", "cannot be unpacked: its first bytes are not those of zstd"),
        ("a.tsv.gz", b"not gzip", "cannot be unpacked: its first bytes are not those of gzip"),
        ("a.tsv.gz", gzip.compress(b"text\n" * 99, mtime=0)[:-9], "unpacked: Compressed file"),
        ("a.tsv.zst", zstandard.compress(bytes(range(256)) * 9)[:-3], "unpacked: it ends in"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n", "no texts"),
        ("a.txt", b"\n \n", "no texts"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, message):
    """What it is, and how what it holds can be made readable."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidData, match=message) as caught:
        rows_of(path)
    assert str(path) in str(caught.value)


def test_packed_parts_one_behind_the_other_are_one_file(tmp_path):
    """As parallel packers and `cat` leave them."""
    for name, pack in (("a.txt.gz", gzip.compress), ("a.txt.zst", zstandard.compress)):
        path = written(tmp_path / name, pack(b"one\n") + pack(b"two\nthree"))
        assert [text for _, text, _ in rows_of(path)] == ["one", "two", "three"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_stdin_is_read_like_a_file(pack):
    """As bytes, whatever the terminal's encoding is; its format is asked for."""
    code = (
        "from model.texts.rows import *; from pathlib import Path;"
        "row, = read_rows(Path('-'), Layout(format=Format.TSV)); print(ascii(row.text), row.line)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=Path(__file__).parents[4],
        input=pack("text\tlabel\nnaïve\t1\n".encode()),
        capture_output=True,
        check=True,
    )
    assert result.stdout.split() == [b"'na\\xefve'", b"2"]
    with pytest.raises(InvalidData, match=r"stdin: has no name .* give --format: tsv"):
        rows_of(Path("-"))


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
        .filter(str.strip),
        min_size=1,
        max_size=5,
    )
)  # fmt: skip
def test_whatever_a_csv_holds_comes_back(texts):
    """Quotes, line breaks, commas and all of Unicode, each row at the line where it begins."""
    written_by_csv = io.StringIO(newline="")
    writer = csv.writer(written_by_csv)
    writer.writerow(["text", "label"])
    begins = []
    for text in texts:
        begins.append(1 + written_by_csv.getvalue().count("\n"))
        writer.writerow([text, "x"])
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a.csv", written_by_csv.getvalue())
        assert rows_of(path) == [
            (line, text, "x") for line, text in zip(begins, texts, strict=True)
        ]


def test_files_are_read_as_they_come(tmp_path):
    """The first rows of a file are there before a later one is looked at."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "fine"}) + "\nbroken\n")
    rows = read_rows(path)
    assert next(rows).text == "fine"
    with pytest.raises(InvalidData, match=r"a\.jsonl:2: not JSON"):
        next(rows)


def test_the_trials_are_read_or_refused(shared_dir):
    """Small files that people bring give rows, or one line that names the file and the line."""
    folder = shared_dir / "trials"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    expected = {"bom.csv": 2, "crlf.tsv": 2, "bigfield.csv": 2, "upper.TSV": 1, "rows.jsonl": 2}
    assert {name: len(rows_of(folder / name)) for name in expected} == expected
    for name in ("quoted.csv:6", "deep.jsonl:1", "latin.csv:5", "sentence.tsv:1"):
        with pytest.raises(InvalidData, match=name) as caught:
            rows_of(folder / name.partition(":")[0])
        assert "\n" not in str(caught.value)
