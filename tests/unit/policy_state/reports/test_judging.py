"""Delayed labels: what is read of them, how they are joined, and what they say, by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from consumer.errors import InvalidSettings
from consumer.learning.labels import join, labels_of_file, labels_of_records, parse_label
from model.errors import InvalidData
from policy_state.errors import InvalidInput
from policy_state.reports.labels import judge
from policy_state.simulation.synthetic import SyntheticDomain

COSTS = (0.01, 0.05, 0.1)


def prediction(id_: object, labels: list[int], **fields: object) -> bytes:
    """Return a prediction as workers write it."""
    names = ("negative", "positive", "mixed")
    body = {"id": id_, "domain": "films", "exit_labels": labels, "model": "f1"}
    said = {"label": labels[-1], "label_name": names[labels[-1]]} if labels else {}
    return json.dumps(body | said | fields).encode()


def test_errors_and_the_exit_by_labels_by_hand() -> None:
    """Errors over the texts that ran so far; the best by error plus cost; what that would save."""
    texts = [(0, 1, 1)] * 30 + [(1, 1)] * 60 + [(0,)] * 10
    truth = [1] * 90 + [0] * 10
    found = judge(texts, truth, exit_=0, costs=COSTS)
    assert [(e.share, e.texts) for e in found.errors if e] == [(0.3, 100), (0, 90), (0, 30)]
    assert found.served is not None
    assert found.served.share == 0
    assert (found.exit, found.exit_by_labels, found.agrees, found.clear) == (0, 1, False, True)
    lost, extra = found.lost_reward, found.extra_error
    assert lost is not None
    assert extra is not None
    assert lost.value == pytest.approx(30 / 90 + 0.01 - 0.05)  # the step, on texts that ran to 1
    assert extra.value == pytest.approx(30 / 90)
    assert extra.low < extra.value < extra.high


def test_steps_are_taken_on_the_same_texts() -> None:
    """Deep runs at a bad time do not make the deep exit look bad: it is compared at that time."""
    texts: list[tuple[int, ...]] = [*[(0, 0, 0)] * 50, *[(1,)] * 950]
    found = judge(texts, [1] * 1000, exit_=2, costs=(0.1, 0.1, 0.1))
    assert [e.share for e in found.errors if e] == [0.05, 1, 1]
    assert found.exit_by_labels == 2
    assert found.extra_error is not None
    assert found.extra_error.value == 0


def test_exits_without_labels_are_left_out() -> None:
    """Nothing is said of an exit that no labelled text computed, nor by it."""
    found = judge([(0, 1)] * 40, [1] * 40, exit_=0, costs=COSTS)
    assert found.errors[2] is None
    assert (found.exit_by_labels, found.extra_error) == (1, None)
    nothing = judge([], [], exit_=1, costs=COSTS)
    assert (nothing.exit_by_labels, nothing.served, nothing.agrees) == (None, None, True)
    unseen = judge([(0,)], [0], exit_=2, costs=COSTS)
    assert (unseen.exit_by_labels, unseen.lost_reward) == (None, None)


def test_by_tolerance_labels_choose_the_cheapest_exit_that_keeps_it() -> None:
    """With that objective no reward is lost; the last exit is what errors are held against."""
    texts = [(0, 1, 1)] * 20 + [(1, 1, 1)] * 70 + [(1, 0, 1)] * 10
    truth = [1] * 100
    for tolerance, best in ((0.05, 2), (0.15, 1), (0.25, 0)):
        found = judge(texts, truth, exit_=0, costs=COSTS, tolerance=tolerance)
        assert (found.exit_by_labels, found.lost_reward) == (best, None)
    assert judge([(0, 0)], [0], exit_=0, costs=COSTS, tolerance=0.1).exit_by_labels is None


def test_within_chance_is_told_from_clear() -> None:
    """A small difference on few texts is not clear, the same on many is."""
    few = judge([(0, 1)] * 3 + [(1, 1)] * 30, [1] * 33, exit_=0, costs=(0.0, 0.02))
    many = judge([(0, 1)] * 300 + [(1, 1)] * 3000, [1] * 3300, exit_=0, costs=(0.0, 0.02))
    assert (few.exit_by_labels, few.clear) == (1, False)
    assert (many.exit_by_labels, many.clear) == (1, True)


def test_intervals_hold_the_truth() -> None:
    """Of 300 domains at most 8 % (5 % and four times their chance, halved) miss the difference."""
    rng, missed = np.random.default_rng(0), 0
    domain = SyntheticDomain((0.3, 0.2, 0.1), violations=0.3)
    for _ in range(300):
        labels, truth = domain.texts(200, rng)
        extra = judge(labels.tolist(), truth.tolist(), exit_=0, costs=COSTS).extra_error
        assert extra is not None
        missed += not extra.low <= 0.2 <= extra.high
    assert missed / 300 <= 0.08


def test_texts_that_cannot_be_judged_are_refused() -> None:
    """As many labels as texts, and no more exits than there are."""
    with pytest.raises(InvalidInput, match="1 text with 2 labels"):
        judge([(0,)], [0, 1], exit_=0, costs=COSTS)
    with pytest.raises(InvalidInput, match="4 exit labels for one text, of 3 exits"):
        judge([(0,) * 4], [0], exit_=0, costs=COSTS)


def test_labels_are_read_from_tsv_and_json_lines(tmp_path: Path) -> None:
    """With a header or without, by name or number; a later label of the same id counts."""
    tsv, lines = tmp_path / "labels.tsv", tmp_path / "labels.jsonl"
    tsv.write_bytes(b"id\tlabel\r\na\t1\r\nb\tpositive\r\na\t0\r\n\r\n")
    assert labels_of_file(tsv) == {"a": "0", "b": "positive"}
    lines.write_text('{"id": 7, "label": 1, "by": "anna"}\n{"id": "b", "label": "positive"}\n')
    assert labels_of_file(lines) == {"7": 1, "b": "positive"}
    values = [b'{"id": "a", "label": 1}', None, b"junk", b"b\t0"]
    assert labels_of_records(values) == ({"a": 1, "b": "0"}, 2)


@pytest.mark.parametrize("line", [b"a", b"a\t1\t2", b"\t1", b"a\t\xff"])
def test_a_row_without_a_label_is_named_by_its_line(tmp_path: Path, line: bytes) -> None:
    """A table that holds something else says where."""
    path = tmp_path / "labels.tsv"
    path.write_bytes(b"id\tlabel\na\t1\n" + line + b"\n")
    with pytest.raises((InvalidSettings, InvalidData), match=r"labels\.tsv:3: "):
        labels_of_file(path)


@pytest.mark.parametrize("line", [b'{"id": 1}', b'{"id": 1, "label": true}', b"{", b"a\t1"])
def test_an_object_without_a_label_is_named_by_its_line(tmp_path: Path, line: bytes) -> None:
    """JSON lines that hold something else say where; so does a file that is not there."""
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"id": "a", "label": 1}\n' + line + b"\n")
    with pytest.raises((InvalidSettings, InvalidData), match=r"labels\.jsonl:2: "):
        labels_of_file(path)
    with pytest.raises(InvalidData, match=r"none\.jsonl: cannot be read"):
        labels_of_file(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "line", [b"a", b"a\t1\t2", b"\t1", b'{"id": 1}', b'{"id": 1, "label": true}', b"{", b"a\t\xff"]
)
def test_a_record_without_a_label_is_none(line: bytes) -> None:
    """Of a topic, too, only an id with its label is taken."""
    with pytest.raises(ValueError):  # noqa: PT011 - who reads the topic counts it and continues
        parse_label(line)


def test_labels_meet_their_predictions_by_id() -> None:
    """Per domain; names as the predictions have them; all that does not fit is told."""
    predictions = [
        prediction("a", [0, 1]),
        prediction(7, [0], domain="books"),
        prediction("b", [2], domain="books"),
        prediction("c", [0]),
        prediction("d", [0]),
        prediction("a", [0], model="another"),
        prediction("a", []),
        b"not JSON",
        None,
    ]
    labels: dict[str, int | str] = {"a": "positive", "7": 1, "b": "0", "d": "Positive", "z": 1}
    found = join(predictions, labels, fingerprint="f1", exits=2)
    assert {name: (t.exit_labels, t.truth) for name, t in found.domains.items()} == {
        "films": ([(0, 1)], [1]),
        "books": ([(0,), (2,)], [1, 0]),
    }
    assert (found.unlabelled, found.skipped, dict(found.unknown)) == (1, 4, {"Positive": 1})


def test_a_class_called_by_digits_is_meant_by_its_name() -> None:
    """Where classes are called "1" to "5", 1 is the first of them, as a word and as a number."""
    predictions = [prediction("a", [0], label_name="1"), prediction("b", [1], label_name="2")]
    found = join(predictions, {"a": "1", "b": 1}, fingerprint="f1", exits=2)
    assert found.domains["films"].truth == [0, 0]
