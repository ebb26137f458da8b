"""Model folders: written and read back the same, and refused by name where something is off."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint.folder import (
    check_tokenizer,
    fingerprint,
    load_model,
    save_model,
    start_from,
)
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
            "exits after layers 1, 2, 4, the weights have classifiers after layers 2, 4",
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


def shards(folder, *, count=3, suffix="safetensors", name="model"):
    """Take the weights of a model folder apart into files with an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = [f"{name}-{i:05}-of-{count:05}.{suffix}" for i in range(1, count + 1)]
    places = {weight: files[i % count] for i, weight in enumerate(state)}
    for file in files:
        part = {weight: state[weight] for weight, place in places.items() if place == file}
        save = save_file if suffix == "safetensors" else torch.save
        save(part, folder / file)
    whole = {"model": "model.safetensors", "pytorch_model": "pytorch_model.bin"}[name]
    index = folder / f"{whole}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def test_weights_in_several_files_are_those_of_one(tmp_path):
    """What transformers has cut into shards loads as the same network, with a fingerprint."""
    expected = load_model(write_tiny_model(tmp_path)).state_dict()
    shards(tmp_path)
    loaded = load_model(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    before = fingerprint(tmp_path)
    part = tmp_path / "model-00002-of-00003.safetensors"
    state = load_file(part)
    save_file({name: value + 1 for name, value in state.items()}, part)
    assert fingerprint(tmp_path) != before


def test_old_weights_in_several_files_only_on_request(tmp_path):
    """Shards of a pytorch_model.bin are old pickles, too."""
    expected = load_model(write_tiny_model(tmp_path)).state_dict()
    shards(tmp_path, suffix="bin", name="pytorch_model")
    with pytest.raises(InvalidCheckpoint, match=r"index\.json: is in the old pickle.*--allow-bin"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, allow_pickle=True).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        (None, "weight_map is None, expected the file of every weight"),
        ([], "weight_map is"),
        ({"a": 5}, "weight_map has 5 for a, expected the name"),
        ({"a": "../model.safetensors"}, "expected the name of a .safetensors file beside it"),
        ({"a": "/etc/passwd"}, "expected the name"),
        ({"a": "model-1.bin"}, "expected the name"),
        ({"a": "model-9.safetensors"}, r"model-9.safetensors: cannot be read: No such file"),
        ({"a": "a.safetensors", "b": "b.safetensors"}, "another file has the same weights: bert"),
    ],
)
def test_a_broken_index_is_told(tmp_path, weight_map, said):
    """An index that names no files, or files elsewhere, is refused; so is an absent shard."""
    write_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for name in "ab":
        save_file({"bert.x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InvalidCheckpoint, match=re.escape(said)):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "weights",
    [[], torch.zeros(2), {"x": 5}, {5: torch.zeros(1)}, {"x": {"y": torch.zeros(1)}}],
)
def test_an_old_file_that_holds_no_weights_is_told(tmp_path, weights):
    """A pickle of something else is an error of one line, not a traceback."""
    write_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidCheckpoint, match=r"pytorch_model\.bin: (holds a|'x'|5)"):
        load_model(tmp_path, allow_pickle=True)


def test_old_pickle_only_on_request(tmp_path):
    """A pytorch_model.bin is read only when asked for, and then gives the same weights."""
    write_tiny_model(tmp_path)
    expected = load_model(tmp_path).state_dict()
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"pytorch_model\.bin.*--allow-bin"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, allow_pickle=True).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


class Payload:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (print, ("code of a stranger",))


def test_old_pickle_runs_no_code(tmp_path, capsys):
    """A pickle that brings code is refused, even on request, and the code does not run."""
    write_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidCheckpoint, match="cannot be read"):
        load_model(tmp_path, allow_pickle=True)
    assert "stranger" not in capsys.readouterr().out


def test_fingerprint_follows_what_counts(tmp_path):
    """Weights, tokenizer, labels and exits change the fingerprint; other fields do not."""
    first = write_tiny_model(tmp_path / "a")
    same = write_tiny_model(tmp_path / "b")
    assert fingerprint(first) == fingerprint(same)

    def changed(name, field, value):
        folder = write_tiny_model(tmp_path / name)
        data = json.loads((folder / "config.json").read_text()) | {field: value}
        (folder / "config.json").write_text(json.dumps(data))
        return fingerprint(folder)

    other_labels = {"0": "bad", "1": "so so", "2": "good"}
    assert changed("c", "id2label", other_labels) != fingerprint(first)
    assert changed("d", "num_output_layers", [1, 0, 0, 1]) != fingerprint(first)
    assert changed("e", "hidden_dropout_prob", 0.2) == fingerprint(first)
    assert fingerprint(write_tiny_model(tmp_path / "f", seed=1)) != fingerprint(first)
    (same / "tokenizer.json").write_text((same / "tokenizer.json").read_text() + "\n")
    assert fingerprint(same) != fingerprint(first)


def test_vocabulary_file(tmp_path):
    """A folder with a vocab.txt and no tokenizer.json gives the same ids."""
    tokenizer = tiny_tokenizer()
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("\n".join(piece for piece, _ in pieces) + "\n")
    text = "The FILM was not very good, zebra!"
    assert load_tokenizer(tmp_path).encode(text).ids == tokenizer.encode(text).ids
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(tmp_path).encode("FILM").tokens == ["[CLS]", "[UNK]", "[SEP]"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_vocabulary_has_one_piece_a_line(tmp_path, ends, mark):
    """Only line ends part pieces: those that Unicode calls line breaks are pieces themselves."""
    pieces = [
        "[PAD]",
        "\u2028",
        "\x85",
        "\x0c",
        "a\u2029b",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "film",
    ]
    text = mark + ends.join(pieces) + ends
    (tmp_path / "vocab.txt").write_bytes(text.encode())
    vocabulary = load_tokenizer(tmp_path).get_vocab()
    assert vocabulary == {piece: number for number, piece in enumerate(pieces)}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False, "tokenize_chinese_chars": True},
        {"tokenize_chinese_chars": False, "model_max_length": 512},
        {"strip_accents": None},
    ],
)
def test_a_vocabulary_is_used_as_tokenizer_config_says(tmp_path, said):
    """Case, accents and Chinese characters are treated as transformers does with the same files."""
    from transformers import BertTokenizer

    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "film",
        "Film",
        "café",
        "cafe",
        "好",
        "好片",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    theirs = BertTokenizer.from_pretrained(tmp_path)
    text = "Film FILM film café cafe Café 好片 好"
    assert load_tokenizer(tmp_path).encode(text).ids == theirs(text)["input_ids"]


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
    """Fine-tuning goes on with the exits a checkpoint has; the others start afresh."""
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

    with pytest.raises(InvalidCheckpoint, match=r"no model\.safetensors of it; .*--allow-bin"):
        locate("fnlp/elasticbert-base", fetch=hub)
    assert locate("fnlp/elasticbert-base", allow_pickle=True, fetch=hub) == tmp_path
    assert (tmp_path / "pytorch_model.bin").exists()
