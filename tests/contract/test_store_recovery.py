"""One contract for every store: export, import, warm start, rebuild, and the doctor's checks."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from policy_state.errors import FingerprintMismatch, InvalidInput
from policy_state.health.doctor import examine
from policy_state.health.findings import Severity
from policy_state.health.rebuild import PredictedText, Rebuilt, rebuild
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin, PolicyAdmin, Reset
from policy_state.store.changes import scaled
from policy_state.store.offsets import GAPS_MAX, Counted
from policy_state.store.values import Applied, DomainSnapshot, PartitionDeltas, PolicyMeta
from policy_state.transfer.document import PolicyDocument, from_document, to_document
from policy_state.transfer.transfer import (
    export_policy,
    import_policy,
    open_or_start_new,
    warm_start,
)

META = PolicyMeta("sentiment", "f1", (1, 3, 7, 12))
ONE = ExitStats.from_labels([0, 1, 1], exits=4)
DEEP = ExitStats.from_labels([1, 1, 0, 0], exits=4)

MakeStore = Callable[[], PolicyAdmin]


@pytest.fixture
def store(make_store: MakeStore) -> PolicyAdmin:
    """Return a store with the policy open."""
    store = make_store()
    store.open(META)
    return store


def part(
    first: int, upto: int, deltas: dict[str, ExitStats], partition: int = 0
) -> PartitionDeltas:
    """Return one part of a call to apply."""
    return PartitionDeltas("t1", partition, first, upto, deltas)


def texts(count: int, *, seed: int = 0) -> list[PredictedText]:
    """Return texts of two partitions; every seventh offset holds none."""
    rng = Random(seed)
    return [
        PredictedText(
            "t1",
            offset % 2,
            offset // 2,
            rng.choice(["hotels", "books", "旅館"]),
            tuple(rng.randrange(2) for _ in range(rng.randrange(1, 5))),
        )
        for offset in range(count)
        if offset % 7
    ]


def sums(of: list[PredictedText]) -> dict[str, ExitStats]:
    """Return the counters that texts make."""
    made: dict[str, ExitStats] = {}
    for text in of:
        one = ExitStats.from_labels(text.exit_labels, exits=4)
        made[text.domain] = made[text.domain] + one if text.domain in made else one
    return made


def held(store: PolicyAdmin) -> dict[str, ExitStats]:
    """Return the counters of all domains."""
    return {name: record.stats for name, record in store.read(store.domains()).items()}


def count(store: PolicyAdmin, some: list[PredictedText], first: int, upto: int) -> None:
    """Count the texts of both partitions with offsets from `first` to below `upto`."""
    for partition in (0, 1):
        mine = [t for t in some if t.partition == partition and first <= t.offset < upto]
        store.apply([part(first, upto, sums(mine), partition)])


UPTO = {("t1", 0): 500, ("t1", 1): 500}


def test_a_lost_store_is_rebuilt_exactly(store: PolicyAdmin) -> None:
    """From nothing, the counters are those that the predictions imply, and later texts add up."""
    some = texts(1000)
    done = rebuild(store, iter(some), upto=UPTO)
    assert done == Rebuilt(counted=len(some), known=0, repeated=0, beyond=0, failed_offsets=0)
    assert held(store) == sums(some)
    assert store.watermarks() == {"t1/0": Counted(500), "t1/1": Counted(500)}
    assert rebuild(store, iter(some), upto=UPTO).counted == 0
    assert examine(store).findings == ()


def test_a_rebuild_fills_in_what_workers_have_not_counted_since(store: PolicyAdmin) -> None:
    """Workers that went on after the loss keep what they counted; the past comes to it, once."""
    some = texts(1000)
    count(store, some, 300, 500)

    def while_a_worker_counts() -> Iterator[PredictedText]:
        for number, text in enumerate(some):
            if number == 400:
                store.apply([part(500, 510, {"hotels": DEEP})])
            yield text

    done = rebuild(store, while_a_worker_counts(), upto=UPTO)
    assert done.counted == len([t for t in some if t.offset < 300])
    assert done.known == len([t for t in some if t.offset >= 300])
    expected = sums(some)
    assert held(store) == expected | {"hotels": expected["hotels"] + DEEP}
    assert examine(store).findings == ()


def test_everything_is_counted_anew_after_a_restart(store: PolicyAdmin) -> None:
    """Damaged counters are set to zero and counted again, pins kept, workers going on."""
    some = texts(1000)
    count(store, some, 0, 500)
    store.load({"hotels": DomainSnapshot(DEEP, 0, 5)}, replace=True)
    store.change("books", Pin(2), by="anna", reason="")
    store.change("旅館", Freeze(), by="anna", reason="")
    store.restart(by="anna", reason="damaged")
    store.apply([part(500, 510, {"books": DEEP})])
    rebuild(store, iter(some), upto=UPTO)
    expected = sums(some)
    assert held(store) == expected | {"books": expected["books"] + DEEP}
    assert store.read(["books"])["books"].pin == 2
    assert examine(store).findings == ()


def test_a_reset_of_the_past_is_not_repeated(store: PolicyAdmin) -> None:
    """A rebuild counts what a domain had before it was reset, too: predictions tell of no reset."""
    some = texts(1000)
    count(store, some, 0, 500)
    store.change("books", Reset(), by="anna", reason="")
    store.restart(by="anna", reason="damaged")
    rebuild(store, iter(some), upto=UPTO)
    assert held(store) == sums(some)


class ResetBetween:
    """A store whose domain `d0` drifts once the first texts of a rebuild are counted."""

    def __init__(self, store: PolicyAdmin) -> None:
        self._store = store
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def apply(self, *args: Any, **options: Any) -> Applied:
        """Count, and reset between the first call and the second."""
        self.calls += 1
        if self.calls == 2:
            change = Reset(keep=0, epoch=self._store.read(["d0"])["d0"].epoch)
            self._store.change("d0", change, by="w-1", reason="drift", automatic=True)
        return self._store.apply(*args, **options)


def test_a_reset_in_the_midst_of_a_rebuild_is_as_one_after_it(store: PolicyAdmin) -> None:
    """Nothing of before the reset is counted after it, all is accounted for, and new texts are."""
    some = [
        PredictedText("t1", 0, first + number, f"d{number}", (0, 1))
        for first in (0, 65_536)
        for number in range(300)
    ]
    between = ResetBetween(store)
    done = rebuild(between, iter(some), upto={("t1", 0): 70_000})
    assert between.calls == 2
    assert done.counted == 599
    found = store.read(["d0", "d1"])
    assert (found["d0"].stats.texts, found["d1"].stats) == (0, sums(some)["d1"])
    totals = store.totals()
    assert (totals.stats.texts, totals.gone, totals.skipped) == (599, 1, 1)
    store.apply([part(70_000, 70_001, {"d0": DEEP})])
    assert store.read(["d0"])["d0"].stats == DEEP
    assert examine(store).findings == ()


def test_texts_beyond_the_cut_and_repeated_ones_are_left_out(store: PolicyAdmin) -> None:
    """What is not committed yet is the workers'; of two predictions of a text one counts."""
    some = texts(100)
    done = rebuild(
        store, [*some, *some[:10], replace(some[0], topic_id="other")], upto={("t1", 0): 20}
    )
    inside = [t for t in some if t.partition == 0 and t.offset < 20]
    assert done.counted == len(inside)
    assert done.repeated == len([t for t in some[:10] if t.partition == 0])
    assert done.beyond == len(some) + 11 - done.counted - done.repeated
    assert held(store) == sums(inside)


