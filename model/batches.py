"""Makes padded batches of texts of about equal length, and runs a network on them."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.tokeniser import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tokenizers import Tokenizer

    from model.network import MultiExitEncoder

_BUCKET = 50  # batches sorted by length together: little padding, still shuffled
_CHUNK = 10_000  # texts encoded at once: bounds the tokenizer's memory


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Return the ids of each text, at most `max_tokens`, exactly as an engine reads it."""
    tokeniser = Tokeniser(tokenizer, max_tokens=max_tokens)
    parts = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    return [ids for part in parts for ids in tokeniser.encode(part).ids]


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both (B, T)."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


class LengthBatches:
    """Shuffled batches of row numbers, each of texts of about equal length, anew every epoch.

    Epoch n always has the same batches, so that a resumed training continues where it stopped.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self._lengths) / self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Give the batches of the chosen epoch."""
        rng = random.Random(f"{self._seed}/{self._epoch}")
        order = list(range(len(self._lengths)))
        rng.shuffle(order)
        bucket_size = self._batch_size * _BUCKET
        batches = []
        for start in range(0, len(order), bucket_size):
            bucket = sorted(order[start : start + bucket_size], key=self._lengths.__getitem__)
            batches += [
                bucket[i : i + self._batch_size] for i in range(0, len(bucket), self._batch_size)
            ]
        rng.shuffle(batches)
        return iter(batches)


def predict(
    network: MultiExitEncoder,
    token_ids: Sequence[Sequence[int]],
    *,
    batch_size: int = 64,
    bf16: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Return the probabilities of every class at every exit, (texts, exits, classes).

    Takes what `predict_logits` takes.
    """
    logits = predict_logits(network, token_ids, batch_size=batch_size, bf16=bf16, done=done)
    return logits.softmax(-1)


def predict_logits(
    network: MultiExitEncoder,
    token_ids: Sequence[Sequence[int]],
    *,
    batch_size: int = 64,
    bf16: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Return the logits of every class at every exit, (texts, exits, classes).

    For evaluation, calibration and teachers: all exits, sorted batches. Streams use
    `model.engine.engine`.

    Args:
        network: is put into evaluation mode.
        token_ids: of each text, as `encode` returns them.
        batch_size: texts run together.
        bf16: run the encoder in bfloat16.
        done: called with the number of texts of each finished batch.
    """
    network.eval()
    device = next(network.parameters()).device
    order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
    config = network.config
    found = torch.zeros((len(order), config.exits, len(config.labels)))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = pad([token_ids[i] for i in rows], config.pad_token_id)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(ids.to(device), mask.to(device))
        found[rows] = torch.stack([x.float() for x in logits], dim=1).cpu()  # (B, exits, classes)
        done(len(rows))
    return found
