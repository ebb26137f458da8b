"""Weights in 8 bits: what is stored, what comes back, and files that somebody has damaged."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.checkpoint.check import check_folder
from model.checkpoint.folder import fingerprint, load_model, save_model
from model.checkpoint.storage import row_errors
from model.engine.engine import Engine
from model.errors import InvalidCheckpoint
from model.folder_files import Store
from tests.support.tiny_model import tiny_config, tiny_network, tiny_tokenizer, write_tiny_model

TEXTS = ["the film was not very good", "bad room, bad service", "zebra!"]
QUERY = "elasticbert.encoder.layer.0.attention.self.query.weight"
FORM = {"format": "pt", "storage": "int8-rows", "storage_version": "1"}


@pytest.fixture
def folder(tmp_path):
    """A tiny model whose matrices are stored in 8 bits."""
    save_model(tiny_network(tiny_config()), tiny_tokenizer(), tmp_path / "m", store=Store.INT8)
    return tmp_path / "m"


def test_each_row_comes_back_within_half_a_step(folder):
    """A step is a 127th of the largest number of the row; all but these matrices is in fp16."""
    before, after = tiny_network(tiny_config()).state_dict(), load_model(folder).state_dict()
    packed = {name.removesuffix(".int8") for name in load_file(folder / "model.safetensors")}
    rounded = 0
    for name, value in before.items():
        if name in packed and f"{name}.int8" not in load_file(folder / "model.safetensors"):
            assert torch.equal(after[name], value.half().float()), name
            continue
        rounded += 1
        step = value.abs().amax(1, keepdim=True) / 127
        assert ((after[name] - value).abs() <= step * 0.5001).all(), name
        assert not torch.equal(after[name], value), name
    assert rounded == 1 + 4 * 6 + 3 * 2  # words; six of each layer; pooler and classifier
    errors = row_errors(before, after)
    assert 0.001 < errors.mean < errors.largest < 0.02
    row = before[errors.largest_in][errors.largest_row]
    moved = (after[errors.largest_in][errors.largest_row] - row).norm() / row.norm()
    assert errors.largest == pytest.approx(moved.item())


def test_rows_of_zeros_and_of_any_size_are_kept(tmp_path):
    """A row of zeros stays one, and tiny and huge rows are as exact as others."""
    network = tiny_network(tiny_config())
    with torch.no_grad():
        words = network.elasticbert.embeddings.word_embeddings.weight
        words[0], words[1], words[2] = 0, words[1] * 1e-20, words[2] * 1e20
    save_model(network, tiny_tokenizer(), tmp_path / "m", store=Store.INT8)
    found = load_model(tmp_path / "m").elasticbert.embeddings.word_embeddings.weight
    assert torch.equal(found[0], torch.zeros(32))
    assert ((found[1:3] - words[1:3]).norm(dim=1) / words[1:3].norm(dim=1) < 0.02).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_engine_runs_it_as_the_same_weights_in_floats(tmp_path, folder, precision):
    """Storage changes nothing but the numbers: as fp16 they give nearly the same answers."""
    plain = tmp_path / "plain"
    save_model(load_model(folder), tiny_tokenizer(), plain)
    one, other = (Engine(f, device="cpu", precision=precision) for f in (folder, plain))
    for a, b in zip(one.run(TEXTS, [2] * 3), other.run(TEXTS, [2] * 3), strict=True):
        assert a.labels == b.labels
        assert a.scores == pytest.approx(b.scores, abs=0.02)


def test_its_fingerprint_is_another(tmp_path, folder):
    """Counters of a model and of its rounded copy never mix."""
    assert fingerprint(folder) != fingerprint(write_tiny_model(tmp_path / "fp16"))


def test_check_says_how_it_is_stored(tmp_path, folder):
    """So that an operator can tell the two apart."""
    assert check_folder(folder)[1].found.endswith("as expected, matrices stored in 8 bits")
    plain = check_folder(write_tiny_model(tmp_path / "fp16"))[1].found
    assert plain.endswith("as expected")


def damaged(folder, change, metadata=FORM):
    """Change the tensors of a folder; return the error that loading ends with."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(InvalidCheckpoint) as caught:
        load_model(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert said.isprintable()
    return said


def put(name, value):
    return lambda tensors: tensors.update({name: value(tensors[name])})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(f"{QUERY}.scale", lambda t: t[:-1].clone()), "(31,) of torch.float32, expected 32"),
        (put(f"{QUERY}.scale", lambda t: t[:, None].clone()), "(32, 1) of torch.float32"),
        (put(f"{QUERY}.scale", lambda t: t.double()), "(32,) of torch.float64"),
        (lambda tensors: tensors.pop(f"{QUERY}.scale"), f"{QUERY}.scale is missing, expected 32"),
        (put(f"{QUERY}.scale", lambda t: t / 0), "scale is inf in row 0, expected a finite number"),
        (put(f"{QUERY}.scale", lambda t: t * torch.nan), "scale is nan in row 0"),
        (put(f"{QUERY}.scale", lambda t: t * 0 + 1e38), "scale is 1e+38 in row 0"),
        (put(f"{QUERY}.scale", lambda t: -t), "in row 0, expected a finite number from 0"),
        (put(f"{QUERY}.int8", lambda t: t.float()), "(32, 32) of torch.float32, expected a matrix"),
        (put(f"{QUERY}.int8", lambda t: t.flatten()), "(1024,) of torch.int8, expected a matrix"),
        (
            lambda tensors: tensors.update({QUERY: torch.zeros(32, 32)}),
            f"{QUERY} is there both in 8 bits and not",
        ),
    ],
)
def test_a_damaged_matrix_is_named_with_the_cure(folder, change, said):
    """The line names file, tensor, what was found, and the command that stores it again."""
    found = damaged(folder, change)
    assert said in found
    assert "model.safetensors: " in found
    assert "offramp model export ORIGINAL --out NEW --store int8" in found


