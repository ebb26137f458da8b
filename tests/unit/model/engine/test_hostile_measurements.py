"""What was measured of a model and lies beside it, with anything written into it."""

import json
import math
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.engine.calibrate import COSTS_FILE, read_costs, write_costs
from model.engine.engine import Engine
from model.engine.int8 import INT8_FILE, Agreement, observe, read_int8, write_int8
from model.errors import InvalidCheckpoint, ModelError
from tests.support.hostile import walk
from tests.support.tiny_model import tiny_config, tiny_network, write_tiny_model


def test_every_field_of_a_cost_vector_is_named_or_loads(tmp_path):
    """costs.json is ours and lies beside the model: what is wrong with it is one line, too."""
    folder = write_tiny_model(tmp_path)
    engine = Engine(folder, device="cpu")
    content = json.loads(write_costs(folder, engine, (0.25, 0.5, 1.0)).read_text())

    def costs_of(folder):
        try:
            assert all(0 <= cost <= 1 for cost in read_costs(folder, engine))
        except ModelError as error:
            return str(error)
        return None

    for path, value, error in walk(folder, COSTS_FILE, content, load=costs_of):
        if error is not None and path:
            assert f"{COSTS_FILE}: " in error, (path, value, error)
            assert path[0] in error, (path, value, error)


def test_a_calibration_that_does_not_fit_is_told(tmp_path):
    """Ranges that are missing, of another shape or type, or no ranges, never reach the kernels."""
    config = tiny_config(exit_layers=(1, 2))
    folder = write_tiny_model(tmp_path, config=config)
    write_int8(
        folder,
        observe(tiny_network(config), [[2, 5, 3]]),
        fingerprint="f",
        agreement=Agreement((1.0, 1.0), 9),
    )

    def read():
        return read_int8(folder, config, fingerprint="f", least_agreement=0.5)

    assert len(read()) == 2
    good = load_file(folder / INT8_FILE)
    meta = {"fingerprint": "f", "agreement": "[1.0, 1.0]", "texts": "9"}
    name = "1.middle.low"
    for wrong in (
        None,
        torch.zeros(3),
        torch.zeros(128, 1),
        good[name].half(),
        good[name] + math.nan,
    ):
        state = {n: t for n, t in good.items() if n != name} | (
            {} if wrong is None else {name: wrong}
        )
        save_file(state, folder / INT8_FILE, metadata=meta)
        with pytest.raises(InvalidCheckpoint, match=r"int8\.safetensors: 1\.middle is"):
            read()
    for field in meta:
        for value in ("", "null", "[1]", "1e999", "9" * 5000, '["a", "b"]', "[" * 9999, "[NaN, 2]"):
            save_file(good, folder / INT8_FILE, metadata=meta | {field: value})
            with suppress(ModelError):  # a number of texts may be any
                read()
