"""Files of texts: what is in them comes out, what is wrong is named with file and line."""

import io
from pathlib import Path

import pytest
import zstandard

from model.data import read_labelled, read_sentences, read_texts, set_name, write_matrix
from model.distillation import Unlabelled
from model.errors import InvalidData, InvalidSettings


def write(path, content):
    """Write a text file, compressed where its name says so."""
    data = content.encode()
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.zst"])
def test_labelled(tmp_path, name):
    """Texts and labels come in file order, whatever the order of columns and with quotes as is."""
    path = write(tmp_path / name, 'id\tlabel\ttext\n7\t1\tso "good\r\n8\t0\tnaïve\u2028bad\n')
    got = read_labelled(path)
    assert got.texts == ('so "good', "naïve\u2028bad")
    assert got.labels == (1, 0)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.zst"])
def test_one_text_a_line(tmp_path, name):
    """A file that is no .tsv has one text a line; empty lines are none."""
    path = write(tmp_path / name, "one\twith a tab\n\ntwo\n")
    assert read_texts(path) == (("one\twith a tab", "two"), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence\tlabel\nx\t1\n", r":1: columns are sentence, label, expected one named text"),
        ("text\tlabel\nx\t1\ny\n", r":3: 1 columns, expected 2"),
        ("text\tlabel\nx\t-1\n", r":2: label is '-1', expected a whole number from 0"),
        ("text\tlabel\nx\t²\n", r":2: label is '²'"),
        ("text\tlabel\nx\t1\ny\t2\n", r":3: label is 2, the model has classes 0\.\.1"),
        ("text\nx\n", "has no labels"),
        ("text\tlabel\n", "no texts"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    """What is wrong with a file is said with its path and line."""
    path = write(tmp_path / "bad.tsv", content)
    with pytest.raises(InvalidData, match=message) as caught:
        read_labelled(path, classes=2)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("a.tsv.zst", b"not zstd"), ("a.tsv", b"text\n\xff\n"), ("b.tsv", None)]
)
def test_unreadable_files(tmp_path, name, content):
    """A file that is not zstd, not UTF-8 or not there is an error with its path."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidData, match="cannot be read") as caught:
        read_texts(tmp_path / name)
    assert name in str(caught.value)


def test_sentences(tmp_path):
    """Texts are cut at sentence ends; too short ones and repetitions go; a cap holds."""
    text = "It was good. No! It was good. The room was small?<br />Never again, I say!\n"
    path = write(tmp_path / "a.txt", text)
    found = read_sentences(path, None, seed=0)
    assert sorted(found) == ["It was good.", "Never again, I say!", "The room was small?"]
    assert read_sentences(path, 2, seed=0) == found[:2]
    with pytest.raises(InvalidData, match="no sentences of 3 to 40 words"):
        read_sentences(write(tmp_path / "b.txt", "too short\n"), None, seed=0)


def test_sample_is_seeded(tmp_path):
    """A sample has the asked size, keeps pairs together and is the same for a seed."""
    rows = "".join(f"text {i}\t{i}\n" for i in range(100))
    everything = read_labelled(write(tmp_path / "a.tsv", "text\tlabel\n" + rows))
    some = everything.sample(10, seed=3)
    assert some == everything.sample(10, seed=3) != everything.sample(10, seed=4)
    assert some.texts == tuple(f"text {label}" for label in some.labels)
    assert everything.sample(100, seed=3) is everything


def test_matrix():
    """A matrix has a column per exit, and the truth under the authors' name where known."""
    file = io.StringIO()
    write_matrix(file, [(0, 1), (1, 1)], [1, 0])
    assert file.getvalue() == "0\t1\top_labels\n0\t1\t1\n1\t1\t0\n"
    file = io.StringIO()
    write_matrix(file, [(0, 1)], None)
    assert file.getvalue() == "0\t1\n0\t1\n"


def test_set_name():
    """Files of different folders keep different names in tables."""
    assert set_name(Path("data/imdb/test.tsv.zst")) == "imdb/test"


def test_unlabelled():
    """A cap may follow a file's name; what follows must be a number."""
    assert Unlabelled.parse("a=b.txt=30") == Unlabelled(Path("a=b.txt"), 30)
    assert Unlabelled.parse("b.txt") == Unlabelled(Path("b.txt"))
    with pytest.raises(InvalidSettings, match=r"b\.txt=many: expected FILE or FILE=SENTENCES"):
        Unlabelled.parse("b.txt=many")
