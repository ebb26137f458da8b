"""`offramp plan` from a model here, and from a file that was measured elsewhere."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.errors import ConsumerError
from model.errors import ModelError
from policy_state.errors import PolicyStateError
from tests.support.model_cli import offramp
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A file that `model bench` wrote for a tiny model."""
    folder = tmp_path_factory.mktemp("plan")
    model = write_tiny_model(folder / "model")
    result = offramp(
        "model", "bench", model, "--texts", "16", "--tokens", "10", "--repeat", "1",
        "--precision", "fp32", "-o", "json",
    )  # fmt: skip
    file = folder / "bench.json"
    file.write_text(result.stdout)
    return file


def planned(*arguments: object) -> dict:
    """Return the plan that the command prints as JSON."""
    found = offramp("plan", "--events-per-second", "50000", "-o", "json", *arguments)
    return json.loads(found.stdout)


def refused(*arguments: object) -> str:
    """Return the error that a command line ends with."""
    with pytest.raises((ConsumerError, ModelError, PolicyStateError)) as caught:
        CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return str(caught.value)


def test_a_plan_for_another_machine_needs_only_its_file(measured: Path) -> None:
    """What is printed is the arithmetic of the file, with what was assumed."""
    found = planned("--measured", measured, "--price-per-hour", "2.5", "--tokens", "12")
    assert found["wanted"]["shares"] == [0, 0, 1]
    assert found["measured"]["source"] == "measured in bench.json"
    assert found["measured"]["tokens"] == 12
    made = found["plan"]
    assert made["workers"] == made["machines"] * made["processes"]
    assert made["price_per_hour"] == 2.5 * made["machines"]
    assert any("nothing else is known" in each for each in found["assumed"])
    shallow = planned("--measured", measured, "--exit-shares", "1,0,0")
    assert shallow["measured"]["exits"] != []
    assert shallow["wanted"]["shares"] == [1, 0, 0]


def test_batch_settings_are_those_of_the_worker(measured: Path) -> None:
    """`--set batch.max_events` and the time that a batch waits change the plan."""
    found = planned("--measured", measured, "--set", "batch.max_events=8", "--set",
                    "batch.max_wait_ms=5")  # fmt: skip
    assert (found["wanted"]["max_events"], found["wanted"]["max_wait_s"]) == (8, 0.005)
    assert found["plan"]["batch"] <= 8
    said = refused("plan", "--events-per-second", "1", "--set", "kafka.group=x")
    assert "--set kafka.group: this command does not use it" in said


def test_the_table_says_what_is_assumed(measured: Path) -> None:
    """People see machines, partitions, money and the assumptions."""
    shown = offramp(
        "plan", "--events-per-second", "50000", "--measured", measured, "--price-per-hour", "1",
        "--latency", "10s",
    ).output  # fmt: skip
    for word in ("machines", "workers", "partitions", "Redis commands/s", "price of 1M texts"):
        assert word in shown
    assert shown.count("assumed: ") == 5


def test_a_model_is_measured_here(tmp_path: Path) -> None:
    """Without a file the model of `--model` is run, in the batches of its worker."""
    model = write_tiny_model(tmp_path / "model")
    found = planned("--model", model, "--tokens", "900", "--set", "batch.max_events=8")
    assert found["measured"]["source"] == "measured here"
    assert found["measured"]["tokens"] == 24  # what the model reads at most
    assert found["measured"]["layers"] == [1, 2, 4]


def test_what_cannot_be_planned_is_one_line(measured: Path, tmp_path: Path) -> None:
    """Wrong shares, files, times and pairs of options are named."""
    ask = ("plan", "--events-per-second", "1", "--measured", measured)
    for words, said in (
        (("--exit-shares", "0.5,0.5"), "2 shares of texts, but the model has 3 exits"),
        (("--exit-shares", "0.5,0.1,0.1"), "the shares add up to 0.7, expected 1"),
        (("--exit-shares", "a"), "--exit-shares a: expected numbers with commas"),
        (("--latency", "soon"), "duration 'soon', expected"),
        (("--latency", "20ms"), "a latency of 20 ms cannot be reached"),
        (("--tokens", "100"), "measure again with `offramp model bench --tokens 100`"),
        (("--measured", tmp_path / "none.json"), "none.json: cannot be read"),
    ):
        assert said in refused(*ask, *words)
    both = offramp(*ask, "--exit-shares", "1,0,0", "--policy", "p", code=2).output
    assert "both say where texts stop" in both
    assert "has no effect with --measured" in offramp(*ask, "--model", tmp_path, code=2).output
    assert "--events-per-second" in offramp("plan", "--events-per-second", "0", code=2).output
