"""The shape of a multi-exit model: what config.json says, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from model.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ELASTICBERT = "elasticbert"
BERT = "bert"

# Published small BERTs (arXiv 1908.08962) and BERT-base: layers, hidden size, attention heads.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the encoder, the layers that carry an exit, and the names of the classes.

    `exit_layers` counts from 1, shallowest first: `(1, 3, 7, 12)` puts exits 0..3 after
    these layers. The last exit is after the last layer.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    exit_layers: tuple[int, ...]
    labels: tuple[str, ...]
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        """Refuse shapes that no network can have.

        Raises:
            InvalidConfig: naming the field, its value and the limit.
        """
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InvalidConfig(f"{name} is {value!r}, expected a whole number of at least 1")
        if self.hidden_size % self.num_attention_heads:
            raise InvalidConfig(
                f"hidden_size is {self.hidden_size}, "
                f"not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        layers = self.exit_layers
        rising = all(a < b for a, b in pairwise(layers))
        if not layers or not rising or layers[0] < 1 or layers[-1] != self.num_hidden_layers:
            raise InvalidConfig(
                f"exit layers are {layers}, expected rising layers from 1 on "
                f"that end at the last layer, {self.num_hidden_layers}"
            )
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise InvalidConfig(f"labels are {self.labels}, expected two or more different names")

    @property
    def exits(self) -> int:
        """How many exits there are."""
        return len(self.exit_layers)

    def to_json(self) -> str:
        """Return config.json in the layout of the paper's authors (0/1 list of output layers)."""
        marks = [int(layer in self.exit_layers) for layer in range(1, self.num_hidden_layers + 1)]
        return json.dumps(
            {
                "model_type": ELASTICBERT,
                "architectures": ["ElasticBertForSequenceClassification"],
                "vocab_size": self.vocab_size,
                "hidden_size": self.hidden_size,
                "num_hidden_layers": self.num_hidden_layers,
                "num_attention_heads": self.num_attention_heads,
                "intermediate_size": self.intermediate_size,
                "hidden_act": "gelu",
                "max_position_embeddings": self.max_position_embeddings,
                "type_vocab_size": self.type_vocab_size,
                "layer_norm_eps": self.layer_norm_eps,
                "hidden_dropout_prob": self.hidden_dropout_prob,
                "attention_probs_dropout_prob": self.attention_probs_dropout_prob,
                "pad_token_id": self.pad_token_id,
                "max_output_layers": self.num_hidden_layers,
                "num_output_layers": marks,
                "id2label": {str(i): name for i, name in enumerate(self.labels)},
                "label2id": {name: i for i, name in enumerate(self.labels)},
            },
            indent=2,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, where: str) -> ModelConfig:
        """Read a parsed config.json; `where` names it in errors.

        Raises:
            InvalidConfig: a field is missing or has a value that is not supported.
        """
        _only(data, "model_type", (ELASTICBERT, BERT), where)
        _only(data, "hidden_act", ("gelu",), where)
        _only(data, "position_embedding_type", ("absolute",), where)
        depth = _required(data, "num_hidden_layers", where)
        names = data.get("id2label") or dict(enumerate(default_labels(2)))
        names = {str(key): str(name) for key, name in names.items()}
        try:
            return cls(
                vocab_size=_required(data, "vocab_size", where),
                hidden_size=_required(data, "hidden_size", where),
                num_hidden_layers=depth,
                num_attention_heads=_required(data, "num_attention_heads", where),
                intermediate_size=_required(data, "intermediate_size", where),
                max_position_embeddings=_required(data, "max_position_embeddings", where),
                exit_layers=_exit_layers(data, depth, where),
                labels=tuple(names[str(i)] for i in range(len(names))),
                type_vocab_size=data.get("type_vocab_size", 2),
                layer_norm_eps=data.get("layer_norm_eps", 1e-12),
                hidden_dropout_prob=data.get("hidden_dropout_prob", 0.1),
                attention_probs_dropout_prob=data.get("attention_probs_dropout_prob", 0.1),
                pad_token_id=data.get("pad_token_id") or 0,
            )
        except KeyError as error:
            raise InvalidConfig(f"{where}: id2label has no name for class {error}") from error
        except InvalidConfig as error:
            raise InvalidConfig(f"{where}: {error}") from error


def read_config(
    folder: Path,
    *,
    exit_layers: tuple[int, ...] | None = None,
    labels: tuple[str, ...] | None = None,
) -> ModelConfig:
    """Read `config.json` of a model folder; exits and labels may be given anew for fine-tuning.

    Raises:
        InvalidConfig: the file is missing, not JSON, or describes no network.
    """
    path = folder / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidConfig(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidConfig(f"{path}: expected a JSON object, got {type(data).__name__}")
    if labels is not None:
        data["id2label"] = dict(enumerate(labels))
    config = ModelConfig.from_json(data, where=str(path))
    if exit_layers is None:
        return config
    try:
        return replace(config, exit_layers=exit_layers)
    except InvalidConfig as error:
        raise InvalidConfig(f"{path}: {error}") from error


def default_labels(classes: int) -> tuple[str, ...]:
    """Return names for classes that nobody has named."""
    if classes == 2:  # noqa: PLR2004  (sentiment, as in the data this is made for)
        return ("negative", "positive")
    return tuple(map(str, range(classes)))


def _exit_layers(data: Mapping[str, Any], depth: int, where: str) -> tuple[int, ...]:
    """Return the layers with an exit, from any published form of `num_output_layers`.

    A list has one 0/1 mark a layer; a number n means the last n layers; a plain BERT has
    one exit, after its last layer.
    """
    marks = data.get("num_output_layers", 1)
    if isinstance(marks, int) and 1 <= marks <= depth:
        marks = [0] * (depth - marks) + [1] * marks
    if not isinstance(marks, list) or len(marks) != depth or any(m not in (0, 1) for m in marks):
        raise InvalidConfig(
            f"{where}: num_output_layers is {marks!r}, expected {depth} marks of 0 or 1, "
            f"or a number 1..{depth}"
        )
    return tuple(layer for layer, mark in enumerate(marks, start=1) if mark)


def _only(data: Mapping[str, Any], name: str, allowed: tuple[str, ...], where: str) -> None:
    value = data.get(name, allowed[0])
    if value not in allowed:
        raise InvalidConfig(f"{where}: {name} is {value!r}, supported: {', '.join(allowed)}")


def _required(data: Mapping[str, Any], name: str, where: str) -> int:
    value = data.get(name)
    if not isinstance(value, int):
        raise InvalidConfig(f"{where}: {name} is {value!r}, expected a whole number")
    return value
