"""The processing step without a stream: parse, route, decide, infer."""

import random
import re
from dataclasses import replace
from math import nan

import pytest

from consumer.decision import Decision
from consumer.errors import ServiceRefused, ServiceUnavailable
from consumer.events.codec import EventBody
from consumer.routes.route import Route
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import InvalidInput
from policy_state.labelled import LabelledDuels
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot
from tests.support.processors import infer, infer_all_but_poison, make_processor, records


@pytest.fixture
def processor():
    return make_processor()


def exits_of(decisions):
    return [decision.exit for decision in decisions]


def test_each_record_becomes_an_event_or_a_dead_letter(processor):
    """Nothing is dropped: what cannot be used is a dead letter that names the step."""
    events, letters = processor.read(
        [*records(b"a", b"\xff", b'{"text": "b", "id": "x"}'), *records(b"c", topic="other")]
    )
    assert [(e.id, e.text, e.domain) for e in events] == [
        ("texts.films[0]@0", "a", "films"),
        ("x", "b", "films"),
    ]
    assert [(letter.stage, letter.error_class) for letter in letters] == [
        ("parse", "invalid-utf8"),
        ("route", "no-route"),
    ]


def test_each_domain_is_decided_from_its_own_counters(processor):
    """An unseen domain goes to the last exit, a known one to its own best."""
    known = ExitStats(observed=(999, 990, 99), disagreed=(0, 400, 40), played=(9, 891, 99))
    films, _ = processor.read(records(b"a", b"b"))
    hotels, _ = processor.read(records(b"c", topic="texts.hotels"))
    snapshots = {"films": DomainSnapshot(known, epoch=0, last_seen_ms=1)}
    assert exits_of(processor.decide([films[0], *hotels, films[1]], snapshots)) == [1, 2, 1]


def test_a_frozen_domain_is_not_explored(processor):
    """Nothing would be learnt there: its texts take the exit it has settled on."""
    known = ExitStats(observed=(999, 990, 3), disagreed=(0, 400, 1), played=(9, 987, 3))
    snapshot = DomainSnapshot(known, epoch=0, last_seen_ms=1)
    events, _ = processor.read(records(b"a"))
    assert exits_of(processor.decide(events, {"films": snapshot})) == [2]
    assert exits_of(processor.decide(events, {"films": replace(snapshot, frozen=True)})) == [1]


def test_labels_of_a_domain_change_where_its_texts_go(processor):
    """With the snapshot that first has them, all of its events are decided by them."""
    credits = ExitStats.from_texts(
        [(0, 1, 1)] * 900 + [(0, 0, 0)] * 900,
        exits=3,
        credits=[(0, 600, 0)] * 900 + [(0,) * 3] * 900,
    )
    before = DomainSnapshot(credits, epoch=0, last_seen_ms=1)
    after = replace(before, labels=LabelledDuels(500, (0, 500, 0), (0, 200, 0), (0, 300, 0)))
    processor = replace(processor, model=replace(processor.model, calibrated=True))
    processor = processor.with_policy(PolicySettings(holdout=0), processor.routes)
    events, _ = processor.read(records(*[b"a"] * 200))
    for snapshot, exit_ in ((before, 1), (after, 0), (replace(after, frozen=True), 0)):
        chosen = exits_of(processor.decide(events, {"films": snapshot}))
        assert max(set(chosen), key=chosen.count) == exit_


def test_a_cost_weight_of_a_route_counts_for_its_texts_alone(processor):
    """Texts of one domain, decided from the same counters, part where their routes do."""
    processor = processor.with_policy(
        PolicySettings("uee-ucb", cost_weight=0.1, holdout=0),
        (
            Route(topics="cheap", domain="fixed:films", cost_weight=5.0),
            Route(topics="plain", domain="fixed:films"),
        ),
    )
    events, _ = processor.read([*records(b"a", topic="cheap"), *records(b"b", topic="plain")])
    assert [event.domain for event in events] == ["films", "films"]
    known = ExitStats(observed=(9999,) * 3, disagreed=(0, 4000, 4000), played=(0, 0, 9999))
    snapshots = {"films": DomainSnapshot(known, epoch=0, last_seen_ms=1)}
    assert exits_of(processor.decide(events, snapshots)) == [0, 1]
    pinned = {"films": DomainSnapshot(known, epoch=0, last_seen_ms=1, pin=2)}
    assert exits_of(processor.decide(events, pinned)) == [2, 2]


