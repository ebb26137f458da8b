"""What an engine adds for a calibrated model: calibrated scores, and a credit for each step."""

import random

import numpy as np
import pytest
import torch

from model.batches import pad
from model.calibration import Calibration, write_calibration
from model.checkpoint.folder import fingerprint, load_model
from model.engine.calibrate import calibrate_int8
from model.engine.engine import Engine
from tests.support.tiny_model import WORDS, tiny_config, write_tiny_model

TEMPERATURES, WORTH = (0.5, 2.0, 4.0), (0.25, 0.0)
CALIBRATION = Calibration(TEMPERATURES, WORTH, 500, (9, 9), (0.1,) * 3, (0.0,) * 3)
TEXTS = [" ".join(random.Random(i).choices(WORDS, k=1 + i % 18)) for i in range(300)]
EXITS = [i % 3 for i in range(300)]


def calibrated(folder, labels):
    """Return a tiny model of three exits that has a calibration."""
    write_tiny_model(folder, config=tiny_config(labels=labels, exit_layers=(1, 2, 4)))
    write_calibration(folder, CALIBRATION)
    return folder


def expected(folder, engine):
    """Return labels, scores and credits of all exits, from the plain network and the formula."""
    network = load_model(folder)
    ids, mask = pad(engine.tokenise(TEXTS).ids, network.config.pad_token_id)
    with torch.inference_mode():
        logits = np.stack([x.numpy().astype(np.float64) for x in network(ids, mask)], 1)
    odds = np.exp(logits / np.array(TEMPERATURES)[:, None])
    p = odds / odds.sum(-1, keepdims=True)
    labels = logits.argmax(-1)
    credits_ = np.zeros(labels.shape)
    for text, said in enumerate(labels):
        for j in range(1, 3):
            if said[j] != said[j - 1]:
                gain = p[text, j, said[j]] - p[text, j, said[j - 1]]
                credits_[text, j] = 1000 * (WORTH[j - 1] + gain) / 2
    return labels, p.max(-1), credits_


@pytest.mark.parametrize("labels", [("no", "yes"), ("a", "b", "c", "d")])
def test_credits_follow_the_formula(tmp_path, labels):
    """Texts of one batch that stop at different exits: scores and credits of each are right."""
    folder = calibrated(tmp_path, labels)
    engine = Engine(folder, device="cpu", max_batch_tokens=700)
    assert engine.calibrated
    said, scores, credits_ = expected(folder, engine)
    differing = 0
    for i, result in enumerate(engine.run(TEXTS, EXITS)):
        exits = EXITS[i] + 1
        assert result.labels == tuple(said[i, :exits])
        assert result.scores == pytest.approx(scores[i, :exits], abs=1e-4)
        assert result.credits == pytest.approx(credits_[i, :exits], abs=0.6)
        assert all(type(credit) is int and 0 <= credit <= 1000 for credit in result.credits)
        assert result.credits[0] == 0
        differing += sum(credit > 0 for credit in result.credits)
    assert differing > 50


def test_calibration_changes_no_label(tmp_path):
    """Labels, tokens and cuts are the same with and without; scores are not, credits are new."""
    plain = Engine(write_tiny_model(tmp_path / "plain"), device="cpu")
    other = Engine(calibrated(tmp_path / "calibrated", plain.config.labels), device="cpu")
    assert not plain.calibrated
    pairs = list(zip(plain.run(TEXTS, EXITS), other.run(TEXTS, EXITS), strict=True))
    for a, b in pairs:
        assert (a.labels, a.tokens, a.truncated) == (b.labels, b.tokens, b.truncated)
        assert a.credits == ()
        assert len(b.credits) == len(b.labels)
    assert any(a.scores != pytest.approx(b.scores, abs=0.05) for a, b in pairs)
    assert other.run([], []) == []


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions_have_credits(tmp_path, precision):
    """Credits in bf16 and int8 are near those of fp32 wherever the labels are the same."""
    folder = calibrated(tmp_path, ("no", "yes"))
    if precision == "int8":
        try:
            calibrate_int8(folder, TEXTS)
        except (AttributeError, RuntimeError) as error:
            pytest.skip(f"no int8 products in this build of torch: {error}")
    exact = Engine(folder, device="cpu").run(TEXTS, [2] * 300)
    rounded = Engine(folder, device="cpu", precision=precision, least_int8_agreement=0.0)
    pairs = [
        (a.credits, b.credits)
        for a, b in zip(exact, rounded.run(TEXTS, [2] * 300), strict=True)
        if a.labels == b.labels and any(a.credits)
    ]
    assert len(pairs) > 50
    assert np.abs(np.subtract(*zip(*pairs, strict=True))).mean() < 20


def test_an_engine_without_and_with_calibration_are_different_models(tmp_path):
    """Counters of both kinds never mix: their fingerprints differ."""
    folder = write_tiny_model(tmp_path)
    before = Engine(folder, device="cpu").fingerprint
    write_calibration(folder, CALIBRATION)
    assert Engine(folder, device="cpu").fingerprint == fingerprint(folder) != before
