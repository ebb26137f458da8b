"""Files of texts: what is in them comes out, what is wrong is named with file and line."""

import io
from pathlib import Path

import pytest
import zstandard

from model.errors import InvalidData, InvalidOptions
from model.labels import Classes
from model.texts.data import (
    LabelledTexts,
    read_known,
    read_labelled,
    read_sentences,
    read_texts,
    set_name,
    write_matrix,
)
from model.training.settings import Unlabelled

SENTIMENT = Classes(("negative", "positive"))


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
    """A .txt file has one text a line; empty lines are none."""
    path = write(tmp_path / name, "one\twith a tab\n\ntwo\n")
    assert read_texts(path) == ("one\twith a tab", "two")
    assert read_known(path, SENTIMENT) == (("one\twith a tab", "two"), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\tlabel\nx\t1\ny\n", r":3: 1 column, expected 2"),
        ("text\tlabel\nx\t-1\n", r":2: label is '-1', but the model has the classes 0 = negative"),
        ("text\tlabel\nx\t²\n", r":2: label is '²', but the model has"),
        ("text\tlabel\nx\t1\ny\t2\n", r":3: label is '2', .* 0 = negative, 1 = positive"),
        ("text\tlabel\nx\tPositive\n", r":2: label is 'Positive' \(did you mean positive\?\)"),
        ("text\tlabel\nx\t3000000000\n", r":2: label is '3000000000', but the model has"),
        ("text\tlabel\nx\t\n", ":2: label is empty"),
        ("text\nx\n", ":1: no column label; the columns are text; name one of them"),
        ("text\tlabel\n", "no texts"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    """What is wrong with a file is said with its path and line."""
    path = write(tmp_path / "bad.tsv", content)
    with pytest.raises(InvalidData, match=message) as caught:
        read_labelled(path, classes=SENTIMENT)
    assert str(path) in str(caught.value)


def test_labels_of_some_rows_only_are_refused(tmp_path):
    """A truth that is known in part would stand beside the wrong texts."""
    path = write(tmp_path / "a.tsv", "text\tlabel\na\t1\nb\t\n")
    with pytest.raises(
        InvalidData, match=r"a\.tsv:3: this row has no label, but rows before it have one"
    ):
        read_known(path, SENTIMENT)
    path = write(tmp_path / "b.tsv", "text\tlabel\na\t\nb\t1\n")
    with pytest.raises(
        InvalidData, match=r"b\.tsv:3: this row has a label, but rows before it have none"
    ):
        read_known(path, SENTIMENT)


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


def test_a_part_is_held_out_of_every_class_alike():
    """The same for a seed; a text that stands there twice is on one side only; none is lost."""
    texts = tuple(f"text {i % 90}" for i in range(100))
    data = LabelledTexts(texts, tuple(int(i % 90 < 60) for i in range(100)))
    left, held = data.split(0.1, most=1000, seed=3)
    assert (left, held) == data.split(0.1, most=1000, seed=3)
    assert (left, held) != data.split(0.1, most=1000, seed=4)
    assert len(left.texts) + len(held.texts) == 100
    assert not set(left.texts) & set(held.texts)
    pairs = set(zip(held.texts, held.labels, strict=True))
    assert [sum(label == of for _, label in pairs) for of in (0, 1)] == [3, 6]
    assert len(set(data.split(0.5, most=10, seed=3)[1].texts)) == 9


def test_a_class_of_one_text_is_not_held_out():
    """It would be learnt from nothing."""
    data = LabelledTexts(("a", "b", "b", "c", "d"), (0, 1, 1, 2, 2))
    left, held = data.split(0.1, most=1000, seed=0)
    assert set(left.labels) == {0, 1, 2}
    assert held.labels == (2,)


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
    with pytest.raises(InvalidOptions, match=r"b\.txt=many: expected FILE or FILE=SENTENCES"):
        Unlabelled.parse("b.txt=many")
