"""The key map: names of weights in published checkpoints, and what they are called here.

Our names are those of the published ElasticBERT classifiers, so most rules only add a prefix:

    published                                         here
    [bert.|elasticbert.]embeddings.*                  elasticbert.embeddings.*
    [bert.|elasticbert.]encoder.layer.N.*             elasticbert.encoder.layer.N.*
    [elasticbert.]encoder.pooler.I.dense.*            elasticbert.encoder.pooler.I.dense.*
    [bert.]pooler.dense.*                             elasticbert.encoder.pooler.{last}.dense.*
    classifiers.I.*                                   classifiers.I.*
    classifier.*                                      classifiers.{last}.*
    *.LayerNorm.gamma, *.LayerNorm.beta               *.LayerNorm.weight, *.LayerNorm.bias
    *.position_ids, predictions.*, sop_classifier.*,
    cls.*                                             dropped: pre-training heads and a constant

N and I are 0-based layers; {last} is the last one. A pooler and a classifier make an exit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from model.errors import InvalidCheckpoint
from model.folder_files import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 4
_RULES = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"(?:bert\.|elasticbert\.)?embeddings\.position_ids", None),
        (r"(?:predictions|sop_classifier|cls)\..+", None),
        (
            r"(?:bert\.|elasticbert\.)?(embeddings\..+|encoder\.layer\.[0-9]{1,4}\..+)",
            r"elasticbert.\1",
        ),
        (r"(?:elasticbert\.)?(encoder\.pooler\.[0-9]{1,4}\.dense\..+)", r"elasticbert.\1"),
        (r"(?:bert\.)?pooler\.(dense\..+)", r"elasticbert.encoder.pooler.{last}.\1"),
        (r"(classifiers\.[0-9]{1,4}\..+)", r"\1"),
        (r"classifier\.(.+)", r"classifiers.{last}.\1"),
    )
)


def key_map(names: Iterable[str], *, layers: int, where: str) -> dict[str, str]:
    """Return our name for each published one; dropped names are left out.

    >>> key_map(["bert.pooler.dense.bias", "classifier.bias", "cls.bias"], layers=12, where="file")
    {'bert.pooler.dense.bias': 'elasticbert.encoder.pooler.11.dense.bias', 'classifier.bias': 'classifiers.11.bias'}

    Args:
        names: every name in the checkpoint.
        layers: how many the network has.
        where: names the checkpoint in errors.

    Raises:
        InvalidCheckpoint: names that no rule knows, or two names for the same weight.
    """  # noqa: E501  (a doctest's output cannot be wrapped)
    mapped: dict[str, str] = {}
    taken: dict[str, str] = {}
    unknown: list[str] = []
    for name in sorted(names):
        rule = next(((m, ours) for p, ours in _RULES if (m := p.fullmatch(name))), None)
        if rule is None:
            unknown.append(name)
            continue
        match, template = rule
        if template is None:
            continue
        ours = match.expand(template).replace("{last}", str(layers - 1))
        ours = ours.replace("LayerNorm.gamma", "LayerNorm.weight")
        ours = ours.replace("LayerNorm.beta", "LayerNorm.bias")
        if ours in taken:
            raise InvalidCheckpoint(
                f"{where}: {plain(taken[ours])} and {plain(name)} are the same weight, "
                f"{plain(ours)}"
            )
        mapped[name] = ours
        taken[ours] = name
    if unknown:
        raise InvalidCheckpoint(f"{where}: not part of a BERT or ElasticBERT: {listed(unknown)}")
    return mapped


def exit_layers(names: Iterable[str]) -> tuple[int, ...]:
    """Return the 1-based layers that have a classifier, shallowest first.

    >>> exit_layers(["classifiers.0.weight", "classifiers.2.weight", "classifiers.2.bias"])
    (1, 3)
    """
    return tuple(sorted({int(n.split(".")[1]) + 1 for n in names if n.startswith("classifiers.")}))


def is_head(name: str) -> bool:
    """Tell whether a weight, by our name, belongs to an exit and not to the encoder."""
    return name.startswith(("classifiers.", "elasticbert.encoder.pooler."))


def listed(names: list[str]) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(plain, names[:SHOWN])) + more
