"""`offramp lab replay` and `simulate`: what programs read of them, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from consumer.cli.app import app
from policy_state.simulation.synthetic import SyntheticDomain

Offramp = Callable[..., Result]
TEXTS = 1200


@pytest.fixture
def offramp() -> Offramp:
    """Return a function that runs `offramp lab`."""

    def run(*args: object, code: int = 0) -> Result:
        words = ["lab", *map(str, args)]
        result = CliRunner().invoke(app, words, env={"COLUMNS": "250"})
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def written(path: Path, *, separator: str = "\t", truth: bool = True) -> Path:
    """Write a matrix of three exits, the middle one best, and return its path."""
    labels, right = SyntheticDomain((0.4, 0.1, 0.09)).texts(TEXTS, np.random.default_rng(0))
    table = np.column_stack([labels, right]) if truth else labels
    header = ["0", "1", "2", "op_labels"][: table.shape[1]]
    lines = [separator.join(header), *(separator.join(map(str, row)) for row in table.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


def told(result: Result) -> dict[str, Any]:
    """Return the JSON on stdout."""
    return dict(json.loads(result.stdout))


def test_replay_tells_programs_all_of_every_algorithm(offramp: Offramp, tmp_path: Path) -> None:
    """Both algorithms and the baselines: accuracy, cost, layers, regret, plays of each trial."""
    path = written(tmp_path / "m.tsv")
    said = told(offramp("replay", path, "--exits", "1,6,12", "--trials", 3, "-o", "json"))
    assert (said["texts"], said["layers"], said["labelled"]) == (TEXTS, [1, 6, 12], True)
    assert said["costs"] == pytest.approx([1 / 12, 0.5, 1])
    algorithms = said["algorithms"]
    assert list(algorithms)[:2] == ["default", "uee-ucb"]
    assert {"oracle", "last", "random", "exit 0", "exit 1", "exit 2"} <= algorithms.keys()
    for found in algorithms.values():
        assert found["regret"].keys() == {"1000", "end"}
        assert found["regret"]["end"].keys() == {"mean", "sd", "low", "high"}
        assert len(found["counts"]) == 3
        assert all(len(trial) == 3 and sum(trial) == TEXTS for trial in found["counts"])
        assert 0.5 < found["accuracy"] <= 1
        assert 1 <= found["layers"] <= 12
    assert algorithms["oracle"]["regret"]["end"]["mean"] == 0
    assert algorithms["exit 0"]["layers"] == 1
    assert algorithms["last"]["cost"] == 1
    assert {"violations", "certificate", "agreement", "warnings"} <= said["diagnosis"].keys()


@pytest.mark.parametrize("name", ["default", "uee-ucb"])
def test_algorithms_named_are_the_ones_replayed(
    offramp: Offramp, tmp_path: Path, name: str
) -> None:
    """With `algorithm=` only that one stands beside the baselines."""
    args = ["replay", written(tmp_path / "m"), "--exits", "1,6,12", "--trials", 1, "-o", "json"]
    said = told(offramp(*args, f"algorithm={name}"))
    assert {"default", "uee-ucb"} & said["algorithms"].keys() == {name}
    told_so = " ".join(offramp("replay", "--help").stdout.replace("│", " ").split())
    assert "unless you name one, as with algorithm=default." in told_so


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize("truth", [True, False])
def test_any_separator_with_or_without_truth(
    offramp: Offramp, tmp_path: Path, separator: str, *, truth: bool
) -> None:
    """The same exits are learnt from either file; without labels there is no accuracy."""
    path = written(tmp_path / "matrix.csv", separator=separator, truth=truth)
    args = ["--exits", "1,6,12", "cost_weight=0.1", "--trials", 2]
    said = told(offramp("replay", path, *args, "-o", "json"))
    assert said["labelled"] is truth
    for name in ("default", "uee-ucb"):
        assert (said["algorithms"][name]["accuracy"] is None) is not truth
    assert np.argmax(np.sum(said["algorithms"]["default"]["counts"], axis=0)) == 1
    table = offramp("replay", path, *args).stdout
    assert "regret @end" in table
    assert all(name in table for name in ("default", "uee-ucb", "oracle", "exit 2"))


def test_options_reach_the_algorithm(offramp: Offramp, tmp_path: Path) -> None:
    """Costs, weight, fleet, scouts and any setting change what is played."""
    args = ["replay", written(tmp_path / "m"), "--exits", "1,6,12", "--trials", 1, "-o", "json"]
    plain = told(offramp(*args, "algorithm=default"))["algorithms"]["default"]
    listed = told(offramp(*args, "cost=0.1,0.2,0.3", "cost_weight=0.5"))
    assert listed["costs"] == pytest.approx([0.05, 0.1, 0.15])
    assert told(offramp(*args, "cost=split"))["costs"] == [0.5, 0.5, 1]
    fleet = ["--workers", 4, "--batch", 32, "--delay", 1]
    for more in (fleet, [*fleet, "scouts=0"], ["alpha=9"], ["tolerance=0.05"]):
        assert told(offramp(*args, *more))["algorithms"]["default"]["counts"] != plain["counts"]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_plot_is_a_picture(offramp: Offramp, tmp_path: Path, ending: str) -> None:
    """`--plot` writes what its ending says."""
    plot, path = tmp_path / f"plot.{ending}", written(tmp_path / "m")
    result = offramp("replay", path, "--exits", "1,6,12", "--trials", 2, "--plot", plot)
    begins = {"png": b"\x89PNG", "svg": b"<?xml"}
    assert plot.read_bytes().startswith(begins[ending])
    assert f"plot written to {plot}" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,1,2\n1,1,1\n0,1\n", "line 3: 2 columns, the first line has 3"),
        ("0,1,2\n1,1,x\n", "line 2, column 3: 'x', expected a label"),
        ("0,1,2\n1,0.5,1\n", "line 2, column 2: '0.5'"),
        ("0,1,2\n", "3 exits and 0 texts"),
        ("0,1\n1,1\n", "3 layers for a matrix of 2 exits"),
    ],
)
def test_a_bad_matrix_is_an_error_with_its_place(
    offramp: Offramp, tmp_path: Path, content: str, message: str
) -> None:
    """One line that names file, line and column; exit code 1."""
    path = tmp_path / "bad.csv"
    path.write_text(content)
    result = offramp("replay", path, "--exits", "1,6,12", code=1)
    assert message in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--exits", "1,12,6"], "layers"),
        (["algorithm=ucb"], "algorithm 'ucb' is unknown"),
        (["cost=cheap"], "cost 'cheap' is unknown"),
        (["cost=1,2"], "2 costs for 3 exits"),
        (["scouts=-1"], "scouts -1.0"),
        (["--plot", "plot.xyz"], "plot.xyz: expected a name that ends in .png"),
        (["--plot", "no/such/plot.png"], "folder no/such does not exist"),
    ],
)
def test_settings_that_cannot_be_are_told_before_the_replay(
    offramp: Offramp, tmp_path: Path, args: list[str], message: str
) -> None:
    """Layers, names, costs, options and plots: an error that names what was given."""
    result = offramp("replay", written(tmp_path / "m"), "--exits", "1,6,12", *args, code=1)
    assert message in str(result.exception)
    assert "replaying" not in result.stderr


def test_simulate_finds_the_exit_it_made_best(offramp: Offramp, tmp_path: Path) -> None:
    """The same document as `replay`; the best exit is said, and played most by the default."""
    plot = tmp_path / "s.svg"
    args = ["--errors", "0.4,0.1,0.1,0.1", "--texts", 2000, "--trials", 2, "--plot", plot]
    result = offramp("simulate", *args, "-o", "json")
    said = told(result)
    assert "best by error plus cost: exit 1" in result.stderr
    assert (said["texts"], said["labelled"]) == (2000, True)
    assert list(said["algorithms"])[:2] == ["default", "uee-ucb"]
    assert np.argmax(np.sum(said["algorithms"]["default"]["counts"], axis=0)) == 1
    assert plot.exists()


def test_simulate_drifts_half_way(offramp: Offramp) -> None:
    """With `--then` the default starts afresh, also in batches that are counted late."""
    args = ["simulate", "--errors", "0.4,0.1,0.1,0.1", "--then", "0.1,0.1,0.1,0.1"]
    fleet = ["--workers", 2, "--batch", 32, "--delay", 2]
    result = offramp(*args, "--texts", 6000, "--trials", 2, *fleet, "-o", "json")
    assert "exit 1 then exit 0" in result.stderr
    algorithms = told(result)["algorithms"]
    assert algorithms["default"]["resets"] == [1, 1]
    assert algorithms["uee-ucb"]["resets"] == [0, 0]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--errors", "0.1,x"], "--errors 0.1,x: expected numbers"),
        (["--errors", "0.1,0.1"], "4 layers for a matrix of 2 exits"),
        (["--errors", "0.1,0.1,0.1,1.5"], "expected shares in 0..1"),
        (["--then", "0.1,0.1"], "--then has 2 errors, but --errors has 4"),
        (["--plot", "plot"], "plot plot: expected a name"),
    ],
)
def test_a_domain_that_cannot_be_made_up_is_told(
    offramp: Offramp, args: list[str], message: str
) -> None:
    """Errors that are no shares or not one per exit: exit code 1 and what was given."""
    assert message in str(offramp("simulate", *args, code=1).exception)


def test_several_classes_work_in_simulate(offramp: Offramp) -> None:
    """With four classes the default still plays the best exit most."""
    result = offramp("simulate", "--classes", 4, "--texts", 3000, "--trials", 2, "-o", "json")
    counts = np.sum(told(result)["algorithms"]["default"]["counts"], axis=0)
    assert np.argmax(counts) == 1
