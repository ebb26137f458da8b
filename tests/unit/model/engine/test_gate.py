"""A text with a gate stops at the first exit that is sure of it, and costs no more for it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.calibration import Calibration, write_calibration
from model.engine.answers import TextResult
from model.engine.attention import by_offsets
from model.engine.calibrate import calibrate_int8
from model.engine.engine import Engine, Item
from model.engine.graphs import Graphs
from tests.support.tiny_model import WORDS, repeated, text_by_text, tiny_config, write_tiny_model

CONFIG = tiny_config(hidden_size=64, exit_layers=(1, 3, 4))  # heads of 16
CALIBRATION = Calibration((0.5, 2.0, 4.0), (0.25, 0.5), 500, (9, 9), (0.1,) * 3, (0.0,) * 3)
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
KINDS = [
    "cpu fp32",
    "cpu fp32 calibrated",
    "cpu fp32 graphs",
    "cpu bf16",
    "cpu int8",
    pytest.param("cuda fp32", marks=ON_GPU),
    pytest.param("cuda bf16 calibrated", marks=ON_GPU),
]
TEXTS = [" ".join(random.Random(i).choices(WORDS, k=1 + i * 7 % 20)) for i in range(200)]

thresholds = st.sampled_from([0, 0, 1, 1000, 1001]) | st.integers(334, 999)
batches = st.lists(st.tuples(st.sampled_from(TEXTS), st.integers(0, 2), thresholds), max_size=30)


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return an engine over a small model with exits after layers 1, 3 and 4."""
    device, precision, *extra = request.param.split()
    folder = write_tiny_model(tmp_path_factory.mktemp("model"), config=CONFIG)
    if extra == ["calibrated"]:
        write_calibration(folder, CALIBRATION)
    if precision == "int8":
        try:
            calibrate_int8(folder, TEXTS)
        except (AttributeError, RuntimeError) as error:
            pytest.skip(f"no int8 products in this build of torch: {error}")
    engine = Engine(folder, device=device, precision=precision, least_int8_agreement=0.0)
    if extra == ["graphs"]:
        engine.encoder.layers = [
            replace(layer, attend=by_offsets(text_by_text, heads=4))
            for layer in engine.encoder.layers
        ]
        engine.encoder.graphs = Graphs(
            engine.encoder.layers, positions=24, like=torch.empty(0, 64), capture=repeated
        )
    return engine


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(write_tiny_model(tmp_path_factory.mktemp("exact"), config=CONFIG), device="cpu")


def stop(scores: tuple[float, ...], exit_: int, gate: int) -> int:
    """Return where a text stops, by the plain rule."""
    sure = (j for j, score in enumerate(scores[:exit_]) if round(1000 * score) >= gate > 0)
    return next(sure, exit_)


def columns(batch) -> tuple[list[str], list[int], list[int]]:
    return (
        [text for text, _, _ in batch],
        [exit_ for _, exit_, _ in batch],
        [g for _, _, g in batch],
    )


def is_start_of(found: TextResult, whole: TextResult, *, atol: float) -> None:
    """Assert that a result says of its exits what a deeper one says of them."""
    exits = len(found.labels)
    assert found.scores == pytest.approx(whole.scores[:exits], abs=atol)
    assert (found.tokens, found.truncated) == (whole.tokens, whole.truncated)
    assert len(found.credits) == (exits if whole.credits else 0)
    for mine, theirs, score in zip(found.labels, whole.labels, whole.scores, strict=False):
        assert mine == theirs or score < 0.5 + atol  # else no other class comes near


@given(batches)
@settings(max_examples=25)
def test_a_text_stops_at_the_first_exit_whose_score_reaches_its_gate(engine, batch) -> None:
    """In any company, in input order, and its exits say what they say without gates."""
    texts, exits, gates = columns(batch)
    atol = 1e-5 if engine.precision == "fp32" else 0.03
    ungated = engine.run(texts, exits)
    for (_, exit_, gate), found, whole in zip(
        batch, engine.run(texts, exits, gates), ungated, strict=True
    ):
        assert len(found.labels) == stop((*found.scores, 0, 0), exit_, gate) + 1
        is_start_of(found, whole, atol=atol)


