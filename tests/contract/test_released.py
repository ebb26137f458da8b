"""What a released version keeps in Redis: this one reads it, and counts on."""

import json
from pathlib import Path

import pytest

from policy_state.errors import FingerprintMismatch
from policy_state.store.offsets import Counted, Status
from policy_state.store.redis.store import RedisStore
from policy_state.store.redis.wire import SCHEMA
from policy_state.store.values import PartitionDeltas
from policy_state.transfer.document import from_document, to_document
from policy_state.transfer.transfer import export_policy
from tests.support.policies.released import GROUP, META, ROUTE, restore, text

RELEASED = Path(__file__).with_name("released")


def plain(document):
    """Return a document as a file holds it."""
    return json.loads(json.dumps(document))


@pytest.fixture
def released(raw):
    """What schema 1 kept, restored; the document that its version exported."""
    content = json.loads((RELEASED / "schema-1.json").read_text(encoding="utf-8"))
    restore(raw, content["keys"])
    return content["export"]


@pytest.fixture
def store(released, redis_server):
    with RedisStore(redis_server.url) as store:
        store.open(META)
        yield store


def test_everything_of_a_released_version_is_read_as_it_was(released, store):
    """Counters, pins, labels, watermarks, settings, routes and positions; exports too."""
    assert plain(to_document(export_policy(store))) == released
    assert plain(to_document(from_document(released))) == released
    assert store.routes(GROUP.name).routes == (ROUTE,)
    assert store.positions(GROUP).offsets == {"topic/0": 9, "topic/1": 1}
    assert [entry.action for entry in store.audit(limit=9)][::-1] == [
        "pin",
        "freeze",
        "reset",
        "label",
    ]


def test_counting_goes_on_where_a_released_version_ended(store):
    """Its texts are duplicates, its gap can be filled, and new ones add to its counters."""
    before = store.read(["hotels"])["hotels"].stats
    more = {"hotels": text(1, 1)}
    parts = [PartitionDeltas("topic", 0, *span, more, {}) for span in ((7, 9), (4, 7), (9, 10))]
    statuses = [outcome.status for outcome in store.apply(parts).outcomes]
    assert statuses == [Status.DUPLICATE, Status.APPLIED, Status.APPLIED]
    assert store.read(["hotels"])["hotels"].stats == before + text(1, 1) + text(1, 1)
    assert store.watermarks()["topic/0"] == Counted(10)


def test_counters_of_another_schema_are_refused_with_what_to_do(store, raw):
    """A later version may count in another way: this one does not touch what that wrote."""
    raw.hset(f"offramp:{{{store.bound()[0].pid}}}:meta", "schema", str(int(SCHEMA) + 1))
    with pytest.raises(FingerprintMismatch, match=r"schema 2.*schema 1: install the version that"):
        store.open(META)


def test_there_is_a_file_of_the_schema_at_hand():
    """Who changes the schema adds a file, and what reads the files of earlier ones."""
    assert (RELEASED / f"schema-{SCHEMA}.json").exists()
