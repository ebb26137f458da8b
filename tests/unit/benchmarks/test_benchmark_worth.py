"""`benchmarks.policy.worth`: credits and the gate, on made-up domains whose answers are known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.policy import worth
from benchmarks.policy.cases import Case
from benchmarks.policy.estimates import (
    accuracy_error,
    best_by_labels,
    by_credits,
    by_labels,
    calibration_error,
    mixed,
    paper,
)
from benchmarks.policy.gating import IN_FORCE, PROMISES, gated, holdout_covers
from model.texts.data import write_matrix
from policy_state.simulation.synthetic import SyntheticDomain

LAYERS = (1, 3, 7, 12)
WORTH_LITTLE = SyntheticDomain((0.2, 0.2, 0.2, 0.19), violations=0.4)


def case(domain: SyntheticDomain = WORTH_LITTLE, texts: int = 600) -> Case:
    """Return a domain with credits, and scores that are 0.999 where all exits agree, else 0.6."""
    labels, truth = domain.texts(texts, np.random.default_rng(0))
    agree = (labels == labels[:, :1]).all(axis=1, keepdims=True)
    scores = np.where(agree, 999, 600).repeat(4, axis=1).astype(np.int16)
    credits = SyntheticDomain.credits(labels, truth)
    return Case("m, d", "m", labels, truth, LAYERS, credits=credits, scores=scores)


def test_credits_lose_less_than_disagreement_where_that_is_worth_little() -> None:
    """With all texts known, at every weight; and the gain is nearly the true one."""
    found = case(texts=5_000)
    for weight in (0.1, 0.3):
        assert by_credits(found).regret[weight] == 0
        assert by_labels(found).regret[weight] > 100
        assert paper(found).regret[weight] > 100
    assert by_credits(found).error < 0.02
    assert paper(found).error == by_labels(found).error > 0.1
    layers, extra = best_by_labels(found)
    assert (by_credits(found).layers, by_credits(found).extra_error) == (layers, extra)
    assert (by_labels(found).layers, by_labels(found).extra_error) == (12, 0)


def test_the_worth_can_have_another_share_in_credits() -> None:
    """Half is what the matrix holds; all is the worth itself; texts without a duel keep nothing."""
    credits = np.array([[0, 0, 300], [0, 0, 350]], dtype=np.int16)
    labels = np.array([[0, 0, 1], [1, 1, 0]], dtype=np.int8)
    found = Case("m, d", "m", labels, labels[:, 0], (1, 2, 3), credits=credits)
    found = replace(found, worth=(0.5, 0.2))
    shares = {share: mixed(found, share).credits for share in (0.0, 0.5, 1.0)}
    assert {share: each.tolist() for share, each in shares.items() if each is not None} == {
        0.0: [[0, 0, 400], [0, 0, 500]],
        0.5: credits.tolist(),
        1.0: [[0, 0, 200], [0, 0, 200]],
    }


def test_the_gate_lets_go_where_exits_agree() -> None:
    """Nearly all layers are saved on sure texts, no label changes; without scores none are."""
    deep = case(SyntheticDomain((0.4, 0.2, 0.1, 0.02)))
    found = gated(deep, PROMISES[IN_FORCE])
    assert found.agreement == 1
    assert found.lost == 0
    assert found.layers < 0.7 * found.exit
    assert deep.scores is not None
    unsure = replace(deep, scores=np.minimum(deep.scores, 599))
    without = gated(unsure, PROMISES[IN_FORCE])
    assert without.layers == pytest.approx(without.exit)


def test_errors_of_scores_are_those_of_these_texts() -> None:
    """Scores of 0.75 on exits that are right on 60 % are 15 points off."""
    labels = np.zeros((100, 2), dtype=np.int8)
    truth = (np.arange(100) % 5 > 2).astype(np.int8)
    scores = np.full((100, 2), 750, dtype=np.int16)
    found = Case("m, d", "m", labels, truth, (1, 2), scores=scores)
    assert calibration_error(found) == pytest.approx(0.15)
    assert accuracy_error(found) == pytest.approx(0.15)


def test_a_holdout_has_an_interval_that_holds() -> None:
    """About 95 of 100 intervals have the truth, some 12 points wide with a hundred texts."""
    covered, width = holdout_covers(case(SyntheticDomain((0.4, 0.1, 0.2, 0.02), violations=0.2)))
    assert covered > 0.85
    assert 0.02 < width < 0.2


def test_a_quick_look_reports_every_goal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibrated models only; each goal on all domains and on both halves."""
    for model, calibrated in (("one", True), ("other", False)):
        folder = tmp_path / f"{model}-0123"
        folder.mkdir()
        facts = {"name": model, "layers": LAYERS} | ({"worth": [0.1] * 3} if calibrated else {})
        (folder / "model.json").write_text(json.dumps(facts))
        for seed in range(4):
            found = case(texts=100 + seed)
            assert found.credits is not None
            assert found.scores is not None
            more = {"credits": found.credits.tolist(), "scores": found.scores.tolist()}
            with (folder / f"domain{seed}-fp32.tsv").open("w") as file:
                truth = found.truth.tolist()
                write_matrix(file, found.labels.tolist(), truth, **(more if calibrated else {}))
    worth.main(["--matrices", str(tmp_path), "--quick", "-o", "json"])
    report = json.loads(capsys.readouterr().out)
    assert all(goal["met"] is not None for goal in report["goals"])
    halves, estimates, shares, online, *_ = report["tables"]
    assert [row[0] for row in halves["rows"]] == [goal["name"] for goal in report["goals"]]
    assert all(None not in row for row in halves["rows"])
    groups = {"one": 4, "all": 4, "first half of the domains": 2, "other half": 2}
    assert {row[0]: row[2] for row in estimates["rows"]} == groups
    assert [row[0] for row in shares["rows"]] == ["0%", "25%", "50%", "75%", "100%"]
    assert {(row[1], row[2]) for row in online["rows"]} == {
        (fleet, weight) for fleet in ("1 x 1", "4 x 128") for weight in (0.03, 0.1, 0.3)
    }


def test_matrices_of_calibrated_models_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one the benchmark says so; without a folder it writes no report and succeeds."""
    with pytest.raises(SystemExit) as ended:
        worth.main(["--out", str(tmp_path)])
    assert ended.value.code == 0
    assert "without --matrices there is nothing to measure" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        worth.main(["--matrices", str(tmp_path)])
    assert "there is no matrix of a calibrated model" in capsys.readouterr().err


def test_the_docs_tell_what_was_measured() -> None:
    """The regrets that docs/policy.md repeats are those of the results, and so are the shares."""
    repository = Path(__file__).parents[3]
    results = json.loads((repository / "benchmarks/results/worth.json").read_text())
    docs = (repository / "docs/policy.md").read_text(encoding="utf-8")
    decision = next((repository / "docs/decisions").glob("0085-*")).read_text(encoding="utf-8")
    tables = {table["title"]: table["rows"] for table in results["tables"]}
    said = [row for row in tables["Learned online: regret, mean (worst)"] if row[0] == "all"]
    for _, fleet, weight, *regrets in said:
        if fleet == "1 x 1":
            assert f"| {weight} | {' | '.join(regrets[:3])} |" in docs
    for _, *halves in tables["Share of the worth in a credit: regret, all texts known"]:
        assert " | ".join(f"{regret:.1f}" for regret in halves) in decision