@given(batches)
@settings(max_examples=25)
def test_gated_results_are_those_of_the_plain_rule_over_the_ungated_ones(exact, batch) -> None:
    """Labels are equal, and scores up to rounding, wherever no score is within it of a gate."""
    texts, exits, gates = columns(batch)
    ungated = exact.run(texts, exits)
    for gate, result in zip(gates, ungated, strict=True):
        assume(all(abs(1000 * score - gate + 0.5) > 0.02 for score in result.scores))
    for (_, exit_, gate), found, whole in zip(
        batch, exact.run(texts, exits, gates), ungated, strict=True
    ):
        end = stop(whole.scores, exit_, gate) + 1
        assert found.labels == whole.labels[:end]
        assert found.scores == pytest.approx(whole.scores[:end], abs=1e-5)


def test_a_gate_is_compared_with_the_score_rounded_to_thousandths(exact: Engine) -> None:
    """A text stops where its score is rounded to the gate itself, and not at a gate one higher."""
    scores = [result.scores[0] for result in exact.run(TEXTS, [1] * 200)]
    gates = [round(1000 * score) for score in scores]
    assert sum(1000 * score < gate for score, gate in zip(scores, gates, strict=True)) > 50
    for more, exits in ((0, 1), (1, 2)):
        found = exact.run(TEXTS, [1] * 200, [gate + more for gate in gates])
        assert {len(result.labels) for result in found} == {exits}


def test_a_calibrated_score_opens_the_gate_and_credits_stay(tmp_path) -> None:
    """The gate is compared with the score that results show, not with the plain softmax."""
    folder = write_tiny_model(tmp_path, config=CONFIG)
    plain = Engine(folder, device="cpu").run(TEXTS, [2] * 200)
    write_calibration(folder, CALIBRATION)
    engine = Engine(folder, device="cpu")
    whole, found = engine.run(TEXTS, [2] * 200), engine.run(TEXTS, [2] * 200, [700] * 200)
    ends = [len(result.labels) - 1 for result in found]
    assert ends == [stop(result.scores, 2, 700) for result in whole]
    assert ends != [stop(result.scores, 2, 700) for result in plain]
    assert {0, 2} <= set(ends)
    for some, all_ in zip(found, whole, strict=True):
        assert some.credits == all_.credits[: len(some.credits)]
        assert some.labels == all_.labels[: len(some.labels)]


def test_no_gate_is_the_same_run(exact: Engine) -> None:
    """Without gates, or with zeros only, results are equal to the last bit."""
    exits = [i % 3 for i in range(200)]
    assert exact.run(TEXTS, exits) == exact.run(TEXTS, exits, [0] * 200)
    assert exact.run(TEXTS, exits, None) == exact.run(TEXTS, exits)


@pytest.mark.parametrize("gates", [None, [], [0], [1], [1001]])
def test_no_text_and_a_single_one(exact: Engine, gates: list[int] | None) -> None:
    """A batch may be empty or have one text; 1 stops a text at once, 1001 never."""
    if not gates:
        assert exact.run([], [], gates) == []
        return
    (found,) = exact.run(["good film"], [2], gates)
    assert len(found.labels) == (1 if gates == [1] else 3)


def test_a_stream_takes_batches_with_and_without_gates(exact: Engine) -> None:
    """Each batch of a stream has gates of its own, or none."""
    texts = TEXTS[:20]
    items: list[Item[list[str]]] = [
        (texts, [2] * 20),
        (texts, [2] * 20, [1] * 20),
        ([], [], []),
        (texts, [1] * 20, None),
    ]
    ends = [[len(result.labels) for result in found] for found in exact.run_stream(items)]
    assert ends == [[3] * 20, [1] * 20, [], [2] * 20]
    tokens = exact.tokenise(texts)
    streamed = exact.run_token_stream([(tokens, [2] * 20, [1] * 20), (tokens, [0] * 20)])
    assert [len(result.labels) for found in streamed for result in found] == [1] * 40


