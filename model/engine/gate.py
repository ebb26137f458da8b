"""Lets texts go at the first exit that is sure enough of them; the others run on without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.engine.packing import on_host, repack, rounded, runs_of, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.engine.answers import Scales
    from model.engine.encoder import PackedEncoder
    from model.engine.packing import Packed, Stage

Choose = Callable[[Tensor], Tensor]  # of all rows those that go on
Rest = Callable[[Choose], Tensor]

_LEAST_GONE = 1 / 32  # of the tokens: fewer are carried along, for less than a new layout costs


def run_gated(  # noqa: PLR0913  (what is known of the texts, each an array)
    encoder: PackedEncoder,
    scales: Scales | None,
    batch: Packed,
    *,
    lengths: NDArray[np.int64],
    exits: NDArray[np.int64],
    gates: NDArray[np.int64],
) -> tuple[Packed, list[Tensor], NDArray[np.int64]]:
    """Run a batch, and stop each text at the first exit whose score reaches the text's gate.

    Args:
        encoder: what runs.
        scales: of the model, if it is calibrated.
        batch: the micro-batch.
        lengths: tokens of each of its texts, in its order.
        exits: where each text stops at the latest.
        gates: the score at which a text stops earlier, in thousandths; 0 for never.

    Returns:
        The batch as if it had been known where each text stops, the fp32 logits of its only block,
        and which text of `batch` stands where in both.
    """
    deepest = int(exits[0])
    stops = exits.copy()
    texts = np.arange(len(exits))  # those that run
    running = batch
    logits: list[Tensor] = []  # of one exit each, (texts, C)
    places = np.zeros((deepest + 1, len(exits)), dtype=np.int64)  # of each text in all logits
    x = encoder.embed(batch)
    for exit_ in range(deepest + 1):
        if exit_ == len(running.stages):  # no text is left that was to go deeper
            break
        stage = running.stages[exit_]
        texts = texts[: stage.texts]
        asked = (gates[texts] > 0) & (stops[texts] > exit_)
        if asked.any():
            firsts, rest = _first_tokens(encoder, x, running, stage)
        else:
            x, (firsts,) = encoder.run(x, running, [stage])
        places[exit_, texts] = sum(map(len, logits)) + np.arange(len(texts))
        logits.append(encoder.classify(firsts[None], first_exit=exit_)[0, : len(texts)])
        if not asked.any():
            continue
        sure = asked & _reached(logits[-1], scales, exit_, gates[texts])
        stops[texts[sure]] = exit_
        staying = np.flatnonzero(stops[texts] > exit_)
        if not len(staying):
            break
        if lengths[texts[staying]].sum() <= (1 - _LEAST_GONE) * stage.staying_tokens:
            running = repack(
                lengths[texts],
                staying,
                exits[texts[staying]],
                exit_layers=encoder.config.exit_layers,
                device=encoder.device,
            )
            texts = texts[staying]
            choose: Choose = partial(torch.index_select, dim=0, index=running.token_ids)
        else:
            choose = itemgetter(slice(stage.staying_rows))
        x = rest(choose)
    order = np.argsort(-stops, kind="stable")
    stops = stops[order]
    deepest = int(stops[0])
    (index,) = to_device([places[: deepest + 1, order].ravel()], encoder.device)
    block = torch.cat(logits).index_select(0, index).view(deepest + 1, len(exits), -1)
    runs = tuple((int(stops[first]), first, end) for first, end in runs_of(stops))
    return replace(batch, runs=runs, blocks=((deepest, 0, len(exits)),)), [block], order


def _reached(
    logits: Tensor, scales: Scales | None, exit_: int, gates: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return of which texts the score at an exit is as large as the gate."""
    if scales is not None:
        logits = logits / scales.temperatures[exit_]
    scores = on_host(logits.softmax(-1).amax(-1))()
    return np.rint(1000 * scores.astype(np.float64)) >= gates


def _first_tokens(
    encoder: PackedEncoder, x: Tensor, batch: Packed, stage: Stage
) -> tuple[Tensor, Rest]:
    """Return the first token of each text, at least, and what computes all rows of those chosen.

    Behind attention only first tokens run through the last layer, until it is known who goes on.
    """
    if encoder.graphs and (replayed := encoder.graphs.run(x, batch, [stage])):
        out, (firsts,) = replayed
        return firsts, lambda choose: choose(out)
    *layers, last = encoder.layers[stage.first_layer - 1 : stage.last_layer]
    for layer in layers:
        x = layer.run(x, batch, stage, last=False)
    context = last.context(x, batch, stage, last=False)
    at = batch.starts[: stage.texts]
    if x.device.type == "cpu":
        at = F.pad(at, (0, rounded(stage.texts) - stage.texts))
    firsts = last.finish(context.index_select(0, at), x.index_select(0, at))
    return firsts, lambda choose: last.finish(choose(context), choose(x))
