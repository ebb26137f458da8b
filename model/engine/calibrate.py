"""Makes a model fit for int8: observes its linear layers on texts, measures agreement per exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.checkpoint.folder import load_model
from model.engine.engine import Engine
from model.engine.int8 import Agreement, observe, write_int8
from model.errors import InvalidData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Half of the texts decide about agreement. Of 50 all agree, one time in twenty, where 6 % of labels
# differ; to tell 98 % from 99 % as surely, 600 must decide.
_LEAST_TEXTS = 100


def calibrate_int8(
    folder: Path, texts: Sequence[str], *, max_tokens: int | None = None
) -> Agreement:
    """Write the folder's int8 calibration and return, per exit, the share of equal labels.

    Every other text sets the ranges; the rest is classified in fp32 and in int8 and compared.

    Raises:
        InvalidData: too few texts.
        ModelError: the folder cannot be loaded.
    """
    if len(texts) < _LEAST_TEXTS:
        raise InvalidData(f"{len(texts)} texts for calibration, at least {_LEAST_TEXTS} are needed")
    exact = Engine(folder, device="cpu", max_tokens=max_tokens, precision="fp32")
    ranges = observe(load_model(folder), exact.tokenise(texts[::2]).ids)
    unproven = Agreement((0.0,) * exact.config.exits, texts=0)
    write_int8(folder, ranges, fingerprint=exact.fingerprint, agreement=unproven)
    quantised = Engine(
        folder, device="cpu", max_tokens=max_tokens, precision="int8", least_int8_agreement=0.0
    )
    deciding = texts[1::2]
    agreement = Agreement(label_agreement(exact, quantised, deciding), texts=len(deciding))
    write_int8(folder, ranges, fingerprint=exact.fingerprint, agreement=agreement)
    return agreement


def label_agreement(one: Engine, other: Engine, texts: Sequence[str]) -> tuple[float, ...]:
    """Return, per exit, the share of texts to which both engines give the same label."""
    exits = [one.config.exits - 1] * len(texts)
    pairs = [
        (a.labels, b.labels)
        for a, b in zip(one.run(texts, exits), other.run(texts, exits), strict=True)
    ]
    return tuple(
        sum(a[exit_] == b[exit_] for a, b in pairs) / len(pairs)
        for exit_ in range(one.config.exits)
    )
