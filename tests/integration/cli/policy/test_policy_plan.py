"""`offramp plan --policy`: the shares of exits are those that were learnt."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.errors import InvalidSettings
from policy_state.store.redis.store import RedisStore
from tests.support.policies.shown import META

ROW = {
    "precision": "bf16",
    "batch_ms": 100.0,
    "few_ms": 20.0,
    "cpu_us": 900.0,
    "tokenise_us": 40.0,
    "tokenise_cpu_us": 60.0,
}


def measured(folder: Any, layers: tuple[int, ...]) -> str:
    """Write what `model bench` would, of a model with exits after these layers."""
    rows = [{**ROW, "layer": layer, "batch_ms": 10.0 * layer} for layer in layers]
    document = {
        "version": 1, "kind": "model-bench", "machine": "m", "device": "cpu", "cores": 2,
        "fingerprint": "f", "texts": 64, "few_texts": 8, "tokens_per_text": 32, "exits": rows,
    }  # fmt: skip
    file = folder / "bench.json"
    file.write_text(json.dumps(document))
    return str(file)


def test_the_shares_are_those_of_the_policy(
    store: RedisStore, redis_url: str, tmp_path: Any
) -> None:
    """Texts by exit, over all domains; another model's policy is refused."""

    def plan(layers: tuple[int, ...], name: str = META.name) -> Any:
        return CliRunner().invoke(
            app,
            ["plan", "--events-per-second=100", f"--measured={measured(tmp_path, layers)}",
             f"--policy={name}", f"--redis-url={redis_url}", "-o", "json"],
        )  # fmt: skip

    found = json.loads(plan(META.layers).stdout)
    played = store.totals().stats.played
    assert found["wanted"]["shares"] == pytest.approx([n / sum(played) for n in played])
    assert any(f"learnt in policy {META.name}" in each for each in found["assumed"])
    other = plan((1, *META.layers[1:-1], 99)).exception
    assert isinstance(other, InvalidSettings)
    assert "measure the policy's model" in str(other)
    assert "policy none not found" in str(plan(META.layers, "none").exception)