def test_a_rebuild_of_part_of_the_past_leaves_the_rest_to_be_filled(store: PolicyAdmin) -> None:
    """Where the cut lies inside a gap only what is below it is counted, and the rest can come."""
    count(store, texts(1000), 400, 500)
    rebuild(store, texts(1000), upto={("t1", 0): 70_000 - 69_900})
    assert store.watermarks()["t1/0"] == Counted(500, ((100, 400),))
    rebuild(store, texts(1000), upto=UPTO)
    assert held(store) == sums(texts(1000))


def test_an_export_reads_back_the_same(make_store: MakeStore) -> None:
    """Through JSON and back, into another policy of the same model, nothing changes."""
    store = make_store()
    store.open(META)
    count(store, texts(200), 3, 100)
    store.change("hotels", Pin(2, for_ms=10**9), by="anna", reason="ä ö")
    store.change("books", Freeze(), by="anna", reason="")
    document = export_policy(store)
    assert document.consistent
    read = from_document(json.loads(json.dumps(to_document(document))))
    assert read == document
    done = import_policy(store, read, name="copy", replace_known=True, by="anna", reason="")
    assert (done.written, done.left_out) == (3, ())
    copy = export_policy(store)
    assert (copy.domains, copy.watermarks) == (document.domains, document.watermarks)
    assert copy.meta == replace(META, name="copy")
    assert {finding.check for finding in examine(store).findings} == {"gaps"}  # they came, too
    assert [entry.action for entry in store.audit()] == ["import", "import-begin"]
    again = import_policy(store, read, name="copy", replace_known=False, by="anna", reason="")
    assert (again.written, len(again.left_out)) == (0, 3)


