"""Fingerprints: folders that can label a text differently have different ones."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.batches import encode, predict
from model.calibration import Calibration, write_calibration
from model.checkpoint.folder import fingerprint, load_model
from model.checkpoint.tokenizer import load_tokenizer
from tests.support.tiny_model import tiny_config, write_tiny_model

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "num_attention_heads": st.sampled_from([1, 2, 4, 8]),
        "layer_norm_eps": st.sampled_from([1e-12, 1e-5, 0.1]),
        "num_output_layers": st.sampled_from([[1, 1, 0, 1], [1, 1, 0, True]]),
        "id2label": st.permutations(["a", "b", "c"]).map(lambda n: dict(enumerate(n))),
        "hidden_dropout_prob": st.sampled_from([0.0, 0.5]),
        "attention_probs_dropout_prob": st.sampled_from([0.0, 0.5]),
        "pad_token_id": st.sampled_from([0, 1, None]),
        "model_type": st.sampled_from(["bert", "elasticbert"]),
        "anything": st.integers(),
    },
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "do_lower_case": st.booleans(),
        "strip_accents": st.sampled_from([None, True, False]),
        "tokenize_chinese_chars": st.booleans(),
        "clean_text": st.booleans(),
        "model_max_length": st.integers(1, 9),
    },
)


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    """A folder whose vocabulary knows case, accents and Chinese, and weights that mind them."""
    folder = tmp_path_factory.mktemp("cased")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += [
        *"abcdefghijABCDEFGHIJ\u00e9\u00c9\u597d\u7247",
        *(f"##{c}" for c in "abcABC\u597d\u7247"),
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    write_tiny_model(folder, seed=3)
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    return folder, config


def answers(folder):
    """Return fingerprint and the names of the labels of every exit, for some texts."""
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    letters = "aBC\u00e9\u00c9\u597d\u7247\x07"
    texts = [f"{a}{b}a" for a in letters for b in letters]
    said = predict(network, encode(tokenizer, texts, 24)).argmax(-1).tolist()
    return fingerprint(folder), [[network.config.labels[i] for i in row] for row in said]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(CHANGES, SETTINGS), st.tuples(CHANGES, SETTINGS))
def test_folders_of_one_fingerprint_give_the_same_labels(cased, one, other):
    """Whatever of config or tokenizer differs: either the fingerprint does, or no label."""
    folder, config = cased
    found = []
    for changes, said in (one, other):
        (folder / "config.json").write_text(json.dumps(config | changes))
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
        found.append(answers(folder))
    (print_1, labels_1), (print_2, labels_2) = found
    assert print_1 != print_2 or labels_1 == labels_2


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 2},
        {"layer_norm_eps": 0.1},
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"clean_text": False},
    ],
)
def test_each_setting_that_changes_labels_changes_the_fingerprint(cased, change):
    """Heads, epsilon, and each part of the normaliser: labels differ, and so do fingerprints."""
    folder, config = cased
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text("{}")
    print_1, labels_1 = answers(folder)
    of_config = change.keys() <= config.keys()
    (folder / "config.json").write_text(json.dumps(config | (change if of_config else {})))
    (folder / "tokenizer_config.json").write_text(json.dumps({} if of_config else change))
    print_2, labels_2 = answers(folder)
    assert labels_1 != labels_2
    assert print_1 != print_2


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


def test_the_part_of_a_calibration_that_decides_is_in_the_fingerprint(tmp_path):
    """Temperatures and worths change what counters mean; how they were measured does not."""
    folder = write_tiny_model(tmp_path)
    plain = fingerprint(folder)
    first = Calibration((1.0, 1.5, 2.0), (0.5, 0.25), 400, (80, 40), (0.1,) * 3, (0.0,) * 3)
    prints = {plain}
    for calibration in (
        first,
        replace(first, temperatures=(1.0, 1.5, 2.001)),
        replace(first, worth=(0.5, 0.0)),
    ):
        write_calibration(folder, calibration)
        prints.add(fingerprint(folder))
    assert len(prints) == 4
    measured = replace(first, texts=9, duels=(1, 2), ece_before=(0.3,) * 3, ece_after=(0.2,) * 3)
    for calibration in (first, measured):
        path = write_calibration(folder, calibration)
        prints.add(fingerprint(folder))
    path.write_text(path.read_text().replace("1.0,", "1,"))
    prints.add(fingerprint(folder))
    assert len(prints) == 4
    path.unlink()
    assert fingerprint(folder) == plain


def test_a_model_without_calibration_keeps_its_fingerprint(tmp_path):
    """Policies that were learnt before there was calibration stay those of their model."""
    (tmp_path / "config.json").write_text(tiny_config().to_json())
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_bytes(b"pieces")
    assert fingerprint(tmp_path) == "4880149162bd58ff"
