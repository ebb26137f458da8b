"""Drift windows: silent on what stays, loud on what changes, each domain by itself."""

import numpy as np
import pytest

from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.drift import BLOCK_TEXTS, Alarm, DriftWatch, DriftWindow
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats

STEADY = (0.3, 0.1, 0.08)


def first_alarm(labels: np.ndarray, *, evidence: float = 14.0, piece: int = 32) -> int | None:
    """Return after how many texts, counted in pieces, the window gives an alarm."""
    window, known = DriftWindow(labels.shape[1], evidence=evidence), ExitStats.zeros(3)
    for start in range(0, len(labels), piece):
        delta = ExitStats.from_matrix(labels[start : start + piece])
        known += delta
        if window.add(Counters.of(delta), Counters.of(known)):
            return start + len(labels[start : start + piece])
    return None


def stopped_at(labels: np.ndarray, exit_: int) -> np.ndarray:
    """Return the labels of texts that all stop at an exit."""
    return np.where(np.arange(labels.shape[1]) > exit_, -1, labels)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("errors", [STEADY, (0.02, 0.02, 0.02), (0.5, 0.1, 0.4)])
def test_a_steady_domain_raises_no_alarm(seed: int, errors: tuple[float, ...]) -> None:
    """Over ten thousand texts that stay as they are nothing starts afresh."""
    domain = SyntheticDomain(errors, violations=0.3, first_share=0.7)
    labels, _ = domain.texts(10_000, np.random.default_rng(seed))
    assert first_alarm(labels) is None


@pytest.mark.parametrize("before", [500, 4_000])
@pytest.mark.parametrize("piece", [8, 32, 300])
@pytest.mark.parametrize(
    ("after", "within"), [((0.1, 0.1, 0.1), 200), ((0.3, 0.3, 0.08), 200), ((0.5, 0.1, 0.08), 400)]
)
def test_a_change_is_seen_soon(
    before: int, piece: int, after: tuple[float, ...], within: int
) -> None:
    """Within a stated number of texts of the change, and not before it."""
    rng = np.random.default_rng(0)
    parts = [SyntheticDomain(e).texts(n, rng)[0] for e, n in ((STEADY, before), (after, 2_000))]
    found = first_alarm(np.concatenate(parts), piece=piece)
    assert found is not None
    assert before < found <= before + within + piece


def test_at_exit_0_a_change_of_its_labels_is_seen() -> None:
    """Where all texts stop at exit 0 there is no disagreement: its share of labels tells."""
    rng = np.random.default_rng(0)
    parts = [
        stopped_at(SyntheticDomain((0.1, 0.1, 0.1), first_share=share).texts(1_000, rng)[0], 0)
        for share in (0.5, 0.8)
    ]
    found = first_alarm(np.concatenate(parts))
    assert found is not None
    assert 1_000 < found <= 1_400
    assert first_alarm(np.concatenate([parts[0], parts[0]])) is None


@pytest.mark.parametrize(("old", "new"), [(0, 1), (0, 2), (1, 2), (1, 3)])
def test_any_two_of_four_classes_that_change_places_are_seen(old: int, new: int) -> None:
    """Where all texts stop at exit 0, a shift from one class to another is seen, even to even."""
    rng = np.random.default_rng(0)
    shares = np.full((2, 4), 0.15)
    shares[[0, 1], [old, new]] = 0.55
    parts = [stopped_at(np.repeat(rng.choice(4, (1000, 1), p=p), 3, axis=1), 0) for p in shares]
    found = first_alarm(np.concatenate(parts))
    assert found is not None
    assert 1_000 < found <= 1_500
    assert first_alarm(np.concatenate([parts[0], parts[0]])) is None