def test_an_export_of_another_model_is_not_imported(store: PolicyAdmin) -> None:
    """Counters of different models never mix, whatever the file says."""
    document = replace(export_policy(store), meta=replace(META, fingerprint="f2"))
    with pytest.raises(FingerprintMismatch):
        import_policy(store, document, name=META.name, replace_known=True, by="anna", reason="")


def test_an_export_leaves_no_domain_out_while_workers_count(make_store: MakeStore) -> None:
    """Domains that move to the front of the list while it is read are in the export, too."""
    store, worker = make_store(), make_store()
    names = [f"d{number}" for number in range(10_050)]
    for each in (store, worker):
        each.open(META)
    for first in range(0, len(names), 500):
        page = names[first : first + 500]
        store.load({name: DomainSnapshot(ONE, 0, None) for name in page}, replace=True)
    stop = threading.Event()

    def count_the_oldest() -> None:
        offset = 0
        while not stop.is_set():
            oldest = [names[(10 * offset + i) % len(names)] for i in range(10)]
            worker.apply([part(offset, offset + 1, dict.fromkeys(oldest, ONE))])
            offset += 1

    with ThreadPoolExecutor() as pool:
        counting = pool.submit(count_the_oldest)
        try:
            exported = [set(export_policy(store).domains) for _ in range(3)]
        finally:
            stop.set()
        counting.result()
    assert [set(names) - found for found in exported] == [set()] * 3


DAMAGE: dict[str, list[object]] = {
    "kind": ["x"],
    "version": [2, None],
    "consistent": [1],
    "policy": [{}],
    "policy.name": ["a\nb", None],
    "policy.fingerprint": [5, ""],
    "policy.layers": [["1", 3, 7, 12], [3, 1, 7, 12], 5],
    "policy.revision": ["1"],
    "policy.limits": [{"domains": 1.5}, {"domains": "5"}],
    "policy.settings": [
        {"algorithm": "none"},
        {"cost_weight": -1},
        {"cost_weight": "x"},
        {"cost": [1, 2]},
        {"cost": [0.1, "x", 1, 1]},
        {"cost": 5},
    ],
    "domains": [
        {"a": 1},
        {"a\x1bb": {"counters": {}}},
        {"\ud800": {"counters": {}}},
        {name: {"counters": {"n0": 2**52, "p0": 2**52}} for name in "abc"},
    ],
    "domains.a": [
        {"counters": {"n0": -1}},
        {"counters": {"n0": 1}},
        {"counters": {"n0": 1, "n3": 2, "p0": 1}},
        {"counters": {"n0": 1, "d0": 2, "p0": 1}},
        {"counters": {"n0": 1, "o0": 2, "p0": 1}},
        {"counters": {"n0": 2**53}},
        {"counters": []},
    ],
    "domains.a.pin": ["x", 99, -1, True],
    "domains.a.pin_until_ms": [2**53, 1.5],
    "domains.a.pin_reason": [5, "x" * 201, "\ud800"],
    "domains.a.frozen": ["yes"],
    "domains.a.epoch": ["1", -1],
    "domains.a.last_seen_ms": [10**15],
    "watermarks": [[], *({name: {"upto": 1, "gaps": []}} for name in ("t", "/0", "t/x", "t/-1"))],
    "watermarks.t1/0": [5, {"upto": 9}, {"upto": "x"}, {"upto": -1, "gaps": []}],
    "watermarks.t1/0.upto": [2**53],
    "watermarks.t1/0.gaps": [
        [["a", "b"]],
        [[1, 2, 3]],
        [[-1, 2]],
        [[5, 5]],
        [[8, 100]],
        [[2, 4], [3, 5]],
        [[2 * n, 2 * n + 1] for n in range(GAPS_MAX + 1)],
    ],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in DAMAGE.items() for value in values]
)
def test_a_file_that_is_no_export_is_told(field: str, value: object) -> None:
    """Whatever a file holds, it is an export or a clear error."""
    record = DomainSnapshot(ONE, 0, None)
    sound = to_document(PolicyDocument(META, 1, {"a": record}, {"t1/0": Counted(90)}, True))
    assert from_document(sound).domains == {"a": record}
    *path, name = field.split(".")
    holder: Any = sound
    for step in path:
        holder = holder[step]
    holder[name] = value
    with pytest.raises(InvalidInput):
        from_document(sound)
    with pytest.raises(InvalidInput):
        from_document([sound])


