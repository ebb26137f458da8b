"""Model folders that somebody has written anything into: a network that runs, or one line."""

import json
import math
import os
import shutil
import struct
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from model.checkpoint.folder import check_tokenizer, fingerprint, load_model
from model.checkpoint.tokenizer import load_tokenizer
from model.config import read_config
from model.engine.engine import Engine
from model.errors import ModelError
from model.tokeniser import Tokeniser
from tests.support.hostile import walk
from tests.support.tiny_model import tiny_config, tiny_tokenizer, write_tiny_model

IGNORED = ("architectures", "label2id", "max_output_layers")
TEXTS = ["The film was not very good", "bad, zebra!", "caf\u00e9 \u597d"]


def load(folder):
    """Load all of a folder; return the error it ends with, or None."""
    begun = time.monotonic()
    try:
        print_, network, tokenizer = fingerprint(folder), load_model(folder), load_tokenizer(folder)
        check_tokenizer(tokenizer, network.config, where=str(folder))
        assert len(print_) == 16
    except ModelError as error:
        return str(error)
    finally:
        assert time.monotonic() - begun < 20
    return None


def tokenise(folder):
    """Load a folder's tokenizer and use it; return the error it ends with, or None."""
    try:
        tokenizer = load_tokenizer(folder)
        check_tokenizer(tokenizer, tiny_config(), where=str(folder))
        Tokeniser(tokenizer, max_tokens=24).encode(TEXTS)
    except ModelError as error:
        return str(error)
    return None


def start(folder):
    """Start an engine as a worker does; return the error it ends with, or None."""
    try:
        Engine(folder, device="cpu", max_batch_tokens=256).run(TEXTS, [0] * len(TEXTS))
    except ModelError as error:
        return str(error)
    return None


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny networks are faster on one thread, most of all where others are busy too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_field_of_config_json_is_named_or_loads(tmp_path):
    """Whatever stands in a field: the line names file, field and value, or the model runs."""
    folder = write_tiny_model(tmp_path)
    content = json.loads((folder / "config.json").read_text())
    content = {name: value for name, value in content.items() if name not in IGNORED}
    content |= {"position_embedding_type": "absolute", "is_decoder": False, "anything": [1]}
    refused, started = 0, set()
    for path, value, error in walk(folder, "config.json", content, load=load):
        if error is None and (config := read_config(folder)) not in started:
            started.add(config)
            assert start(folder) is None, (path, value)
        if error is None or not path:
            continue
        refused += 1
        assert "config.json" in error, (path, value, error)
        assert str(path[0]) in error or "labels" in error, (path, value, error)
        if isinstance(value, int | float) and abs(value) <= 10**9 and len(path) == 1:
            assert f"is {value}" in error or "num_output_layers" in path, (path, value, error)
    assert refused > 200


def test_every_field_of_tokenizer_json_is_named_or_loads(tmp_path):
    """Whatever stands in a part: the line names the file, or the model runs."""
    folder = write_tiny_model(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content |= {"truncation": None, "padding": None}
    for path, value, error in walk(folder, "tokenizer.json", content, load=tokenise):
        if error is not None and len(path) == 1 and path[0] != "version":
            assert path[0] in error or "the tokenizer " in error, (path, value, error)


def test_a_tokenizer_that_cuts_or_pads_does_neither(tmp_path):
    """Whatever tokenizer.json says of lengths takes no memory and loses no token."""
    folder = write_tiny_model(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["padding"] = {
        "strategy": {"Fixed": 10**13},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    content["truncation"] = {
        "max_length": 3,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Right",
    }
    expected = Engine(folder, device="cpu").run(TEXTS, [2] * 3)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert Engine(folder, device="cpu").run(TEXTS, [2] * 3) == expected


def vocabulary_folder(folder):
    """Write a model folder with a vocab.txt."""
    write_tiny_model(folder)
    (folder / "tokenizer.json").unlink()
    pieces = sorted(tiny_tokenizer().get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(piece for piece, _ in pieces) + "\n")
    return folder


def test_every_field_of_tokenizer_config_json_is_named_or_loads(tmp_path):
    """The settings of a vocab.txt are true or false, or the line names file, field and value."""
    folder = vocabulary_folder(tmp_path)
    content = {
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "clean_text": True,
        "tokenizer_class": "BertTokenizer",
        "model_max_length": 512,
    }
    for path, value, error in walk(folder, "tokenizer_config.json", content, load=tokenise):
        if error is not None and path:
            assert f"tokenizer_config.json: {path[0]} is " in error, (path, value, error)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model folder that is copied, never changed."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_header_of_safetensors_is_told_or_loads(tiny, tmp_path, data):
    """Whatever the header says of a weight: one line that names the file, or a model that runs."""
    folder = shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    name = data.draw(
        st.sampled_from(["classifiers.0.bias", "elasticbert.embeddings.LayerNorm.bias"])
    )
    entry = header.pop(name)
    part = data.draw(st.sampled_from(["name", "dtype", "shape", "data_offsets", "all"]))
    if part == "name":
        name = data.draw(
            st.text(max_size=9)
            | st.sampled_from(["classifiers." + "9" * 5000 + ".bias", "classifiers.\u0663.bias"])
        )
    elif part == "all":
        entry = data.draw(HEADERS)
    else:
        dtypes = st.sampled_from(["F4", "F8_E8M0", "I64", "BOOL", "C64", "BF16", "U16", "?"])
        entry[part] = data.draw(HEADERS | dtypes)
    header[name] = entry
    written = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + whole[8 + size :])
    error = load(folder)
    assert error is None or (error.isprintable() and str(folder) in error and len(error) < 1200)


@pytest.mark.parametrize("size", [0, 7, 8, 2**63, 2**64 - 1])
def test_a_header_of_no_size_is_told(tmp_path, size):
    """A file that ends too early, or whose header is larger than any memory, takes none."""
    folder = write_tiny_model(tmp_path)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size)[: min(size, 8)] + b"{}")
    assert "model.safetensors: cannot be read" in load(folder)


def test_weights_that_are_no_numbers_are_told_at_the_start(tmp_path):
    """A worker does not start with a model whose answers would all be chance."""
    folder = write_tiny_model(tmp_path)
    state = load_file(folder / "model.safetensors")
    state["classifiers.1.bias"][0] = math.nan
    save_file(state, folder / "model.safetensors")
    assert "the answer of exit 1 to a plain text is not a number" in start(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    """What is no file is named at once: reading a pipe that nobody writes to would never end."""
    folder = write_tiny_model(tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{name}: cannot be read: not a regular file" in load(folder)


@pytest.mark.parametrize(
    "ids",
    [{"sep": ["[SEP]", 10**6]}, {"cls": ["[CLS]", 0]}, {"sep": ["[CLS]", 2]}],
)
def test_a_frame_of_other_ids_is_refused(tmp_path, ids):
    """[CLS] and [SEP] around a text are those of the vocabulary, and have embeddings."""
    folder = write_tiny_model(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"] |= ids
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "the tokenizer " in load(folder)
