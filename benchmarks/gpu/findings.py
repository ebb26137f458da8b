"""What a part of the GPU benchmark is given, and how it tells what it found, line by line."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.engine.engine import Engine
from model.tokeniser import Tokens

MIXED = (1, 3, 7, 12)  # layers where texts of a mixed batch stop, in turn


@dataclass(frozen=True, slots=True)
class Request:
    """What a part is to measure with."""

    part: str
    folder: str  # of the model
    device: str
    width: int  # of the model: 768 on a GPU
    quick: bool
    ends_at: float  # on the wall's clock

    @property
    def model(self) -> Path:
        """The model's folder."""
        return Path(self.folder)

    @property
    def on_gpu(self) -> bool:
        """Say whether figures mean anything."""
        return self.device == "cuda"

    @property
    def precision(self) -> str:
        """What to run in: a small CPU takes its time over bf16."""
        return "bf16" if self.on_gpu else "fp32"

    def cell_s(self, seconds: float) -> float:
        """Return how long a figure is measured; without a GPU it means nothing anyhow."""
        return seconds if self.on_gpu else 0.01

    def left_s(self) -> float:
        """Return the seconds that are left."""
        return self.ends_at - time.time()


def row(table: str, **cells: object) -> None:
    """Tell a row of a table."""
    _tell({"table": table, "cells": cells})


def goal(name: str, at_least: float, reached: float | None) -> None:
    """Tell what was reached of a goal."""
    _tell({"goal": name, "at_least": at_least, "reached": reached})


def note(text: str) -> None:
    """Tell what figures cannot."""
    _tell({"note": text})


def _tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Tell an error and continue: one figure that cannot be had leaves the others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  (whatever a GPU's libraries raise)
        first = (str(error).strip() or "no words").splitlines()[0]
        note(f"failed: {what}: {type(error).__name__}: {first[:300]}")


def in_a_stream(engine: Engine, tokens: Tokens, exits: Sequence[int], *, calls: int) -> None:
    """Run the same texts a few times, as a worker runs one micro-batch after the other."""
    for _ in engine.run_token_stream((tokens, exits) for _ in range(calls)):
        pass


def operations(lengths: Sequence[int], layers: Sequence[int], width: int) -> float:
    """Return the operations of each text up to its layer, as the engine runs it.

    In the last one only the first token is computed in full.
    """
    total = 0
    for n, layer in zip(lengths, layers, strict=True):
        total += (layer - 1) * n * (24 * width**2 + 4 * n * width)
        total += n * (4 * width**2 + 4 * width) + 20 * width**2 + 2 * layer * width**2
    return float(total)


def plain_operations(lengths: Sequence[int], layers: Sequence[int], width: int) -> float:
    """Return the operations of a plain BERT that computes every token of every layer."""
    pairs = zip(lengths, layers, strict=True)
    return float(sum(layer * n * (24 * width**2 + 4 * n * width) for n, layer in pairs))


def median_s(
    run: Callable[[], object], *, seconds: float, least: int = 3, clear: bool = True
) -> float:
    """Return the median time of a run that waits for its results, over about `seconds`."""
    if clear:
        run()
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while len(spent) < least or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def wait(device: str) -> None:
    """Wait until a GPU has done all it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
