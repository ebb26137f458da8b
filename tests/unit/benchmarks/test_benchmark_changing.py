"""`benchmarks.policy.changing`: credits where a made-up domain changes, and where it is new."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.policy import changing
from benchmarks.policy.cases import Case, cold_start_cases, drift_cases
from model.texts.data import write_matrix
from policy_state.simulation.synthetic import SyntheticDomain

LAYERS = (1, 3, 7, 12)
DOMAINS = {"deep": (0.35, 0.2, 0.1, 0.09), "shallow": (0.1, 0.1, 0.1, 0.1)}


def case(name: str, texts: int = 300) -> Case:
    """Return a domain of one model, with credits."""
    labels, truth = SyntheticDomain(DOMAINS[name]).texts(texts, np.random.default_rng(0))
    credits = SyntheticDomain.credits(labels, truth)
    return Case(f"m, {name}", "m", labels, truth, LAYERS, credits=credits)


def test_a_domain_that_changes_keeps_its_credits() -> None:
    """Those of the old domain before, those of the new one after, each beside its labels."""
    changes = [each for each in drift_cases([case("deep"), case("shallow")]) if each.model]
    assert {each.name for each in changes} == {"m, deep to shallow", "m, shallow to deep"}
    for each in changes:
        assert each.credits is not None
        assert each.change == len(each.labels) // 2 == 5_000
        assert ((each.credits[:, 1:] > 0) <= (np.diff(each.labels) != 0)).all()
        before, after = each.credits[: each.change], each.credits[each.change :]
        assert before.any() == ("deep to" in each.name)
        assert after.any() == ("to deep" in each.name)
        short = each.shortened(100)
        assert short.credits is not None
        assert (short.change, len(short.credits), len(short.labels)) == (100, 200, 200)


def test_a_new_domain_begins_with_the_credits_of_the_others() -> None:
    """The pool has what their steps are worth; without other domains it has seen nothing."""
    deep, shallow = cold_start_cases([case("deep"), case("shallow")])["pool"]
    assert deep.pool is not None
    assert shallow.pool is not None
    assert sum(deep.pool.credit) == 0
    assert sum(shallow.pool.credit) > 0


def test_a_quick_look_reports_every_goal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drift of real domains, and new domains with and without what the others have learnt."""
    folder = tmp_path / "m-0123"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({"name": "m", "layers": LAYERS}))
    for name in DOMAINS:
        found = case(name)
        assert found.credits is not None
        with (folder / f"{name}-fp32.tsv").open("w") as file:
            credits, truth = found.credits.tolist(), found.truth.tolist()
            scores = np.full(found.labels.shape, 900).tolist()
            write_matrix(file, found.labels.tolist(), truth, credits=credits, scores=scores)
    changing.main(["--matrices", str(tmp_path), "--quick", "-o", "json"])
    report = json.loads(capsys.readouterr().out)
    assert all(goal["met"] is not None for goal in report["goals"])
    drift, new = report["tables"]
    assert [row[0] for row in drift["rows"]] == ["m, shallow to deep", "m, deep to shallow", "mean"]
    assert {(row[0], row[2], row[3]) for row in new["rows"]} == {
        (start, pool, of)
        for start in ("1 x 32", "4 x 512")
        for pool in ("nothing", "pool")
        for of in ("m", "all")
    }


def test_the_docs_tell_what_was_measured() -> None:
    """The regrets of docs/policy.md are those of the reports."""
    repository = Path(__file__).parents[3]
    results = repository / "benchmarks" / "results"
    docs = (repository / "docs" / "policy.md").read_text(encoding="utf-8")
    drift, new = json.loads((results / "changing.json").read_text())["tables"]
    said = [drift["rows"][-1][2::2]]
    said += [
        [float(cell.split()[0]) for cell in row[-3:]]
        for row in new["rows"]
        if (row[0], row[3]) == ("4 x 512", "all")
    ]
    for regrets in said:
        assert f"| {' | '.join(f'{regret:.0f}' for regret in regrets)} |" in docs
    for name in ("constant", "agnews"):
        report = json.loads((results / f"worth_{name}-6exits.json").read_text())
        tables = {table["title"]: table["rows"] for table in report["tables"]}
        (alone,) = [
            row
            for row in tables["Learned online: regret, mean (worst)"]
            if row[:3] == ["all", "1 x 1", 0.1]
        ]
        assert f"| {' | '.join(cell.split()[0] for cell in alone[3:6])} |" in docs