def test_an_import_that_cannot_be_writes_nothing(store: PolicyAdmin) -> None:
    """A name that no domain can have, or too long a reason, is found before the policy is made."""
    store.apply([part(0, 5, {"a": ONE})])
    document = export_policy(store)
    hostile = replace(document, domains={**document.domains, "b\n": document.domains["a"]})
    for wrong, reason in ((hostile, ""), (document, "x" * 201)):
        with pytest.raises(InvalidInput):
            import_policy(store, wrong, name="copy", replace_known=True, by="anna", reason=reason)
    assert [meta.name for meta in store.policies()] == [META.name]
    with pytest.raises(InvalidInput):
        warm_start(store, document, weight=0.5, by="anna", reason="x" * 201)
    assert export_policy(store) == document
    assert store.audit() == ()


@pytest.mark.parametrize("group", ["settings", "limits"])
def test_an_export_with_a_setting_of_another_version_is_refused(group: str) -> None:
    """A setting that cannot be followed never turns into the default without a word."""
    data = to_document(PolicyDocument(META, 1, {}, {}, True))
    data["policy"][group]["policy"] = "uee-ucb"
    with pytest.raises(InvalidInput, match=rf"policy\.{group}\.policy is not known .*take it out"):
        from_document(data)


def test_other_fields_of_another_version_are_left_out(store: PolicyAdmin) -> None:
    """An export with more fields than this version knows is read."""
    store.apply([part(0, 1, {"a": ONE})])
    document = export_policy(store)
    data = to_document(document)
    data["new"] = data["policy"]["new"] = 1
    data["domains"]["a"]["new"] = 1
    assert from_document(data) == document


def test_a_warm_start_gives_a_share_to_unseen_domains(make_store: MakeStore) -> None:
    """A new model starts from part of what the old one learnt, where it has nothing of its own."""
    store = make_store()
    store.open(META)
    count(store, texts(1000), 0, 500)
    store.change("hotels", Pin(1), by="anna", reason="")
    source = export_policy(store)
    store.open(PolicyMeta("new", "f2", (2, 4, 6, 8)))
    store.apply([part(0, 1, {"books": ONE})])
    done = warm_start(store, source, weight=0.1, by="anna", reason="")
    assert done.left_out == ("books",)
    assert held(store) == {
        "books": ONE,
        **{name: scaled(sums(texts(1000))[name], 0.1) for name in ("hotels", "旅館")},
    }
    assert store.read(["hotels"])["hotels"].pin is None
    assert store.watermarks() == {"t1/0": Counted(1)}
    for weight, layers in ((0.0, 4), (1.1, 4), (0.5, 3)):
        store.open(PolicyMeta(f"other{layers}", "f3", tuple(range(1, layers + 1))))
        with pytest.raises(InvalidInput):
            warm_start(store, source, weight=weight, by="anna", reason="")


def test_a_new_model_stops_or_starts_a_policy_of_its_own(make_store: MakeStore) -> None:
    """By default another model stops; it may start anew or warm, beside the old one."""
    store = make_store()
    old = store.open(META)
    count(store, texts(1000), 0, 500)
    other = replace(META, fingerprint="f2222222222222222")
    with pytest.raises(FingerprintMismatch):
        open_or_start_new(store, other, on_mismatch="stop", by="w1")
    opened = open_or_start_new(store, other, on_mismatch="warm-start", weight=0.5, by="w1")
    assert (opened.meta.name, opened.created) == ("sentiment@f22222222222", True)
    expected = {name: scaled(stats, 0.5) for name, stats in sums(texts(1000)).items()}
    assert held(store) == expected
    again = open_or_start_new(store, other, on_mismatch="warm-start", by="w2")
    assert (again.id, again.created) == (opened.id, False)
    assert held(store) == expected
    third = open_or_start_new(store, replace(META, fingerprint="f3"), on_mismatch="new", by="w1")
    assert (third.meta.name, held(store)) == ("sentiment@f3", {})
    same = open_or_start_new(store, META, on_mismatch="new", by="w1")
    assert (same.id, held(store)) == (old.id, sums(texts(1000)))
    with pytest.raises(InvalidInput, match="expected one of stop, new, warm-start"):
        open_or_start_new(store, other, on_mismatch="x", by="w1")
    fewer = replace(META, fingerprint="f4", layers=(1, 12))
    with pytest.raises(FingerprintMismatch, match="has 4 exits, this model has 2"):
        open_or_start_new(store, fewer, on_mismatch="warm-start", by="w1")
    assert "sentiment@f4" not in {meta.name for meta in store.policies()}


