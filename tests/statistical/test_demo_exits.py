"""The demo's texts show its point with the shipped model: different exits, and a change noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from consumer.settings.sections import PRETRAINED
from demo.texts import later_files, read_texts, sample_files
from model.engine.engine import Engine
from policy_state.algorithms.base import build
from policy_state.algorithms.drift import DriftWindow
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.shares import Share
from policy_state.stats import ExitStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.engine.answers import TextResult


class Seen(NamedTuple):
    """What the model says at all exits of each domain's texts."""

    layers: tuple[int, ...]
    answers: dict[str, list[TextResult]]
    labels: dict[str, list[int | None]]

    def stats(self, answers: Sequence[TextResult]) -> ExitStats:
        """Return the counters of some texts that ran to the last exit."""
        labels, earned = [a.labels for a in answers], [a.credits for a in answers]
        return ExitStats.from_texts(labels, exits=len(self.layers), credits=earned)

    def exit(self, domain: str) -> int:
        """Return the exit that the default algorithm learns from a domain's texts."""
        algorithm = build(PolicySettings(), self.layers, credits=True)
        # As many times as the demo streams them: so the estimate outweighs the prior.
        return algorithm.assess(self.stats(self.answers[domain] * 10)).exit


@pytest.fixture(scope="module")
def seen() -> Seen:
    """Run the texts of all domains through the shipped model."""
    engine = Engine(PRETRAINED, device="cpu")
    files = sample_files() | {f"{name}, later": path for name, path in later_files().items()}
    texts = {name: read_texts(path) for name, path in files.items()}
    last = engine.config.exits - 1
    answers = {
        name: engine.run([row.text for row in rows], [last] * len(rows))
        for name, rows in texts.items()
    }
    labels = {name: [row.label for row in rows] for name, rows in texts.items()}
    return Seen(engine.config.exit_layers, answers, labels)


def test_domains_settle_on_three_different_exits_or_more(seen: Seen) -> None:
    """One exit per domain, and not the same one: plain texts need one layer, turned ones more."""
    exits = {domain: seen.exit(domain) for domain in seen.answers}
    assert len(set(exits.values())) >= 3, exits
    assert exits.pop("hotels") == 0
    assert min(exits.values()) > 0


def test_full_depth_is_right_but_for_the_domain_out_of_reach(seen: Seen) -> None:
    """About German texts the model is as good as a coin; about the others it is surely better."""
    for domain, answers in seen.answers.items():
        labels = seen.labels[domain]
        hits = sum(a.labels[-1] == label for a, label in zip(answers, labels, strict=True))
        share = Share.of(hits, len(labels))
        assert share is not None
        assert (share.low > 0.6) == (domain != "hotels-de"), (domain, share)


def test_the_change_of_a_domain_is_noticed_within_its_second_half(seen: Seen) -> None:
    """Even from exit 0, where only the labels of that exit are seen, by a few hundred texts."""
    first = [a._replace(labels=a.labels[:1], credits=a.credits[:1]) for a in seen.answers["hotels"]]
    later = [a._replace(labels=a.labels[:1], credits=a.credits[:1])
             for a in seen.answers["hotels, later"]]  # fmt: skip
    window = DriftWindow(len(seen.layers), evidence=PolicySettings().drift)
    known, noticed = seen.stats(first[:0]), None
    stream = first * 10 + later * 10
    for n in range(0, len(stream), 20):
        delta = seen.stats(stream[n : n + 20])
        known += delta
        if window.add(delta, known) is not None:
            noticed = n + 20 - 10 * len(first)
            break
    assert noticed is not None
    assert 0 < noticed < 500
