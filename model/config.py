"""The shape of a multi-exit model: what config.json says, checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import nan
from typing import TYPE_CHECKING, Any

from model.errors import InvalidConfig
from model.folder_files import CONFIG, read_object, shown

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


# Far beyond any published BERT: what is above would take memory or time without end.
_WHOLE = {
    "vocab_size": (1, 1 << 24),
    "hidden_size": (1, 1 << 16),
    "num_hidden_layers": (1, 1000),
    "num_attention_heads": (1, 1 << 16),
    "intermediate_size": (1, 1 << 20),
    "max_position_embeddings": (3, 1 << 20),  # [CLS], one token, [SEP]
    "type_vocab_size": (1, 1 << 16),
    "pad_token_id": (0, 1 << 24),
}
_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_LABEL_CHARACTERS = 256


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
        for name in _WHOLE:
            _check_whole(name, getattr(self, name))
        _check_share("layer_norm_eps", self.layer_norm_eps, least="above 0")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            _check_share(name, getattr(self, name), least="from 0")
        if self.hidden_size % self.num_attention_heads:
            raise InvalidConfig(
                f"hidden_size is {self.hidden_size}, "
                f"not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        layers = self.exit_layers
        rising = all(a < b for a, b in pairwise(layers))
        if not layers or not rising or layers[0] < 1 or layers[-1] != self.num_hidden_layers:
            raise InvalidConfig(
                f"exit layers are {shown(layers)}, expected rising layers from 1 on "
                f"that end at the last layer, {self.num_hidden_layers}"
            )
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise InvalidConfig(
                f"labels are {shown(self.labels)}, expected two or more different names"
            )
        for name in self.labels:  # they go into every prediction
            if not 1 <= len(name) <= _LABEL_CHARACTERS or not _is_text(name):
                raise InvalidConfig(
                    f"labels have {shown(name)}, "
                    f"expected 1 to {_LABEL_CHARACTERS} characters of text"
                )

    @property
    def exits(self) -> int:
        """How many exits there are."""
        return len(self.exit_layers)

    def to_json(self) -> str:
        """Return config.json in the layout of the paper's authors (0/1 list of output layers)."""
        marks = [int(layer in self.exit_layers) for layer in range(1, self.num_hidden_layers + 1)]
        fields = asdict(self)
        del fields["exit_layers"], fields["labels"]
        return json.dumps(
            {
                "model_type": ELASTICBERT,
                "architectures": ["ElasticBertForSequenceClassification"],
                **fields,
                "hidden_act": "gelu",
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
        _only(data, "is_decoder", (False,), where)
        try:
            depth = _check_whole("num_hidden_layers", data.get("num_hidden_layers"))
            required: dict[str, Any] = {name: data.get(name) for name in _REQUIRED}  # checked there
            return cls(
                **required,
                num_hidden_layers=depth,
                exit_layers=_exit_layers(data, depth),
                labels=_labels(data),
                type_vocab_size=data.get("type_vocab_size", 2),
                layer_norm_eps=data.get("layer_norm_eps", 1e-12),
                hidden_dropout_prob=data.get("hidden_dropout_prob", 0.1),
                attention_probs_dropout_prob=data.get("attention_probs_dropout_prob", 0.1),
                pad_token_id=0 if data.get("pad_token_id") is None else data["pad_token_id"],
            )
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
    path = folder / CONFIG
    data = read_object(path, error=InvalidConfig)
    if labels is not None:
        data["id2label"] = {str(i): name for i, name in enumerate(labels)}
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


def _labels(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes, by their numbers."""
    names = data.get("id2label")
    if names is None or names == {}:
        return default_labels(2)
    if not isinstance(names, dict) or any(type(n) not in {str, int} for n in names.values()):
        raise InvalidConfig(
            f'id2label is {shown(names)}, expected a name by number such as {{"0": "negative"}}'
        )
    for number in range(len(names)):
        if str(number) not in names:
            raise InvalidConfig(f"id2label is {shown(names)}, without a name for class {number}")
    return tuple(str(names[str(number)]) for number in range(len(names)))


def _exit_layers(data: Mapping[str, Any], depth: int) -> tuple[int, ...]:
    """Return the layers with an exit, from any published form of `num_output_layers`.

    A list has one 0/1 mark a layer; a number n means the last n layers; a plain BERT has
    one exit, after its last layer.
    """
    marks = data.get("num_output_layers", 1)
    if type(marks) is int and 1 <= marks <= depth:
        marks = [0] * (depth - marks) + [1] * marks
    if not isinstance(marks, list) or len(marks) != depth or any(m not in (0, 1) for m in marks):
        raise InvalidConfig(
            f"num_output_layers is {shown(marks)}, expected {depth} marks of 0 or 1, "
            f"or a number 1..{depth}, as num_hidden_layers is {depth}"
        )
    if not marks[-1]:
        raise InvalidConfig(
            f"num_output_layers is {shown(marks)}, expected the last mark to be 1: "
            f"exits end at the last layer, {depth}"
        )
    return tuple(layer for layer, mark in enumerate(marks, start=1) if mark)


def _only(data: Mapping[str, Any], name: str, allowed: tuple[object, ...], where: str) -> None:
    value = data.get(name, allowed[0])
    if value not in allowed:
        supported = ", ".join(map(str, allowed))
        raise InvalidConfig(f"{where}: {name} is {shown(value)}, supported: {supported}")


def _check_whole(name: str, value: object) -> int:
    least, most = _WHOLE[name]
    if type(value) is not int or not least <= value <= most:
        raise InvalidConfig(
            f"{name} is {shown(value)}, expected a whole number from {least} to {most:,}"
        )
    return value


def _check_share(name: str, value: object, *, least: str) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else nan
    if not 0 <= number <= 1 or (number == 0 and least == "above 0"):
        raise InvalidConfig(f"{name} is {shown(value)}, expected a number {least} to 1")


def _is_text(name: str) -> bool:
    """Say whether a name can be written as UTF-8: half of a pair of surrogates cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
