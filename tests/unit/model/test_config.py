"""config.json: what is written can be read, what cannot be built is refused with the reason."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig, read_config
from model.errors import InvalidConfig
from tests.support.tiny_model import tiny_config


@given(
    st.sets(st.integers(1, 12)).map(lambda some: tuple(sorted(some | {12}))),
    st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True).map(tuple),
)
def test_round_trip(exit_layers, labels):
    """Any exits and any label names survive being written and read."""
    config = replace(tiny_config(exit_layers=(12,)), exit_layers=exit_layers, labels=labels)
    assert ModelConfig.from_json(json.loads(config.to_json()), where="test") == config


@pytest.mark.parametrize(
    ("marks", "layers"),
    [
        ([1, 0, 1, 1], (1, 3, 4)),  # the paper's authors
        (4, (1, 2, 3, 4)),  # fine-tuned dynamic
        (1, (4,)),  # fine-tuned static
        (2, (3, 4)),
    ],
)
def test_published_forms_of_exits(marks, layers):
    """A list of marks is taken as it is, a number n means the last n layers."""
    data = json.loads(tiny_config(exit_layers=(4,)).to_json()) | {"num_output_layers": marks}
    assert ModelConfig.from_json(data, where="test").exit_layers == layers


def test_plain_bert():
    """A BERT's config has one exit after its last layer, and labels of its own if it names any."""
    data = json.loads(tiny_config(exit_layers=(4,)).to_json()) | {"model_type": "bert"}
    del data["num_output_layers"], data["id2label"]
    config = ModelConfig.from_json(data, where="test")
    assert (config.exit_layers, config.labels) == ((4,), ("negative", "positive"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', supported: elasticbert, bert"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', supported: gelu"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_size": None}, "hidden_size is None, expected a whole number"),
        ({"hidden_size": 0}, "hidden_size is 0, expected a whole number from 1 to 65,536"),
        ({"num_attention_heads": 5}, "not a multiple of num_attention_heads 5"),
        ({"num_output_layers": [1, 1]}, "expected 4 marks of 0 or 1, or a number 1..4"),
        ({"num_output_layers": 5}, "num_output_layers is 5"),
        ({"num_output_layers": [1, 0, 0, 0]}, "end at the last layer, 4"),
        ({"hidden_size": True}, "hidden_size is True, expected a whole number"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected a whole number"),
        ({"vocab_size": "57"}, "vocab_size is '57', expected a whole number"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0, expected a number above 0 to 1"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"is_decoder": True}, "is_decoder is True, supported: False"),
        ({"id2label": ["a", "b"]}, "id2label is ['a', 'b'], expected a name by number"),
        ({"id2label": {"0": "a", "1": None}}, "expected a name by number"),
        ({"id2label": {"0": "a", "1": "\ud800"}}, "labels have '\\ud800', expected"),
        ({"id2label": {"0": "a", "1": "b" * 257}}, "expected 1 to 256 characters of text"),
        ({"id2label": {"0": "only"}}, "expected two or more different names"),
        ({"id2label": {"0": "a", "2": "b"}}, "without a name for class 1"),
    ],
)
def test_refusals_name_field_and_value(change, message):
    """Each config that no network fits is refused; the message has the field and its value."""
    data = json.loads(tiny_config(exit_layers=(4,)).to_json()) | change
    with pytest.raises(InvalidConfig, match="somewhere: ") as caught:
        ModelConfig.from_json(data, where="somewhere")
    assert message in str(caught.value)


def test_exits_given_anew(tmp_path):
    """Exits and labels given for fine-tuning replace the file's, and are checked against it."""
    (tmp_path / "config.json").write_text(tiny_config(exit_layers=(4,)).to_json())
    config = read_config(tmp_path, exit_layers=(2, 4), labels=("a", "b"))
    assert (config.exit_layers, config.labels) == ((2, 4), ("a", "b"))
    with pytest.raises(InvalidConfig, match=r"exit layers are \(2, 5\).*last layer, 4"):
        read_config(tmp_path, exit_layers=(2, 5))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), ("{", "not JSON"), ("[1]", "expected a JSON object, got list")],
)
def test_broken_file(tmp_path, content, message):
    """A missing or broken config.json is named with its path."""
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InvalidConfig, match=message) as caught:
        read_config(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)