def test_other_forms_are_refused(folder):
    """A newer version, another form, and metadata that somebody has lost."""
    for kind, version in (("int8-rows", "2"), ("nf4", "1"), ("", ""), ("int8-rows", None)):
        metadata = {"storage": kind} | ({} if version is None else {"storage_version": version})
        said = damaged(folder, lambda _: None, metadata)
        assert f"storage {kind!r}, storage_version {version!r}" in said
        assert "reads int8-rows, 1; update Offramp" in said
    for lost in ({"format": "pt"}, None):
        said = damaged(folder, lambda _: None, lost)
        assert "its metadata does not say storage int8-rows; store the original again" in said


def test_a_matrix_of_another_shape_is_told_as_in_any_file(folder):
    """Sizes are compared after the floats are back."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[f"{QUERY}.int8"] = tensors[f"{QUERY}.int8"][:, :31].clone()
    save_file(tensors, path, metadata=FORM)
    with pytest.raises(InvalidCheckpoint, match=r"query\.weight has shape \(32, 31\)"):
        load_model(folder)


def test_files_of_divided_weights_may_each_be_stored_otherwise(folder):
    """Each file says for itself how it is stored."""
    expected = load_model(folder).state_dict()
    path = folder / "model.safetensors"
    tensors = load_file(path)
    packed = {n: t for n, t in tensors.items() if n.endswith((".int8", ".scale"))}
    rest = {n: t for n, t in tensors.items() if n not in packed}
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    save_file(packed, folder / names[0], metadata=FORM)
    save_file(rest, folder / names[1])
    weights = dict.fromkeys(packed, names[0]) | dict.fromkeys(rest, names[1])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    path.unlink()
    found = load_model(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_file_says_what_it_is(folder):
    """Anybody can read the form from the metadata, without this project."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata() == FORM
        scale = file.get_tensor(f"{QUERY}.scale")
        matrix = file.get_tensor(f"{QUERY}.int8").float() * scale[:, None]
    assert torch.equal(matrix, load_model(folder).state_dict()[QUERY])
