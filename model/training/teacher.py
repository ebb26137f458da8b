"""A teacher's answers to unlabelled sentences: what a small model is trained on beside labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.batches import encode, predict
from model.checkpoint.folder import load_model
from model.checkpoint.tokenizer import load_tokenizer
from model.errors import InvalidOptions
from model.training.trainer import training_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

_BATCH = 128


def soft_labels(  # noqa: PLR0913  (each is a plain setting)
    teacher: Path,
    texts: Sequence[str],
    *,
    exits: Sequence[int] | None,
    labels: Sequence[str],
    max_tokens: int,
    bf16: bool,
    allow_pickle: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Return the class probabilities a teacher gives to texts, (texts, classes).

    Where both have the same labels in another order, the probabilities come in the student's.

    Args:
        teacher: a model folder.
        texts: to be labelled.
        exits: the mean of these exits' probabilities is taken; None for the last exit.
        labels: the student's, in the order of its classes.
        max_tokens: longer texts are cut.
        bf16: run the teacher in bfloat16.
        allow_pickle: read a teacher's old pytorch_model.bin.
        done: called with the number of texts of each finished batch.

    Raises:
        ModelError: the folder cannot be loaded.
        InvalidOptions: an exit the teacher does not have, or another number of classes.
    """
    network = load_model(teacher, allow_pickle=allow_pickle)
    last = network.config.exits - 1
    chosen = [last] if exits is None else list(exits)
    for exit_ in chosen:
        if not 0 <= exit_ <= last:
            raise InvalidOptions(f"teacher exit {exit_} asked, {teacher} has exits 0..{last}")
    known = network.config.labels
    if len(known) != len(labels):
        raise InvalidOptions(f"{teacher} knows {len(known)} classes, the student {len(labels)}")
    most = min(max_tokens, network.config.max_position_embeddings)
    ids = encode(load_tokenizer(teacher), texts, most)
    network.to(training_device())
    probabilities = predict(network, ids, batch_size=_BATCH, bf16=bf16, done=done)
    found = probabilities[:, chosen].mean(dim=1)
    return found[:, [known.index(x) for x in labels]] if set(known) == set(labels) else found
