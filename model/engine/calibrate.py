"""What is measured of a model before it is used: its agreement in int8, the costs of its exits."""

from __future__ import annotations

import json
import statistics
import time
from itertools import accumulate
from typing import TYPE_CHECKING

from model.checkpoint.folder import load_model
from model.engine.engine import Engine
from model.engine.int8 import Agreement, observe, write_int8
from model.errors import InvalidData
from model.folder_files import plain, read_object, shown
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

COSTS_FILE = "costs.json"
_MEASURE = "`offramp model costs`"
_MEASURE_AGAIN = f"measure again with {_MEASURE}"
# Half of the texts measure the agreement. If 6 % of labels differ, 50 texts still agree one time in
# twenty; to tell 98 % from 99 % with the same certainty takes 600 texts.
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
        raise InvalidData(
            f"{counted(len(texts), 'text')} for calibration; at least {_LEAST_TEXTS} are needed"
        )
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


def measure_costs(
    engine: Engine,
    texts: Sequence[str],
    *,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Return the time of a text that stops at each exit, relative to the last exit.

    Every round runs all texts to every exit once; the median over rounds of the ratios counts, so
    a machine that slows down for a while does not bend the vector. A deeper exit never costs less.

    Raises:
        InvalidData: no texts.
    """
    if not texts:
        raise InvalidData("there are no texts to measure the costs of exits with")
    tokens = engine.tokenise(texts)
    exits = engine.config.exits
    for exit_ in range(exits):  # the first run of each size builds its kernels
        engine.run_tokens(tokens, [exit_] * len(texts))
    ratios: list[list[float]] = [[] for _ in range(exits)]
    for _ in range(rounds):
        seconds = []
        for exit_ in range(exits):
            start = clock()
            engine.run_tokens(tokens, [exit_] * len(texts))
            seconds.append(clock() - start)
        for exit_, spent in enumerate(seconds):
            ratios[exit_].append(spent / seconds[-1])
    medians = [min(statistics.median(values), 1.0) for values in ratios]
    return tuple(accumulate(medians, max))


def write_costs(folder: Path, engine: Engine, costs: Sequence[float]) -> Path:
    """Save a measured cost vector, with what it was measured on, beside the model."""
    path = folder / COSTS_FILE
    content = {
        "fingerprint": engine.fingerprint,
        "device": engine.device.type,
        "precision": engine.precision,
        "exit_layers": engine.config.exit_layers,
        "costs": [round(cost, 4) for cost in costs],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def read_costs(folder: Path, engine: Engine) -> tuple[float, ...]:
    """Read the cost vector saved beside a model, if it was measured with what `engine` runs.

    Raises:
        InvalidData: there is none, or it is of another model, device or precision.
    """
    path = folder / COSTS_FILE
    try:
        content = read_object(path, error=InvalidData)
    except InvalidData as error:
        raise InvalidData(f"{error}; no usable cost vector; make one with {_MEASURE}") from error
    measured = {name: content.get(name) for name in ("fingerprint", "device", "precision")}
    ours = (engine.fingerprint, engine.device.type, engine.precision)
    for (name, found), here in zip(measured.items(), ours, strict=True):
        if found != here:
            raise InvalidData(
                f"{path}: measured with {name} "
                f"{plain(found) if isinstance(found, str) else shown(found)}, "
                f"but this engine has {here}; {_MEASURE_AGAIN}"
            )
    costs = content.get("costs")
    if not isinstance(costs, list) or not all(map(_is_cost, costs)):
        raise InvalidData(
            f"{path}: costs is {shown(costs)}, expected numbers from 0 to 1; {_MEASURE_AGAIN}"
        )
    if len(costs) != engine.config.exits:
        raise InvalidData(
            f"{path}: has {counted(len(costs), 'cost')}, "
            f"but the model has {counted(engine.config.exits, 'exit')}; {_MEASURE_AGAIN}"
        )
    return tuple(map(float, costs))


def _is_cost(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
