"""The engine's promises: input order, own exit per text, clear refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tokenizers import Tokenizer
from torch.profiler import profile

from model.checkpoint.check import check_folder
from model.checkpoint.folder import fingerprint
from model.engine.engine import Engine
from model.errors import InvalidCheckpoint, InvalidOptions
from tests.support.tiny_model import write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return an engine over a tiny model with exits after layers 1, 2 and 4."""
    return Engine(write_tiny_model(tmp_path_factory.mktemp("model")), device="cpu")


def test_results_come_in_input_order_with_their_own_depth(engine: Engine) -> None:
    """Each text gets the labels and scores of exits 0..k, where it was put in."""
    texts = ["the film was very good .", "bad", "the service was not good !", "room"]
    exits = [2, 0, 1, 2]
    results = engine.run(texts, exits)
    assert [len(result.labels) for result in results] == [3, 1, 2, 3]
    for text, exit_, result in zip(texts, exits, results, strict=True):
        alone = engine.run([text], [exit_])[0]
        assert result.labels == alone.labels
        assert result.scores == pytest.approx(alone.scores, abs=1e-5)
        assert result.tokens == alone.tokens
        assert all(1 / 3 - 1e-6 <= score <= 1 for score in result.scores)


def test_no_texts_give_no_results(engine: Engine) -> None:
    """An empty batch is a normal batch."""
    assert engine.run([], []) == []


def test_an_empty_text_is_classified(engine: Engine) -> None:
    """A text without words still has its two special tokens and gets labels."""
    (result,) = engine.run([""], [1])
    assert result.tokens == 2
    assert len(result.labels) == 2


def test_truncation_is_reported(engine: Engine) -> None:
    """A text beyond the model's positions is cut, and its result says so."""
    short, long = engine.run(["good film", "good film " * 50], [0, 0])
    assert not short.truncated
    assert long.truncated
    assert long.tokens == 24


@pytest.mark.parametrize("exit_", [-1, 3])
def test_an_exit_the_model_does_not_have_is_refused(engine: Engine, exit_: int) -> None:
    """The error names the exit asked and those there are."""
    with pytest.raises(ValueError, match=rf"this model has no exit {exit_}, only 0\.\.2"):
        engine.run(["good"], [exit_])


def test_texts_and_exits_must_pair_up(engine: Engine) -> None:
    """A different number of texts and exits is an error that says both."""
    with pytest.raises(ValueError, match="1 text but 2 exits"):
        engine.run(["good"], [0, 0])


@pytest.mark.parametrize("max_tokens", [0, 2, 25])
def test_a_token_limit_the_model_cannot_take_is_refused(tmp_path: Path, max_tokens: int) -> None:
    """The limit lies between one word and the model's positions."""
    folder = write_tiny_model(tmp_path)
    with pytest.raises(
        ValueError, match=rf"max_tokens is {max_tokens}, but this model takes 3\.\.24"
    ):
        Engine(folder, device="cpu", max_tokens=max_tokens)


def test_the_fingerprint_is_that_of_the_folder(tmp_path: Path) -> None:
    """Counters are tied to the files the engine was loaded from."""
    folder = write_tiny_model(tmp_path)
    assert Engine(folder, device="cpu").fingerprint == fingerprint(folder)


@pytest.mark.parametrize(("argument", "value"), [("precision", "fp16"), ("device", "tpu")])
def test_an_unknown_precision_or_device_is_refused(
    tmp_path: Path, argument: str, value: str
) -> None:
    """The error names what was asked and what there is; fp16 is not offered on purpose."""
    given: dict[str, Any] = {argument: value}
    with pytest.raises(ValueError, match=f"{argument} is '{value}', expected"):
        Engine(write_tiny_model(tmp_path), **given)


def test_a_token_budget_below_one_text_is_refused(tmp_path: Path) -> None:
    """One text must fit into a batch."""
    with pytest.raises(ValueError, match="max_batch_tokens is 10, less than the 24"):
        Engine(write_tiny_model(tmp_path), device="cpu", max_batch_tokens=10)


