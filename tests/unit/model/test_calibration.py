"""Calibration: temperatures and worths from labelled texts, and the file that keeps them."""

import json

import numpy as np
import pytest

from model.calibration import fit, read_calibration, write_calibration
from model.errors import InvalidCheckpoint, InvalidData
from model.folder_files import CALIBRATION
from tests.support.hostile import walk


def logits_of(said, classes=2, sure=2.0):
    """Return logits, (texts, exits, classes), of exits that give these labels, equally sure."""
    return np.float32(sure) * np.eye(classes, dtype=np.float32)[np.asarray(said)]


def drawn(scales, classes=3, texts=20_000):
    """Return logits whose softmax is true once they are divided by each exit's scale, and truth."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(texts, classes)) * 2
    odds = np.exp(logits)
    truth = [rng.choice(classes, p=row) for row in odds / odds.sum(-1, keepdims=True)]
    return np.stack([logits * scale for scale in scales], 1).astype(np.float32), truth


def test_temperatures_recover_known_scales():
    """Logits that are too large by a factor have it as temperature; then the error is gone."""
    scales = (0.25, 1.0, 4.0)
    found = fit(*drawn(scales))
    assert found.temperatures == pytest.approx(scales, rel=0.03)
    assert max(found.ece_after) < 0.015
    assert found.ece_before[0] > 0.1
    assert found.ece_before[2] > 0.1
    assert found.texts == 20_000


def test_temperatures_stay_within_limits():
    """Exits that are always right, or always wrong, get no temperature beyond reason."""
    truth = [0, 1] * 150
    right = logits_of([[label] for label in truth])
    wrong = logits_of([[1 - label] for label in truth])
    assert fit(right, truth).temperatures == (0.05,)
    assert fit(wrong, truth).temperatures == (20.0,)


def test_a_step_is_worth_what_its_duels_won():
    """Wins less losses over duels and thirty more; texts that both exits have wrong are duels."""
    truth = [0] * 200 + [1] * 100
    shallow = [1] * 70 + [0] * 130 + [0] * 50 + [1] * 50
    deep = [0] * 60 + [1] * 10 + [0] * 130 + [0] * 40 + [2] * 10 + [0] * 5 + [1] * 45
    # 60 won, 10 both wrong (0 -> 2) and 5 lost, of 75 duels
    found = fit(logits_of(list(zip(shallow, deep, strict=True)), classes=3), truth)
    assert found.duels == (75,)
    assert found.worth == (round((60 - 5) / (75 + 30), 3),)


def test_a_step_that_loses_or_never_changes_a_label_is_worth_nothing():
    """Worth is not negative, and where there are no duels nothing is proven."""
    truth = [0, 1] * 100
    worse = [0, 0] * 100
    found = fit(logits_of(list(zip(truth, worse, worse, strict=True))), truth)
    assert found.worth == (0.0, 0.0)
    assert found.duels == (100, 0)


def test_a_model_with_one_exit_has_no_steps():
    """There is nothing to gain, but its scores are calibrated."""
    found = fit(*drawn((2.0,), texts=2_000))
    assert found.temperatures == pytest.approx((2.0,), rel=0.1)
    assert found.worth == found.duels == ()


def test_the_error_is_the_distance_of_confidence_and_accuracy():
    """Of texts that are said with 0.88, three quarters are right: the error is 0.13."""
    truth = [0, 1] * 150 + [1, 0] * 50
    said = [[0], [1]] * 200
    found = fit(logits_of(said), truth)
    assert found.ece_before == pytest.approx((1 / (1 + np.exp(-2)) - 0.75,), abs=1e-4)
    assert found.temperatures == pytest.approx((2 / np.log(3),), abs=1e-3)
    assert found.ece_after == pytest.approx((0,), abs=1e-3)


def test_too_few_texts_or_classes_calibrate_nothing():
    """The error names the number, or says that labels differ nowhere."""
    with pytest.raises(InvalidData, match="199 labelled texts for calibration, at least 200"):
        fit(logits_of([[0]] * 199), [0] * 199)
    with pytest.raises(InvalidData, match="have the same label, two or more"):
        fit(logits_of([[0]] * 200), [0] * 200)


def test_a_file_gives_back_what_was_written(tmp_path):
    """Numbers are rounded when they are fitted, so nothing is lost on the way, and not in JSON."""
    found = fit(*drawn((0.7, 1.3), texts=2_000))
    path = write_calibration(tmp_path, found)
    assert read_calibration(tmp_path, exits=2) == found
    assert len(path.read_text()) < 400
    assert read_calibration(tmp_path / "elsewhere", exits=2) is None


def test_a_calibration_of_another_model_is_refused(tmp_path):
    """The error names the file, the field, what is expected and the command that makes it anew."""
    write_calibration(tmp_path, fit(*drawn((1.0, 1.0), texts=500)))
    with pytest.raises(
        InvalidCheckpoint,
        match=r"calibration\.json: temperatures is \[.*\], expected 3 numbers from 0\.05 to 20, "
        r"one for each exit; `offramp model calibrate` makes",
    ):
        read_calibration(tmp_path, exits=3)


def test_every_field_of_a_calibration_is_named_or_loads(tmp_path):
    """Whatever stands in the file: one line with its field and the cure, or numbers in range."""
    content = json.loads(
        write_calibration(tmp_path, fit(*drawn((0.7, 1.3), texts=500))).read_text()
    )

    def load(folder):
        try:
            found = read_calibration(folder, exits=2)
        except InvalidCheckpoint as error:
            return str(error)
        assert found is not None
        assert all(type(value) is float and 0.05 <= value <= 20 for value in found.temperatures)
        assert all(type(value) is float and 0 <= value <= 1 for value in found.worth)
        assert all(type(value) is int for value in (found.texts, *found.duels))
        return None

    refused = set()
    for path, value, error in walk(tmp_path, CALIBRATION, content, load=load):
        if error is not None:
            assert error.endswith("`offramp model calibrate` makes the file anew")
            assert not path or f"{CALIBRATION}: {path[0]} is " in error, (path, value, error)
            refused |= set(path[:1])
    assert refused == set(content)


@pytest.mark.parametrize("made", ["folder", "link to nothing", "bytes"])
def test_what_is_no_file_of_json_is_refused(tmp_path, made):
    """A calibration that cannot be read is not taken for none."""
    path = tmp_path / CALIBRATION
    if made == "folder":
        path.mkdir()
    elif made == "bytes":
        path.write_bytes(b"\xff\x00{")
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(InvalidCheckpoint, match=r"calibration\.json.*model calibrate` makes"):
        read_calibration(tmp_path, exits=2)
