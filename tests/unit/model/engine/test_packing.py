"""Packing: which rows run at each stage, and how many rows they are filled up to."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from model.engine.packing import rounded
from tests.support.packed import packed_for, texts


@given(texts)
def test_the_running_texts_are_a_prefix(batch) -> None:
    """Ordered by exit, what each stage runs and keeps is the front part of the batch."""
    lengths, exits = [len(row) for row, _ in batch], [exit_ for _, exit_ in batch]
    packed, order = packed_for(batch, torch.device("cpu"))
    assert order == sorted(range(len(batch)), key=lambda i: (-exits[i], -lengths[i]))
    assert len(packed.token_ids) == rounded(sum(lengths))
    for exit_, stage in enumerate(packed.stages):
        assert stage.texts == sum(e >= exit_ for e in exits)
        assert stage.tokens == sum(n for n, e in zip(lengths, exits, strict=True) if e >= exit_)
        assert stage.staying_texts == sum(e > exit_ for e in exits)
    for before, after in pairwise(packed.stages):
        assert (before.staying_texts, before.staying_tokens) == (after.texts, after.tokens)
    assert sum(span.texts for span in packed.spans) == len(batch)
    assert sum(span.texts * span.length for span in packed.spans) == sum(lengths)


@given(st.integers(1, 40_000))
def test_rows_are_rounded_up_by_a_few_percent(tokens: int) -> None:
    """Filler lets kernels be reused: at most an eighth, above 1,024 rows a sixteenth."""
    share = 8 if tokens <= 1024 else 16
    assert tokens <= rounded(tokens) < tokens + max(16, tokens / share)


def test_few_row_counts_serve_batches_of_any_size() -> None:
    """Each row count costs memory for as long as the process lives.

    Up to 4,096 there are 64, then 16 for each doubling.
    """
    assert len({rounded(tokens) for tokens in range(1, 4097)}) == 64
    assert len({rounded(tokens) for tokens in range(4097, 8193)}) == 16