def test_the_token_budget_changes_no_result(tmp_path: Path) -> None:
    """Many small batches give what one large one gives, in input order."""
    folder = write_tiny_model(tmp_path)
    texts = [" ".join(["good", "bad", "film"][i % 3 :] * (1 + i % 7)) for i in range(40)]
    exits = [i % 3 for i in range(40)]
    large = Engine(folder, device="cpu").run(texts, exits)
    small = Engine(folder, device="cpu", max_batch_tokens=24).run(texts, exits)
    for a, b in zip(large, small, strict=True):
        assert (a.labels, a.tokens, a.truncated) == (b.labels, b.tokens, b.truncated)
        assert a.scores == pytest.approx(b.scores, abs=1e-5)


def test_a_stream_of_batches_gives_the_results_of_single_runs(engine: Engine) -> None:
    """Tokenising ahead on another thread changes neither results nor order."""
    items = [(["good film"] * n, [n % 3] * n) for n in (3, 0, 1, 5)]
    streamed = list(engine.run_stream(items))
    assert [len(found) for found in streamed] == [3, 0, 1, 5]
    for (texts, exits), found in zip(items, streamed, strict=True):
        assert [r.labels for r in found] == [r.labels for r in engine.run(texts, exits)]


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_other_precisions_give_nearly_the_same_scores(tmp_path: Path, precision: str) -> None:
    """The precision chosen is said, and scores move by rounding only."""
    folder = write_tiny_model(tmp_path)
    exact = Engine(folder, device="cpu")
    other = Engine(folder, device="cpu", precision=precision)
    assert exact.precision == "fp32"
    assert other.precision in {"fp32", "bf16"}
    texts = ["the film was very good .", "bad", "the service was not good !"]
    for a, b in zip(exact.run(texts, [2] * 3), other.run(texts, [2] * 3), strict=True):
        assert a.scores == pytest.approx(b.scores, abs=0.1)


def test_a_tokenizer_with_ids_beyond_the_network_is_refused(tmp_path: Path) -> None:
    """One added token is an error at the start, not a broken lookup when a text has it."""
    folder = write_tiny_model(tmp_path)
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.add_tokens(["unheard-of"])
    tokenizer.save(path)
    with pytest.raises(InvalidCheckpoint, match=r"ids up to (\d+), .* has embeddings 0\.\."):
        Engine(folder, device="cpu")


def test_a_tokenizer_that_does_not_frame_texts_is_refused(tmp_path: Path) -> None:
    """Without [CLS] there is nothing to classify: `model check` and the engine say so."""
    folder = write_tiny_model(tmp_path)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"post_processor": None}))
    with pytest.raises(
        InvalidCheckpoint, match=r"makes nothing of an empty text, expected \[CLS\]"
    ):
        Engine(folder, device="cpu")
    assert [finding.part for finding in check_folder(folder) if not finding.ok] == [
        "tokenizer",
        "forward pass",
    ]


def test_a_tokenizer_that_pads_is_taken(tmp_path: Path) -> None:
    """Padding in a published tokenizer.json is switched off and makes no text longer."""
    folder = write_tiny_model(tmp_path)
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_padding(length=12, direction="left")
    tokenizer.save(path)
    assert Engine(folder, device="cpu").run([""], [0])[0].tokens == 2


def test_the_first_batch_finds_a_warm_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The start runs texts through all layers and heads, and logs what was chosen."""
    folder = write_tiny_model(tmp_path)
    with caplog.at_level("INFO", "offramp.engine"), profile(acc_events=True) as seen:
        engine = Engine(folder, device="cpu", precision="auto")
    assert any(event.key == "aten::baddbmm" for event in seen.key_averages())  # the heads
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(
        f"ready device=cpu precision={engine.precision} attention=blocks norm=torch gelu=erf "
        "max_tokens=24 max_batch_tokens=4096 warm_up"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(tmp_path: Path) -> None:
    """The error says what is missing, in one line, as an error of this package."""
    with pytest.raises(InvalidOptions, match=r"device is 'cuda', but torch .* finds no GPU here"):
        Engine(write_tiny_model(tmp_path), device="cuda")