@pytest.mark.parametrize("died", ["before it began", "half-way"])
def test_a_warm_start_that_was_broken_off_is_finished(make_store: MakeStore, died: str) -> None:
    """A worker that died between creating a policy and warming it leaves no cold one for good."""
    store = make_store()
    store.open(META)
    count(store, texts(1000), 0, 500)
    expected = {name: scaled(stats, 0.5) for name, stats in sums(texts(1000)).items()}
    other = replace(META, fingerprint="f2222222222222222")
    store.open(replace(other, name="sentiment@f22222222222"))
    if died == "half-way":
        store.note("warm-start-begin", {}, by="w1", reason="")
        store.load({"hotels": DomainSnapshot(expected["hotels"], 0, None)}, replace=False)
        store.apply([part(0, 1, {"new": ONE})])
        expected |= {"new": ONE}
    for worker in ("w2", "w3"):
        open_or_start_new(store, other, on_mismatch="warm-start", weight=0.5, by=worker)
        assert held(store) == expected
    done = [entry for entry in store.audit() if entry.action == "warm-start"]
    assert [entry.by for entry in done] == ["w2"]


def test_a_policy_that_began_cold_on_purpose_is_left_so(make_store: MakeStore) -> None:
    """What a new model has counted by itself is not mixed with another's later."""
    store = make_store()
    store.open(META)
    count(store, texts(1000), 0, 500)
    other = replace(META, fingerprint="f2222222222222222")
    open_or_start_new(store, other, on_mismatch="new", by="w1")
    store.apply([part(0, 1, {"new": ONE})])
    open_or_start_new(store, other, on_mismatch="warm-start", by="w2")
    assert held(store) == {"new": ONE}


def test_the_doctor_names_what_does_not_hang_together(store: PolicyAdmin) -> None:
    """Each broken invariant is one finding, with its subject."""
    store.apply([part(5, 9, {"good": ONE})])
    broken = {
        "deeper": ExitStats((2, 3, 0, 0), (0, 0, 0, 0), (2, 0, 0, 0)),
        "disagrees": ExitStats((2, 1, 0, 0), (0, 2, 0, 0), (1, 1, 0, 0)),
        "plays": ExitStats((2, 1, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0)),
    }
    store.load({n: DomainSnapshot(s, 0, None) for n, s in broken.items()}, replace=True)
    examination = examine(store, ends={"t1/0": 8})
    found = {(f.severity, f.check, f.subject) for f in examination.findings}
    assert found == {
        (Severity.PROBLEM, "counters", "deeper"),
        (Severity.PROBLEM, "counters", "disagrees"),
        (Severity.PROBLEM, "counters", "plays"),
        (Severity.PROBLEM, "watermark", "t1/0"),
        (Severity.PROBLEM, "gaps", "t1/0"),
    }
    assert not examination.healthy
    assert (examination.domains, examination.partitions) == (4, 1)
    assert [f.check for f in examine(store, ends={}).findings][-2:] == ["gaps", "watermark"]


def test_the_doctor_holds_what_is_counted_against_what_is_committed(store: PolicyAdmin) -> None:
    """What is committed must be counted; a gap of what is not committed yet has time."""
    store.apply([part(0, 9, {"good": ONE}), part(12, 20, {"good": ONE})])

    def found(committed: Mapping[str, int]) -> set[tuple[str, str]]:
        ends = {"t1/0": 30, "t1/1": 30}
        return {
            (f.check, f.subject) for f in examine(store, ends=ends, committed=committed).findings
        }

    assert found({"t1/0": 9}) == set()
    assert found({"t1/0": 12}) == found({"t1/0": 20}) == {("gaps", "t1/0")}
    store.apply([part(9, 12, {})])
    assert found({"t1/0": 20}) == set()
    assert found({"t1/0": 25}) == {("gaps", "t1/0")}  # of a worker that ended with what it held
    assert found({"t1/0": 20, "t1/1": 3}) == {("gaps", "t1/1")}


def test_gaps_that_cannot_be_kept_are_a_problem(store: PolicyAdmin) -> None:
    """More gaps than are kept: what the smallest held is said to be lost until all is restarted."""
    parts = [part(2 * number, 2 * number + 1, {}) for number in range(GAPS_MAX + 4)]
    store.apply(parts)
    assert store.totals().lost == 3
    (mark,) = store.watermarks().values()
    assert len(mark.gaps) == GAPS_MAX
    assert {f.check for f in examine(store).findings} == {"lost", "gaps"}
    assert not examine(store).healthy
    store.restart(by="anna", reason="")
    assert store.totals().lost == 0
