"""Graphs of stages give what the layers give, whatever ran in the same graph before."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.engine.attention import by_offsets
from model.engine.encoder import PackedEncoder
from model.engine.graphs import Graphs, Size
from model.engine.packing import Stage, pack, packing_order
from model.tokeniser import Tokens
from tests.support.tiny_model import repeated, text_by_text, tiny_config, tiny_network

CONFIG = tiny_config(hidden_size=64)  # heads of 16
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def graphs_of(encoder: PackedEncoder, capture) -> Graphs:
    like = torch.empty(0, CONFIG.hidden_size)
    return Graphs(encoder.layers, positions=24, like=like, capture=capture)


def batches(device: torch.device):
    """Yield packed texts of sizes that share graphs, and one that is too large for any."""
    chance = np.random.default_rng(0)
    for number, texts in enumerate((3, 4, 3, 20, 18, 20, 2, 3, 1200, 20, 3, 8, 8, 7)):
        tokens = Tokens.of([chance.integers(1, 60, n) for n in chance.integers(2, 24, texts)])
        exits = np.full(texts, 2) if number % 3 == 1 else chance.integers(0, 3, texts)
        order = packing_order(tokens.lengths, exits)
        yield pack(tokens, order, exits[order], exit_layers=CONFIG.exit_layers, device=device)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
def test_a_batch_with_graphs_has_the_logits_it_has_without(device: str) -> None:
    """Other texts, fewer texts and other lengths in the graph before leave no trace."""
    on = torch.device(device)
    network = tiny_network(CONFIG)
    if device == "cuda":
        plain = PackedEncoder(deepcopy(network), precision="bf16", device=on, graphs=False)
        with_graphs = PackedEncoder(network, precision="bf16", device=on, graphs=True)
    else:
        plain = PackedEncoder(network, precision="fp32", device=on)
        with_graphs = PackedEncoder(tiny_network(CONFIG), precision="fp32", device=on)
        with_graphs.layers = [
            replace(layer, attend=by_offsets(text_by_text, heads=4)) for layer in with_graphs.layers
        ]
        with_graphs.graphs = graphs_of(with_graphs, capture=repeated)
    atol = 0.05 if device == "cuda" else 2e-5
    with torch.inference_mode():
        for batch in batches(on):
            found, expected = with_graphs.forward(batch), plain.forward(batch)
            for run_exit, first, end in batch.runs:
                for (_, start, stop), a, b in zip(batch.blocks, found, expected, strict=True):
                    if start <= first < stop:
                        ours = (slice(run_exit + 1), slice(first - start, end - start))
                        torch.testing.assert_close(a[ours], b[ours], atol=atol, rtol=1e-4)
    assert with_graphs.graphs is not None
    assert with_graphs.graphs.count >= 3


def test_a_stage_that_cannot_be_recorded_runs_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A driver that refuses graphs costs a line in the log, once for each size."""

    def refuses(body):
        body()
        raise RuntimeError("operation not permitted when stream is capturing")

    encoder = PackedEncoder(tiny_network(CONFIG), precision="fp32", device=torch.device("cpu"))
    expected = [encoder.forward(batch) for batch in batches(encoder.device)]
    encoder.graphs = graphs_of(encoder, capture=refuses)
    for batch, logits in zip(batches(encoder.device), expected, strict=True):
        for a, b in zip(encoder.forward(batch), logits, strict=True):
            assert torch.equal(a, b)
    assert "no_graph rows=128 reason=operation not permitted" in caplog.text
    assert encoder.graphs.count == 0


@pytest.mark.parametrize(
    ("tokens", "texts", "longest", "size"),
    [
        (127, 32, 40, (128, 32, 64)),
        (128, 33, 65, (256, 64, 128)),  # a row more than there are tokens: absent texts start there
        (100, 3, 300, (128, 8, 500)),
        (12287, 10, 400, (12288, 16, 500)),
        (12288, 10, 512, None),
    ],
)
def test_a_graph_is_laid_out_for_the_smallest_size_that_holds_the_texts(
    tokens: int, texts: int, longest: int, size: tuple[int, int, int] | None
) -> None:
    """Larger batches run without one; no text is longer than the model's positions."""
    first = stage(tokens, texts, longest, layers=(2, 4))
    second = stage(tokens, texts, longest, layers=(5, 6))
    expected = None if size is None else Size(2, (4, 6), *size)
    assert Size.of([first, second], positions=500) == expected


def stage(tokens: int, texts: int, longest: int, *, layers: tuple[int, int]) -> Stage:
    return Stage(
        first_layer=layers[0], last_layer=layers[1], texts=texts, tokens=tokens, staying_texts=0,
        staying_tokens=0, longest=longest, longest_staying=0, kept_rows=texts, staying_rows=0,
        query_starts=torch.empty(0),
    )  # fmt: skip
