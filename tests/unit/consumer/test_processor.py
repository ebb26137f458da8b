"""The processing step without a stream: parse, route, decide, infer."""

import random
import re
from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decision import Decision
from consumer.errors import ModelFailed, ServiceRefused, ServiceUnavailable
from consumer.events.codec import EventBody
from consumer.events.record import Record
from consumer.predictor import ModelFacts
from consumer.processor import Processor
from consumer.routes.route import Route
from policy_state.algorithms.settings import PolicySettings
from policy_state.algorithms.uee_ucb import UeeUcb
from policy_state.errors import InvalidInput
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot
from tests.support.results import Result

LAYERS = (1, 3, 12)


def infer(texts, exits):
    """Exit j says the parity of the text's length plus j."""
    return [
        Result(tuple((len(t) + j) % 2 for j in range(k + 1)), (0.5,) * (k + 1), len(t) > 20)
        for t, k in zip(texts, exits, strict=True)
    ]


def infer_all_but_poison(texts, exits):
    """Fails on the whole batch where one text is poison, as a model does."""
    if any("poison" in text for text in texts):
        raise ValueError("cannot take this")
    return infer(texts, exits)


@pytest.fixture
def processor():
    return make_processor(infer)


def make_processor(infer):
    return Processor(
        infer=infer,
        model=ModelFacts("f1", LAYERS, ("negative", "positive")),
        algorithm=UeeUcb(costs=(0.1, 0.2, 1.0)),
        routes=(Route(topics=r"texts\.(?P<domain>.+)"),),
    )


def exits_of(decisions):
    return [decision.exit for decision in decisions]


def records(*values, topic="texts.films"):
    return [Record(topic, 0, i, 10 + i, None, value) for i, value in enumerate(values)]


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


def test_predictions_carry_the_labels_of_all_exits_up_to_theirs(processor):
    """What the policy learns from comes with each prediction, in input order."""
    events, _ = processor.read(records(b"a", b"bb"))
    first, second = processor.predict(events, [Decision(2), Decision(0)]).predictions
    assert (first.exit, first.layer, first.exit_labels, first.label) == (2, 12, (1, 0, 1), 1)
    assert (second.exit, second.layer, second.exit_labels, second.label) == (0, 1, (0,), 0)
    assert (first.label_name, second.label_name) == ("positive", "negative")
    assert first.model == "f1"


def test_predictions_of_a_calibrated_model_carry_scores_and_credits(processor):
    """Both in thousandths, for each exit that ran; without a calibration there is neither."""

    def calibrated(texts, exits):
        return [replace(r, scores=(0.6004, 0.9996), credits=(0, 200)) for r in infer(texts, exits)]

    events, _ = processor.read(records(b"a"))
    (found,) = replace(processor, infer=calibrated).predict(events, [Decision(1)]).predictions
    assert (found.exit_scores, found.exit_credits) == ((600, 1000), (0, 200))
    (found,) = processor.predict(events, [Decision(1)]).predictions
    assert (found.exit_scores, found.exit_credits) == ((), ())


def test_an_empty_batch_is_fine(processor):
    """No records, no work."""
    assert processor.read([]) == ([], [])
    assert processor.decide([], {}) == []
    assert processor.predict([], []).predictions == ()


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_texts_that_the_model_fails_on_are_dead_letters_and_no_others(poisonous):
    """Wherever they are in the batch: all others have their prediction, in order."""
    processor = make_processor(infer_all_but_poison)
    values = [b"poison %d" % i if bad else b"text %d" % i for i, bad in enumerate(poisonous)]
    events, _ = processor.read(records(*values))
    outcome = processor.predict(events, [Decision(i % 3) for i in range(len(events))])
    good = [i for i, bad in enumerate(poisonous) if not bad]
    assert [p.event.record.offset for p in outcome.predictions] == good
    assert [p.exit for p in outcome.predictions] == [i % 3 for i in good]
    letters = outcome.dead_letters
    assert [x.record.offset for x in letters] == [i for i, bad in enumerate(poisonous) if bad]
    assert all((x.stage, x.error_class) == ("infer", "model-failed") for x in letters)
    assert all("ValueError: cannot take this" in x.message for x in letters)


def test_a_text_that_the_tokeniser_fails_on_is_found_too():
    """Tokenising goes ahead of the batch's turn: what fails there waits, and is found then."""

    def tokenise(texts):
        if "poison" in texts:
            raise ValueError("cannot take this")
        return [text.split() for text in texts]

    processor = replace(make_processor(infer), tokenise=tokenise)
    prepared = processor.prepare(records(b"a b", b"poison", b"c"))
    assert prepared.tokens is None
    outcome = processor.run(prepared, lambda _: {})
    assert [p.event.text for p in outcome.predictions] == ["a b", "c"]
    assert [x.record.value for x in outcome.dead_letters] == [b"poison"]
    assert processor.prepare(records(b"a b")).tokens == [["a", "b"]]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_model_that_fails_on_every_text_blames_none(count):
    """A machine that is broken, or short of memory, fills no dead letters, not even one by one."""

    def broken(texts, exits):
        raise RuntimeError("device lost")

    processor = make_processor(broken)
    events, _ = processor.read(records(*[b"text"] * count))
    with pytest.raises(ModelFailed, match="plain text too: RuntimeError: device lost"):
        processor.predict(events, [Decision(0)] * count)


def test_long_texts_are_not_blamed_where_memory_is_short():
    """Short texts still fit: that does not make the long ones bad."""

    def short_only(texts, exits):
        if any(len(text) > 100 for text in texts):
            raise MemoryError("no room")
        return infer(texts, exits)

    processor = make_processor(short_only)
    events, _ = processor.read(records(b"short", b"long " * 100))
    with pytest.raises(ModelFailed, match="no room"):
        processor.predict(events, [Decision(0)] * 2)


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


def test_a_score_that_is_no_number_is_a_failure_of_the_model():
    """Labels of such a text are chance: it becomes a dead letter and is not learnt from."""

    def infer_nan(texts, exits):
        found = infer(texts, exits)
        return [
            replace(r, scores=(nan,) * len(r.scores)) if "poison" in text else r
            for text, r in zip(texts, found, strict=True)
        ]

    processor = make_processor(infer_nan)
    events, _ = processor.read(records(b"a", b"poison", b"c"))
    outcome = processor.predict(events, [Decision(i) for i in range(3)])
    assert [p.event.text for p in outcome.predictions] == ["a", "c"]
    assert [x.error_class for x in outcome.dead_letters] == ["model-failed"]