def test_an_alarm_says_what_changed() -> None:
    """The rate, what it was and is, over how many texts, with its evidence."""
    window = DriftWindow(2, evidence=14)
    old = ExitStats.from_texts([(0, 0)] * 900 + [(0, 1)] * 100, exits=2)
    new = ExitStats.from_texts([(0, 0)] * 32 + [(0, 1)] * 32, exits=2)
    alarm = window.add(Counters.of(new), Counters.of(old + new))
    assert alarm is not None
    assert (alarm.what, alarm.before, alarm.after, alarm.texts) == (
        "disagreement of exit 1",
        0.1,
        0.5,
        64,
    )
    kl = [
        n * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
        for n, p, q in ((64, 0.5, 132 / 1064), (1000, 0.1, 132 / 1064))
    ]
    assert alarm.evidence == pytest.approx(sum(kl))
    assert alarm.reason == (
        "drift: disagreement of exit 1 was 10.0%, is 50.0% over the last 64 texts "
        f"(evidence {sum(kl):.1f})"
    )


def test_less_than_a_block_waits() -> None:
    """A few texts are held until there are enough of them to be looked at."""
    window = DriftWindow(2, evidence=1)
    old = ExitStats.from_texts([(0, 0)] * 1000, exits=2)
    one, known = ExitStats.from_labels((0, 1), exits=2), old
    alarms: list[Alarm | None] = []
    for _ in range(BLOCK_TEXTS):
        known += one
        alarms.append(window.add(Counters.of(one), Counters.of(known)))
    assert alarms[:-1] == [None] * (BLOCK_TEXTS - 1)
    assert alarms[-1] is not None


@pytest.mark.parametrize("piece", [32, 1_000, 50_000])
def test_a_long_stream_takes_little_room(piece: int) -> None:
    """Windows grow with the logarithm of the texts, up to some length; any delta finds room."""
    window, delta = DriftWindow(2, evidence=14), ExitStats.from_texts([(0, 0)] * piece, exits=2)
    known = Counters.of(sum([delta] * 3, delta))
    for _ in range(2_000):
        assert window.add(Counters.of(delta), known) is None
    sizes = [size for size, _ in window._blocks]
    assert 1 <= len(sizes) <= 24
    assert sum(sizes) <= max(1024, piece // BLOCK_TEXTS)


def test_domains_and_epochs_are_watched_apart() -> None:
    """A change in one domain is no alarm of another; a new epoch begins a new window."""
    watch = DriftWatch(2, evidence=14)
    old = ExitStats.from_texts([(0, 0)] * 1000, exits=2)
    changed = ExitStats.from_texts([(0, 1)] * 31, exits=2)
    assert watch.add("a", changed, known=old + changed, epoch=0) is None
    assert watch.add("b", changed, known=old + changed, epoch=0) is None
    one = ExitStats.from_labels((0, 1), exits=2)
    assert watch.add("b", one, known=old + changed + one, epoch=1) is None  # forgot the 31
    assert watch.add("a", one, known=old + changed + one, epoch=0) is not None


def test_the_least_used_domains_are_forgotten() -> None:
    """Of more domains than there is room for, the ones used longest ago begin anew."""
    watch = DriftWatch(2, evidence=14, domains=2)
    old = ExitStats.from_texts([(0, 0)] * 1000, exits=2)
    changed = ExitStats.from_texts([(0, 1)] * 31, exits=2)
    one = ExitStats.from_labels((0, 1), exits=2)
    for domain in ("a", "b", "c"):
        watch.add(domain, changed, known=old + changed, epoch=0)
    known = old + changed + one
    found = {d: watch.add(d, one, known=known, epoch=0) is not None for d in ("c", "b", "a")}
    assert found == {"c": True, "b": True, "a": False}


def test_without_evidence_to_ask_for_nothing_is_watched() -> None:
    """Switched off, or given nothing, the watch stays silent and empty."""
    off, on = DriftWatch(2, evidence=0), DriftWatch(2, evidence=14)
    changed = ExitStats.from_texts([(0, 1)] * 64, exits=2)
    old = ExitStats.from_texts([(0, 0)] * 1000, exits=2)
    assert off.add("a", changed, known=old + changed, epoch=0) is None
    assert on.add("a", ExitStats.zeros(2), known=old, epoch=0) is None
    assert not off._windows
    assert not on._windows
