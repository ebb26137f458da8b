"""What is said of a new model beside the live one: its exit, shares with intervals, a verdict."""

from dataclasses import replace

import pytest

from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.shadow import FEW, shadow_report
from policy_state.reports.shares import Share
from policy_state.shadowed import ComparedModel, ShadowCounts, ShadowPair
from policy_state.stats import ExitStats

LIVE = ComparedModel("live", (3, 12), 2, calibrated=True)
NEW = ComparedModel("new", (1, 2, 4), 2, calibrated=True)
PAIR = ShadowPair(LIVE, NEW, 1, 2)
SURE = Share(0.9, 0.85, 0.95, 500)


def counts(texts, same, *, score=900, stopped=(0.8, 0.2)):
    """Return counters of texts whose labels never change, of which a share gets the live answer."""
    hits = round(texts * same)
    stops = tuple(round(texts * share) for share in stopped)
    stats = ExitStats.from_texts(
        [(i % 2,) * 3 for i in range(texts)],
        exits=3,
        scores=[(score,) * 3] * texts,
        credits=[(0, 0, 0)] * texts,
    )
    return ShadowCounts(stats, (hits,) * 3, stops, stops[-1], round(stops[-1] * same), 1500 * texts)


def report(found, *, pair=PAIR, settings=None, live=SURE):
    """Return the report of one domain."""
    return shadow_report("d", pair, found, settings or PolicySettings(), live_accuracy=live)


def test_shares_have_their_intervals_and_the_exit_is_the_policys_choice():
    """Exits that always agree stop at the first; layers, time and shares are those of the texts."""
    found = report(counts(1000, 0.95))
    assert (found.texts, found.exit, found.layer) == (1000, 0, 1)
    assert found.same == Share.of(950, 1000)
    assert found.full == Share.of(190, 200)
    assert found.live_layers == Share.mean([0.25, 1.0], [800, 200])
    assert found.microseconds == 1500
    said = "\n".join(found.lines)
    assert "95.0% (93.5 to 96.2%) of texts the live answer" in said
    assert "layer 1 of 4 (25.0%)" in said
    assert "of its 12 layers" in said
    assert "1.50 ms a text" in said


@pytest.mark.parametrize(
    ("found", "live", "verdict"),
    [
        (counts(FEW - 1, 0.5), SURE, "few"),
        (counts(1000, 0.95, score=700), SURE, "worse"),
        (counts(1000, 0.7), SURE, "differs"),
        (counts(1000, 0.95, score=990), Share(0.8, 0.78, 0.82, 500), "better"),
        (counts(1000, 0.95), SURE, "nothing"),
        (counts(1000, 0.95), None, "nothing"),
        (counts(1000, 0.89), SURE, "nothing"),  # it may be nine in ten
    ],
)
def test_the_verdict_is_what_the_intervals_allow(found, live, verdict):
    """Few texts give none; it speaks against a model only if chance alone cannot."""
    judged = report(found, live=live)
    assert judged.verdict == verdict
    assert judged.lines[-1] == judged.verdict_said
    assert judged.to_dict()["verdict"] == verdict


def test_without_calibration_it_says_why_there_is_no_accuracy():
    """The model that has none is named."""
    plain = replace(PAIR, new=replace(NEW, calibrated=False))
    found = report(counts(500, 0.95), pair=plain)
    assert found.accuracy is None
    assert any("the new model has no calibration" in line for line in found.lines)
    assert any("no text of the policy" in line for line in report(counts(500, 1), live=None).lines)


def test_costs_given_for_the_exits_of_the_live_model_are_not_the_new_ones():
    """A policy with measured costs is compared, too."""
    found = report(counts(500, 1.0), settings=PolicySettings(cost=(0.2, 1.0)))
    assert found.exit == 0


def test_nothing_compared_is_no_report():
    """A domain without a text has no shares."""
    assert report(ShadowCounts.zeros(exits=3, live_exits=2)) is None
