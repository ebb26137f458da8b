"""Labels: words or whole numbers become classes in a stated order, and find them again."""

import pytest

from model.errors import InvalidData, InvalidOptions
from model.labels import Classes, classes_of

WORLD = ("world", "sports", "business", "technology")


@pytest.mark.parametrize(
    ("labels", "options", "names"),
    [
        (["0", "1", "1"], {}, ("negative", "positive")),
        (["2", "1", "0"], {}, ("0", "1", "2")),
        (["4", "2", "1", "3"], {}, ("1", "2", "3", "4")),
        (["10", "9", "-1"], {}, ("-1", "9", "10")),
        (["01", "1", "2"], {}, ("1", "2")),
        (["3000000000", "1"], {}, ("1", "3000000000")),
        (["pos", "neg", "10"], {}, ("10", "neg", "pos")),
        (["b", "a"], {"named": ("b", "a")}, ("b", "a")),
        (["0", "3"], {"named": WORLD}, WORLD),
        (["1", "2", "3", "4"], {"named": WORLD}, WORLD),
        (["sports", "world"], {"known": [("a", "b"), WORLD]}, WORLD),
        (["0", "1"], {"known": [("LABEL_0", "LABEL_1")]}, ("LABEL_0", "LABEL_1")),
        (["0", "1"], {"known": [("a", "b", "c")]}, ("negative", "positive")),
        (["1", "2"], {"known": [("a", "b", "c")]}, ("1", "2")),
        (["1", "2"], {"known": [("1", "2", "3")]}, ("1", "2", "3")),
    ],
)
def test_classes_have_a_stated_order(labels, options, names):
    """Numbers in their order, words by the alphabet, or as --labels or a model has them."""
    found = classes_of(labels, where="a.tsv", **options)
    assert found.names == names
    assert found.order
    assert {found.number(label) for label in labels} <= set(range(len(names)))


def test_numbers_from_one_are_named_in_their_order():
    """AG News counts from 1: its names stand for 1 to 4, and an evaluation finds the same."""
    classes = classes_of(["1", "2", "3", "4"], where="a.tsv", named=WORLD)
    assert [classes.number(label) for label in ("1", "4", "sports", "0")] == [0, 3, 1, None]
    assert str(classes).startswith("0 = world (1 in the file), 1 = sports (2 in the file)")


@pytest.mark.parametrize(
    ("labels", "named", "error", "message"),
    [
        (["1", "1"], None, InvalidData, "a.tsv: every label is '1'; a classifier needs"),
        (["1", "01"], None, InvalidData, "a.tsv: every label is '1'"),
        (map(str, range(1001)), None, InvalidData, "1,001 different labels, but at most 1,000"),
        (["a", "c"], ("a", "b"), InvalidData, "a.tsv: label 'c' is not in --labels a,b"),
        (["0", "5"], WORLD, InvalidData, "label '5' is not in --labels world"),
        (["a", "b"], ("a", "a"), InvalidOptions, "--labels a,a: expected two or more different"),
        (["a", "b"], ("a", ""), InvalidOptions, "--labels a,: expected two or more different"),
    ],
)  # fmt: skip
def test_labels_that_make_no_classes_are_refused(labels, named, error, message):
    """One class only, more than a classifier has, or none of those that were named."""
    with pytest.raises(error, match=message):
        classes_of(labels, where="a.tsv", named=named)


def test_a_label_finds_its_class_by_name_then_by_number():
    """Where classes are called by numbers, a number is a name: 1 is not the second class there."""
    words, stars = Classes(("negative", "positive")), Classes(("1", "2", "3"))
    assert [words.number(label) for label in ("positive", "1", "01", " 0 ")] == [1, 1, 1, 0]
    assert [words.number(label) for label in ("2", "-1", "Positive", "²", "")] == [None] * 5
    assert [stars.number(label) for label in ("1", "3", "0", "4")] == [0, 2, None, None]


def test_an_unknown_label_lists_the_known_ones():
    """And names the one that may be meant; of very many classes the first are enough."""
    with pytest.raises(
        InvalidData, match=r"a:7: label is 'POSITIVE' \(did you mean positive\?\), "
    ):
        Classes(("negative", "positive")).require("POSITIVE", "a:7")
    many = Classes(tuple(f"class-{i}" for i in range(50)))
    with pytest.raises(InvalidData, match=r"0 = class-0, .*19 = class-19 and 30 more$"):
        many.require("nothing like it", "a:7")
