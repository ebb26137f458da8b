"""One contract for every store: a policy is exported to a document and imported from it."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from policy_state.errors import FingerprintMismatch, InvalidInput
from policy_state.health.doctor import examine
from policy_state.labelled import LabelledDuels
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Label, Pin, PolicyAdmin
from policy_state.store.offsets import GAPS_MAX, Counted
from policy_state.store.values import DomainSnapshot
from policy_state.transfer.document import PolicyDocument, from_document, to_document
from policy_state.transfer.transfer import export_policy, import_policy, warm_start
from tests.support.policies.counted import META, ONE, MakeStore, part
from tests.support.policies.predicted import count, texts

LABELS = LabelledDuels(60, (0, 40, 9, 0), (0, 30, 2, 0), (0, 10, 7, 0))


def test_an_export_reads_back_the_same(make_store: MakeStore) -> None:
    """Through JSON and back, into another policy of the same model, nothing changes."""
    store = make_store()
    store.open(META)
    count(store, texts(200), 3, 100)
    store.change("hotels", Pin(2, for_ms=10**9), by="anna", reason="ä ö")
    store.change("books", Freeze(), by="anna", reason="")
    store.change("books", Label(LABELS), by="anna", reason="")
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


def test_an_export_of_a_calibrated_model_reads_back_the_same(make_store: MakeStore) -> None:
    """Its counters travel; a document that knows none of them reads as one without."""
    store, meta = make_store(), replace(META, calibrated=True, classes=4)
    store.open(meta)
    stats = ExitStats.from_texts(
        [(0, 1, 1, 0), (1, 1)],
        exits=4,
        credits=[(0, 420, 0, 310), (0, 0)],
        scores=[(600, 700, 800, 900), (990, 1000)],
        chosen=[1, 2],
    )
    store.apply([part(0, 2, {"hotels": stats})])
    written = json.loads(json.dumps(to_document(export_policy(store))))
    read = from_document(written)
    assert read.meta == meta
    import_policy(store, read, name="copy", replace_known=True, by="anna", reason="")
    copy = export_policy(store)
    assert copy.meta == replace(meta, name="copy")
    assert copy.domains["hotels"].stats == stats
    del written["policy"]["calibrated"], written["policy"]["classes"]
    counters = written["domains"]["hotels"]["counters"]
    for name in [name for name in counters if name[0] in "ecqsuvxw"]:
        del counters[name]
    old = from_document(written)
    assert (old.meta.calibrated, old.meta.classes) == (False, 2)
    assert old.domains["hotels"].stats == replace(
        ExitStats.from_texts([(0, 1, 1, 0), (1, 1)], exits=4), duels=()
    )


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
