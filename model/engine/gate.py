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

from model.engine.encoder import Started, keep
from model.engine.packing import on_host, repack, rounded, runs_of, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.engine.answers import Scales
    from model.engine.encoder import PackedEncoder
    from model.engine.packing import Packed, Stage

Choose = Callable[[Tensor], Tensor]  # of all rows those that go on
Rest = Callable[[Choose, "Packed", "Stage"], Tensor]

_LEAST_GONE = 1 / 32  # of the tokens: fewer are carried along, for less than a new layout costs


def run_gated(  # noqa: PLR0913  (what is known of the texts, each an array)
    encoder: PackedEncoder,
    scales: Scales | None,
    batch: Packed,
    *,
    lengths: NDArray[np.int64],
    exits: NDArray[np.int64],
    gates: NDArray[np.int64],
) -> tuple[Packed, list[Tensor]]:
    """Run a batch, and stop each text at the first exit whose score reaches the text's gate.

    Args:
        encoder: what runs.
        scales: of the model, if it is calibrated.
        batch: the micro-batch.
        lengths: tokens of each of its texts, in its order.
        exits: where each text stops at the latest.
        gates: the score at which a text stops earlier, in thousandths; 0 for never.

    Returns:
        The batch with the exits at which its texts stopped, and the fp32 logits of its only block.
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
        x = rest(choose, running, running.stages[exit_ + 1])
    deepest = int(stops.max())
    (index,) = to_device([places[: deepest + 1].ravel()], encoder.device)
    block = torch.cat(logits).index_select(0, index).view(deepest + 1, len(exits), -1)
    runs = tuple((int(stops[first]), first, end) for first, end in runs_of(stops))
    return replace(batch, runs=runs, blocks=((deepest, 0, len(exits)),)), [block]


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
    """Return the first token of each text, at least, and what computes other rows that go on.

    Only first tokens run through the last layer, as in a stage where all texts end: the texts that
    then stop cost no more than if it had been known.
    """
    if encoder.graphs and (replayed := encoder.graphs.run(x, batch, [stage])):
        out, (firsts,) = replayed
        return firsts, lambda choose, *_: choose(out)
    *layers, last = encoder.layers[stage.first_layer - 1 : stage.last_layer]
    for layer in layers:
        x = layer.run(x, batch, stage, last=False)
    started = last.start(x)
    rows = rounded(stage.texts) if x.device.type == "cpu" else stage.texts
    ending = replace(
        stage,
        staying_texts=0,
        staying_tokens=0,
        longest_staying=0,
        kept_rows=rows,
        staying_rows=0,
        query_starts=torch.arange(stage.texts + 1, dtype=torch.int32, device=x.device),
    )
    context = last.context(started, batch, ending, last=True)
    firsts = last.feed_forward(last.output(context, keep(x, batch=batch, stage=ending)))

    def rest(choose: Choose, batch: Packed, stage: Stage) -> Tensor:
        inputs, key_value = started
        chosen = choose(x)
        same = Started(chosen if inputs is x else choose(inputs), choose(key_value))
        context = last.context(same, batch, stage, last=False)
        return last.feed_forward(last.output(context, chosen))

    return firsts, rest
