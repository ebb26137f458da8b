"""Model folders written anew in another form, and what the new form changes, measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from model.batches import encode, predict_logits
from model.calibration import read_calibration, write_calibration
from model.checkpoint.card import Section, carry_card
from model.checkpoint.folder import fingerprint, fitting_tokenizer, load_model, save_model
from model.checkpoint.storage import RowErrors, row_errors
from model.checkpoint.tokenizer import tokenizer_path
from model.checkpoint.weights import weight_files
from model.errors import InvalidOptions
from model.folder_files import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from model.network import MultiExitEncoder

_MB = 1e6


@dataclass(frozen=True, slots=True)
class Opened:
    """A model folder and what it holds."""

    folder: Path
    network: MultiExitEncoder
    tokenizer: Tokenizer

    @classmethod
    def of(cls, folder: Path, *, allow_pickle: bool = False) -> Opened:
        """Load a folder.

        Raises:
            ModelError: it cannot be loaded, or its parts do not fit.
        """
        network = load_model(folder, allow_pickle=allow_pickle)
        return cls(folder, network, fitting_tokenizer(folder, network.config))


class EvalTexts(NamedTuple):
    """Texts to compare two models on, and the right classes if they are known."""

    name: str
    texts: tuple[str, ...]
    truth: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a rewritten model answers otherwise on one file of texts; tuples are by exit."""

    name: str
    texts: int
    retokenised: int  # texts that have other tokens
    differ: tuple[int, ...]  # texts that have another label
    accuracy_before: tuple[float, ...] | None
    accuracy: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A folder that was written anew, beside the one it was made of."""

    fingerprint_before: str
    fingerprint: str
    mb_before: float  # of weights and tokenizer
    mb: float
    errors: RowErrors | None  # if matrices were rounded to 8 bits
    effects: tuple[Effect, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain values for JSON."""
        return asdict(self)


def check_new(folder: Path) -> None:
    """Make sure that nothing is overwritten.

    Raises:
        InvalidOptions: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidOptions(f"{folder}: is not empty; name another folder")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a rewritten model is compared with the former one."""

    on: tuple[EvalTexts, ...] = ()
    max_tokens: int | None = None  # longer texts are cut here; None: the maximum of the model
    done: Callable[[int], None] = lambda _: None  # called with the runs of each finished batch


def export(
    source: Opened, to: Path, *, store: Store, compare: Comparison, command: Sequence[str]
) -> Rewritten:
    """Write a fine-tuned classifier of any supported layout as a model folder.

    Args:
        source: the classifier.
        to: the new folder.
        store: how matrices are stored.
        compare: on which texts to compare both models.
        command: the words of the command line, for the card.

    Raises:
        InvalidOptions: `to` is not empty.
        ModelError: what was written cannot be loaded.
    """
    made = rewrite(source, replace(source, folder=to), store=store, compare=compare)
    said = "The weights were stored in fp16."
    if made.errors is not None:
        said = (
            "The matrices were stored in 8 bits, and are turned back to floats when the folder is "
            f"read. A row is off by {made.errors.mean:.2%} on average, and by "
            f"{made.errors.largest:.2%} at most (row {made.errors.largest_row} of "
            f"`{made.errors.largest_in}`)."
        )
    carry_card(source.folder, to, made, Section(f"Stored as {store}", said, command))
    return made


def rewrite(source: Opened, made: Opened, *, store: Store, compare: Comparison) -> Rewritten:
    """Write what was made of a folder, with the folder's calibration, and compare the two.

    Raises:
        InvalidOptions: the new folder is not empty.
        ModelError: what was written cannot be loaded.
    """
    check_new(made.folder)
    calibration = read_calibration(source.folder, exits=source.network.config.exits)
    save_model(made.network, made.tokenizer, made.folder, store=store)
    if calibration is not None:
        write_calibration(made.folder, calibration)
    after = Opened.of(made.folder)
    errors = None
    if store is Store.INT8:
        errors = row_errors(made.network.state_dict(), after.network.state_dict())
    return Rewritten(
        fingerprint_before=fingerprint(source.folder),
        fingerprint=fingerprint(made.folder),
        mb_before=_megabytes(source.folder),
        mb=_megabytes(made.folder),
        errors=errors,
        effects=tuple(_effect(source, after, each, compare) for each in compare.on),
    )


def _effect(before: Opened, after: Opened, given: EvalTexts, compare: Comparison) -> Effect:
    limit = before.network.config.max_position_embeddings
    limit = min(compare.max_tokens or limit, limit)
    both = (before, after)
    ids = [encode(model.tokenizer, given.texts, limit) for model in both]
    labels = [
        predict_logits(model.network, rows, done=compare.done).argmax(-1).numpy()
        for model, rows in zip(both, ids, strict=True)
    ]  # (texts, exits)
    pieces = [_pieces(model.tokenizer) for model in both]
    retokenised = sum(
        [pieces[0][i] for i in a] != [pieces[1][i] for i in b] for a, b in zip(*ids, strict=True)
    )
    return Effect(
        name=given.name,
        texts=len(given.texts),
        retokenised=retokenised,
        differ=tuple((labels[0] != labels[1]).sum(0).tolist()),
        accuracy_before=_accuracy(labels[0], given.truth),
        accuracy=_accuracy(labels[1], given.truth),
    )


def _pieces(tokenizer: Tokenizer) -> dict[int, str]:
    return {i: piece for piece, i in tokenizer.get_vocab(with_added_tokens=True).items()}


def _accuracy(labels: NDArray[np.int64], truth: tuple[int, ...] | None) -> tuple[float, ...] | None:
    if truth is None:
        return None
    right = labels == np.asarray(truth)[:, None]  # (texts, exits)
    return tuple(right.mean(0).tolist())


def _megabytes(folder: Path) -> float:
    """Return the size of a folder's weights and tokenizer."""
    files = (*weight_files(folder, allow_pickle=True), tokenizer_path(folder))
    return round(sum(path.stat().st_size for path in files) / _MB, 2)