def test_the_holdout_takes_texts_of_pinned_and_frozen_domains_and_those_at_the_last_exit(processor):
    """Its texts are a fair sample of all: each says which exit it would have stopped at."""
    settled = ExitStats(observed=(999, 990, 3), disagreed=(0, 400, 1), played=(9, 987, 3))
    pinned = DomainSnapshot(settled, epoch=0, last_seen_ms=1, pin=0)
    frozen = DomainSnapshot(settled, epoch=0, last_seen_ms=1, frozen=True)
    every = replace(processor, holdout=1.0)
    events, _ = every.read(
        [r for d in ("pinned", "frozen", "unseen") for r in records(b"a", topic=f"texts.{d}")]
    )
    decisions = every.decide(events, {"pinned": pinned, "frozen": frozen})
    assert decisions == [Decision(2, chosen=0), Decision(2, chosen=1), Decision(2, chosen=2)]
    predictions = every.predict(events, decisions).predictions
    assert [(p.exit, p.layer, p.chosen_exit) for p in predictions] == [
        (2, 12, 0),
        (2, 12, 1),
        (2, 12, 2),
    ]


def test_the_holdout_is_the_share_that_the_policy_sets(processor):
    """Half of the texts within five standard errors; and none of them where it is 0."""
    events, _ = processor.read(records(*[b"a"] * 2000))
    pinned = {"films": replace(DomainSnapshot.unseen(3), pin=1)}
    for share, low, high in ((0.5, 888, 1112), (0.0, 0, 0)):
        now = processor.with_policy(PolicySettings(holdout=share), processor.routes)
        now = replace(now, rng=random.Random(1))
        held = [d for d in now.decide(events, pinned) if d.chosen is not None]
        assert low <= len(held) <= high
        assert set(held) <= {Decision(2, chosen=1)}


@pytest.mark.parametrize("holdout", [-0.1, 0.51, nan])
def test_a_holdout_is_a_share_of_at_most_half(holdout):
    """Above that most texts would not stop where the policy says."""
    with pytest.raises(InvalidInput, match="holdout"):
        PolicySettings(holdout=holdout)


def test_texts_of_the_holdout_stay_such_where_others_are_dead_letters():
    """Halves of a batch that the model fails on keep what was decided of each text."""
    processor = make_processor(infer_all_but_poison)
    events, _ = processor.read(records(b"a", b"poison", b"b", b"c"))
    decisions = [Decision(0), Decision(2, 1), Decision(2, 0), Decision(1)]
    found = processor.predict(events, decisions).predictions
    assert [(p.event.text, p.exit, p.chosen_exit) for p in found] == [
        ("a", 0, None),
        ("b", 2, 0),
        ("c", 1, None),
    ]


def test_a_calibrated_model_is_decided_on_by_credits(processor):
    """Deeper exits change many labels here, and no change is worth anything."""
    model = replace(processor.model, calibrated=True)
    changed = ExitStats(observed=(9999,) * 3, disagreed=(0, 4000, 4000), played=(0, 0, 9999))
    changed = replace(changed, gained=(0, 4000, 0), apart=(4000, 0, 0), duels=(0, 4000, 0))
    snapshots = {"films": DomainSnapshot(changed, epoch=0, last_seen_ms=1, frozen=True)}
    events, _ = processor.read(records(b"a"))
    for made, exit_ in ((processor, 1), (replace(processor, model=model), 0)):
        now = made.with_policy(PolicySettings(holdout=0), processor.routes)
        assert exits_of(now.decide(events, snapshots)) == [exit_]


def test_an_empty_batch_is_fine(processor):
    """No records, no work."""
    assert processor.read([]) == ([], [])
    assert processor.decide([], {}) == []
    assert processor.predict([], []).predictions == ()


@pytest.mark.parametrize("error", [TypeError("secret"), RecursionError("secret"), KeyError("x")])
def test_whatever_reading_a_record_raises_is_its_dead_letter(error):
    """No record ends a worker: the letter names the step, the error and its place, no content."""

    def parse(record):
        if record.offset == 1:
            raise error
        return EventBody(text="a")

    processor = replace(make_processor(infer), parse=parse)
    events, letters = processor.read(records(b"a", b"b", b"c"))
    assert [event.record.offset for event in events] == [0, 2]
    assert [(x.record.offset, x.stage, x.error_class) for x in letters] == [
        (1, "parse", "unexpected-error")
    ]
    assert re.fullmatch(rf"{type(error).__name__} at test_processor\.py:\d+", letters[0].message)


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailable("registry"),
        ServiceRefused("registry", code=401),
        OSError(28),
        MemoryError(),
    ],
)
def test_what_is_the_worlds_fault_makes_no_dead_letter(error):
    """A registry that is away, a full disk, no memory: the record waits, it is not to blame."""

    def parse(record):
        raise error

    with pytest.raises(type(error)):
        replace(make_processor(infer), parse=parse).read(records(b"a"))
