"""What a training reads: the texts, their classes, and the texts that it is measured on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model.checkpoint.hub import locate
from model.config import read_config
from model.errors import InvalidOptions
from model.labels import classes_of
from model.texts.data import read_labelled, read_named, set_name
from model.texts.formats import Format

if TYPE_CHECKING:
    from pathlib import Path

    from model.labels import Classes
    from model.texts.data import LabelledTexts
    from model.texts.rows import Layout
    from model.training.settings import Request

HELD_MOST = 2000
"""Texts held out at most: enough to tell two models apart that differ by two percent."""


def read_data(request: Request) -> tuple[LabelledTexts, Classes, dict[str, LabelledTexts]]:
    """Return what is trained on, its classes, and what is measured on by name.

    Raises:
        ModelError: a file cannot be used, or a model that is to be started from.
    """
    found = read_named(request.data, request.layout)
    classes = classes_of(
        found.labels,
        where=str(request.data),
        named=request.labels,
        known=[] if request.labels else _known_labels(request),
    )
    data = found.numbered(classes)
    sets: dict[str, LabelledTexts] = {}
    for path in request.evaluate_on:
        name = set_name(path)
        if name in sets:
            raise InvalidOptions(f"--eval {path}: another file is called {name} in tables, too")
        sets[name] = read_labelled(path, classes=classes, layout=beside(request.layout))
    if request.hold_out and not sets:
        seed = request.settings.seed
        data, held = data.split(request.hold_out, most=HELD_MOST, seed=seed)
        sets = {held_name(request.data): held} if held.texts else {}
    return data, classes, sets


def held_name(path: Path) -> str:
    """Return how texts that were held out of a file are called in tables.

    >>> from pathlib import Path
    >>> held_name(Path("data/sst2/train.tsv"))
    'sst2/train held out'
    """
    return f"{set_name(path)} held out"


def beside(layout: Layout) -> Layout:
    """Return the layout of the files beside the data: each has the format that its name tells."""
    return replace(layout, format=Format.AUTO)


def _known_labels(request: Request) -> list[tuple[str, ...]]:
    """Return the labels of the models that the training starts or learns from."""
    models = (request.start, request.teacher)
    return [
        read_config(locate(model, allow_pickle=request.allow_pickle)).labels
        for model in models
        if isinstance(model, str)
    ]