@pytest.mark.parametrize(
    ("gates", "words"),
    [([500], "2 texts but 1 gate"), ([500, -1], "a gate is -1, expected 0")],
)
def test_wrong_gates_are_refused(exact: Engine, gates: list[int], words: str) -> None:
    """One gate for each text, none below 0; before anything runs."""
    with pytest.raises(ValueError, match=words):
        exact.run(["good", "bad"], [2, 2], gates)
    with pytest.raises(ValueError, match=words):
        list(exact.run_stream([(["good", "bad"], [2, 2], gates)]))


def test_batches_of_few_tokens_change_no_result(exact: Engine, tmp_path) -> None:
    """Gates stay with their texts where a batch is split, also for a lack of memory."""
    folder = write_tiny_model(tmp_path, config=CONFIG)
    exits = [2 - i % 3 // 2 for i in range(200)]
    gates = [(0, 500, 600, 1, 1001)[i % 5] for i in range(200)]
    expected = exact.run(TEXTS, exits, gates)
    assert {len(result.labels) for result in expected} == {1, 2, 3}
    small = Engine(folder, device="cpu", max_batch_tokens=60)
    short = Engine(folder, device="cpu")
    refused = []

    def of_little_memory(attend):
        def run(q, kv, batch, stage, *, last):
            if len(q) > 200:
                refused.append(len(q))
                raise torch.OutOfMemoryError
            return attend(q, kv, batch, stage, last=last)

        return run

    short.encoder.layers[2:] = [
        replace(layer, attend=of_little_memory(layer.attend)) for layer in short.encoder.layers[2:]
    ]
    for engine in (small, short):
        for a, b in zip(engine.run(TEXTS, exits, gates), expected, strict=True):
            assert a.labels == b.labels
            assert a.scores == pytest.approx(b.scores, abs=1e-5)
    assert refused


def rows_run(engine: Engine, *what) -> list[tuple[int, int]]:
    """Return (layer, rows) of each product behind attention, in order."""
    seen = []

    def watched(number, linears):
        def output(context):
            seen.append((number, len(context)))
            return linears.output(context)

        return replace(linears, output=output)

    layers = engine.encoder.layers
    engine.encoder.layers = [
        replace(layer, linears=watched(number, layer.linears))
        for number, layer in enumerate(layers)
    ]
    engine.run(*what)
    engine.encoder.layers = layers
    return seen


def test_texts_that_stop_run_as_if_asked_to_stop_there(exact: Engine) -> None:
    """Behind attention only first tokens run in their last layer, and no layer follows."""
    texts = TEXTS[:64]
    stopped = rows_run(exact, texts, [2] * 64, [1] * 64)
    assert stopped == rows_run(exact, texts, [0] * 64) == [(0, 64)]


def test_layers_behind_a_gate_run_the_texts_that_it_kept_only(exact: Engine) -> None:
    """Half of the texts stop at exit 0: deeper layers see the tokens of the others."""
    texts, gates = TEXTS[:64], [i % 2 for i in range(64)]
    first, *rest = rows_run(exact, texts, [2] * 64, gates)
    assert first == (0, 64)
    assert rest == rows_run(exact, texts[::2], [2] * 32)


def test_few_tokens_that_could_stop_are_carried_along(exact: Engine) -> None:
    """One short text of many is not worth a new layout; its result ends where it was sure."""
    texts = ["good", *["the film was not very good , the room was"] * 48]  # 3 tokens, 48 x 12
    gates = [1, *[0] * 48]
    found = exact.run(texts, [2] * 49, gates)
    assert [len(result.labels) for result in found] == [1, *[3] * 48]
    rows = {rows for _, rows in rows_run(exact, texts, [2] * 49, gates)}
    assert rows == {64, 640}  # of 49 texts and 579 tokens; 576 rows would hold the others
