"""Model folders: written and read back the same, and refused by name where something is off."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint.folder import check_tokenizer, load_model, save_model, start_from
from model.checkpoint.hub import locate
from model.checkpoint.tokenizer import load_tokenizer
from model.errors import InvalidCheckpoint
from tests.support.tiny_model import tiny_config, tiny_network, tiny_tokenizer, write_tiny_model


def rewrite(folder, change):
    """Apply `change` to the weights of a model folder."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_round_trip(tmp_path):
    """A saved model has the same config and, up to fp16, the same weights when loaded."""
    network = tiny_network(tiny_config())
    save_model(network, tiny_tokenizer(), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == network.config
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name


def test_saved_files_are_readable_by_all(tmp_path):
    """A folder made by one user can be mounted and read by another."""
    write_tiny_model(tmp_path)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("classifiers.3.bias"), "missing: classifiers.3.bias"),
        (lambda s: s.pop("elasticbert.embeddings.LayerNorm.bias"), "missing: elasticbert.emb"),
        (
            lambda s: s.update({"elasticbert.encoder.pooler.2.dense.bias": torch.zeros(32)}),
            "not part of this network: elasticbert.encoder.pooler.2.dense.bias",
        ),
        (lambda s: s.update({"lm_head.weight": torch.zeros(1)}), "lm_head.weight"),
        (
            lambda s: s.update({"classifiers.0.weight": torch.zeros(3, 31)}),
            r"classifiers.0.weight has shape \(3, 31\), expected \(3, 32\)",
        ),
        (
            lambda s: s.update({"classifiers.0.weight": torch.zeros(2, 32)}),
            "classifiers.0.weight has 2 classes, expected 3: negative, neutral, positive",
        ),
        (
            lambda s: [s.pop(f"classifiers.0.{part}") for part in ("weight", "bias")],
            "exits after layers 1, 2, 4, but the weights have classifiers after layers 2, 4",
        ),
    ],
)
def test_wrong_weights_are_named(tmp_path, change, message):
    """A missing or extra key, a wrong shape or label count: the error names the key."""
    write_tiny_model(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(InvalidCheckpoint, match=message) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_broken_weights(tmp_path):
    """A file that is not safetensors is an error with its path, not a crash."""
    write_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors: cannot be read"):
        load_model(tmp_path)


def test_tokenizer_must_fit(tmp_path):
    """A tokenizer with ids that have no embedding is refused."""
    config = tiny_config()
    tokenizer = tiny_tokenizer()
    check_tokenizer(tokenizer, config, where="folder")
    tokenizer.add_tokens(["extra"])
    with pytest.raises(InvalidCheckpoint, match=rf"up to {config.vocab_size}"):
        check_tokenizer(tokenizer, config, where="folder")
    with pytest.raises(InvalidCheckpoint, match=r"tokenizer\.json: cannot be read"):
        load_tokenizer(tmp_path)


def test_start_keeps_heads_that_fit(tmp_path):
    """Fine-tuning continues with the exits a checkpoint has; the others start afresh."""
    write_tiny_model(tmp_path)
    before = load_model(tmp_path).state_dict()
    labels = ("negative", "neutral", "positive")
    started = start_from(tmp_path, exit_layers=(2, 3, 4), labels=labels).state_dict()
    assert torch.equal(started["classifiers.1.weight"], before["classifiers.1.weight"])
    assert "classifiers.0.weight" not in started
    fresh = start_from(tmp_path, exit_layers=(2, 3, 4), labels=labels, new_heads=True).state_dict()
    assert not torch.equal(fresh["classifiers.1.weight"], before["classifiers.1.weight"])
    name = "elasticbert.encoder.layer.2.output.dense.weight"
    assert torch.equal(fresh[name], before[name])


def test_start_with_other_classes(tmp_path):
    """Another number of classes than the checkpoint's is refused, unless heads start afresh."""
    write_tiny_model(tmp_path)
    with pytest.raises(InvalidCheckpoint, match="has 3 classes, expected 2: no, yes"):
        start_from(tmp_path, exit_layers=(2, 4), labels=("no", "yes"))
    started = start_from(tmp_path, exit_layers=(2, 4), labels=("no", "yes"), new_heads=True)
    assert started.classifiers["3"].weight.shape == (2, 32)


def test_locate(tmp_path):
    """A folder is taken as it is; what is neither folder nor hub id is named."""
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(InvalidCheckpoint, match="neither a folder nor a hub id"):
        locate(str(tmp_path / "absent" / "folder"))


def test_a_hub_id_without_safetensors_names_the_option(tmp_path):
    """What published ElasticBERT needs is said: --allow-bin, with which the old file is fetched."""

    def hub(reference, files):
        assert reference == "fnlp/elasticbert-base"
        for name in {"config.json", "vocab.txt", "pytorch_model.bin"} & set(files):
            (tmp_path / name).touch()
        return str(tmp_path)

    with pytest.raises(InvalidCheckpoint, match=r"no model\.safetensors for it; .*--allow-bin"):
        locate("fnlp/elasticbert-base", fetch=hub)
    assert locate("fnlp/elasticbert-base", allow_pickle=True, fetch=hub) == tmp_path
    assert (tmp_path / "pytorch_model.bin").exists()
