"""Published checkpoints, made up with their exact key names, are read as the weights they are."""

import json

import pytest
import torch
from safetensors.torch import save_file

from model.batches import encode, pad
from model.checkpoint.folder import load_model, save_model, start_from
from model.checkpoint.weights import key_map
from model.errors import InvalidCheckpoint
from tests.support.tiny_model import tiny_config, tiny_network, tiny_tokenizer

DEPTH = 12
LABELS = ("negative", "positive")


def full_network():
    """A network with an exit after each of twelve layers."""
    config = tiny_config(exit_layers=tuple(range(1, DEPTH + 1)), labels=LABELS)
    return tiny_network(config)


def write(folder, state, **fields):
    """Write a published checkpoint: its weights and the fields of its config.json."""
    config = json.loads(full_network().config.to_json())
    for name in ("num_output_layers", "id2label", "label2id"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config | fields))
    save_file(
        {name: value.contiguous().clone() for name, value in state.items()},
        folder / "model.safetensors",
    )
    tiny_tokenizer().save(str(folder / "tokenizer.json"))


def body(network, prefix="elasticbert."):
    """The encoder's weights as published: under `prefix`, with the constant position_ids."""
    start = "elasticbert."
    state = {
        prefix + name.removeprefix(start): value
        for name, value in network.state_dict().items()
        if name.startswith((f"{start}embeddings", f"{start}encoder.layer"))
    }
    return state | {f"{prefix}embeddings.position_ids": torch.arange(24)[None]}


def heads(network, layers):
    """Poolers and classifiers at the given 1-based layers, under their published names."""
    keep = {str(layer - 1) for layer in layers}
    return {
        name: value
        for name, value in network.state_dict().items()
        if (".pooler." in name and name.split(".")[3] in keep)
        or (name.startswith("classifiers.") and name.split(".")[1] in keep)
    }


def assert_same(state, expected):
    """All of `state` equals the weights of the same name in `expected`."""
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


def test_dynamic_form(tmp_path):
    """A fine-tuned 12-exit classifier (num_output_layers=12) loads with all of its exits."""
    network = full_network()
    layers = range(1, DEPTH + 1)
    write(
        tmp_path, body(network) | heads(network, layers), num_output_layers=12, max_output_layers=12
    )
    loaded = load_model(tmp_path)
    assert loaded.config.exit_layers == tuple(layers)
    assert_same(loaded.state_dict(), network.state_dict())


def test_exit_list_form(tmp_path):
    """The authors' form, a 0/1 list and heads only at those layers, loads and is what we write."""
    network = full_network()
    layers = (1, 3, 7, 12)
    marks = [int(n in layers) for n in range(1, DEPTH + 1)]
    write(tmp_path, body(network) | heads(network, layers), num_output_layers=marks)
    loaded = load_model(tmp_path)
    assert loaded.config.exit_layers == layers
    assert_same(loaded.state_dict(), network.state_dict())
    save_model(loaded, tiny_tokenizer(), tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["num_output_layers"] == marks
    assert load_model(tmp_path / "ours").config == loaded.config


def test_static_form(tmp_path):
    """A static classifier (one exit, `classifier.*`) loads as a model with one exit."""
    network = full_network()
    last = heads(network, [DEPTH])
    state = body(network) | {
        name.replace("classifiers.11.", "classifier."): value for name, value in last.items()
    }
    write(tmp_path, state, num_output_layers=1)
    loaded = load_model(tmp_path)
    assert loaded.config.exit_layers == (DEPTH,)
    assert_same(loaded.state_dict(), network.state_dict())


def pretrained(network):
    """elasticbert-base: encoder, a pooler after each layer, and the pre-training heads."""
    poolers = {n: v for n, v in heads(network, range(1, DEPTH + 1)).items() if ".pooler." in n}
    extra = {
        "predictions.bias": torch.zeros(9),
        "predictions.transform.dense.weight": torch.zeros(32, 32),
        "predictions.decoder.weight": torch.zeros(9, 32),
        "sop_classifier.seq_relationship.weight": torch.zeros(2, 32),
    }
    return body(network) | poolers | extra


def test_pretrained_form(tmp_path):
    """elasticbert-base starts a fine-tuning: encoder and the chosen poolers kept, heads new."""
    network = full_network()
    write(tmp_path, pretrained(network), num_output_layers=12)
    started = start_from(tmp_path, exit_layers=(1, 3, 12), labels=LABELS)
    assert started.config.exit_layers == (1, 3, 12)
    state = started.state_dict()
    kept = {n: v for n, v in state.items() if not n.startswith("classifiers.")}
    assert any(".pooler.2." in name for name in kept)
    assert_same(kept, network.state_dict())
    assert not torch.equal(
        state["classifiers.2.weight"], network.state_dict()["classifiers.2.weight"]
    )


def test_pretrained_form_is_no_classifier(tmp_path):
    """Loading elasticbert-base as a classifier says that it has none, and what to do."""
    write(tmp_path, pretrained(full_network()), num_output_layers=12)
    with pytest.raises(InvalidCheckpoint, match=r"no classifiers.*offramp train --from"):
        load_model(tmp_path)


@pytest.mark.parametrize("prefix", ["", "bert.", "elasticbert."])
@pytest.mark.parametrize("old_names", [False, True])
def test_any_bert_as_a_start(tmp_path, prefix, old_names):
    """A BERT starts a fine-tuning with and without prefix, with old LayerNorm names too."""
    network = full_network()
    state = body(network, prefix) | {
        "cls.predictions.bias": torch.zeros(9),
        "cls.seq_relationship.weight": torch.zeros(2, 32),
    }
    if old_names:
        for new, old in (
            ("LayerNorm.weight", "LayerNorm.gamma"),
            ("LayerNorm.bias", "LayerNorm.beta"),
        ):
            state = {name.replace(new, old): value for name, value in state.items()}
    write(tmp_path, state, model_type="bert")
    started = start_from(tmp_path, exit_layers=(6, 12), labels=LABELS).state_dict()
    assert_same(
        {n: v for n, v in started.items() if "layer." in n or "embeddings" in n},
        network.state_dict(),
    )


@pytest.mark.parametrize("architecture", ["BertModel", "BertForSequenceClassification"])
def test_transformers_own_checkpoint(tmp_path, architecture):
    """What transformers saves starts a fine-tuning, or is a classifier with the same answers."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=tiny_tokenizer().get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
    )
    theirs = getattr(transformers, architecture)(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer()
    ids, mask = pad(encode(tokenizer, ["the film was good", "very bad service, not good!"], 24), 0)
    if architecture == "BertModel":
        ours = start_from(tmp_path, exit_layers=(1, 3), labels=LABELS).eval()
        pooled = theirs(ids, attention_mask=mask).pooler_output
        expected = ours.classifiers["2"](pooled)
    else:
        ours = load_model(tmp_path)
        expected = theirs(ids, attention_mask=mask).logits
    torch.testing.assert_close(ours(ids, mask)[-1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["roberta.embeddings.word_embeddings.weight"],
            "not part of a BERT or ElasticBERT: roberta",
        ),
        ([f"x{i}" for i in range(9)], "x0, x1, x2, x3 and 5 more"),
        (["classifier.bias", "classifiers.11.bias"], "are the same weight, classifiers.11.bias"),
        (["bert.embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"], "are the same weight"),
    ],
)
def test_unknown_and_double_names(names, message):
    """Names that no rule knows, and two names for one weight, are errors that name them."""
    with pytest.raises(InvalidCheckpoint, match=message):
        key_map(names, layers=DEPTH, where="file")
