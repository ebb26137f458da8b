"""Weights in other files than one model.safetensors: in several, or in a pickle of old."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint.folder import fingerprint, load_model
from model.errors import InvalidCheckpoint
from tests.support.tiny_model import write_tiny_model


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
        ({"a": "../model.safetensors"}, "a .safetensors file in the same folder"),
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
