"""What we use of kafka-python beside its documented names stands in one file, and is there."""

import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from kafka.cluster import ClusterMetadata
from kafka.consumer.fetcher import Fetcher, FetchMetadata, FetchSessionHandler
from kafka.coordinator.base import BaseCoordinator
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import TransactionManager
from kafka.protocol.consumer import FetchRequest

from consumer.kafka import private

ROOM = Path(private.__file__).parent
NAMES = [
    pytest.param(value, id=name)
    for name, value in vars(private).items()
    if isinstance(value, private.Private)
]
PUBLIC = {"kafka", "kafka.errors", "kafka.admin", "kafka.structs"}
# What has no underscore and is not documented either; it comes with the objects of `private`.
ALSO = {
    ClusterMetadata: "topic_id request_update partitions_for_topic",
    BaseCoordinator: "need_rejoin request_rejoin",
    Sender: "wakeup force_close",
    TransactionManager: "maybe_add_partition_to_transaction send_offsets_to_transaction "
    "begin_commit",
    FetchSessionHandler: "handle_error",
    FetchMetadata: "epoch",
    FetchRequest: "topics forgotten_topics_data session_epoch",
    private.Batch: "try_append topic_partition produce_future record_count records",
    private.Builder: "append size_in_bytes",
    private.ConnectionManager: "cluster get_connection wait_for close",
    private.PartitionRecords: "take drain next_fetch_offset records_read bytes_read leader_epoch "
    "isolation_level aborted_producer_ids topic_partition",
    private.Selector: "run close",
    private.TokenProvider: "token",
    private.batch_bytes.owner: "validate_crc magic is_control_batch producer_id has_producer_id "
    "base_offset last_offset next_offset max_timestamp first_timestamp timestamp_type leader_epoch "
    "compression_type records_count size_in_bytes",
    Fetcher: "PartitionRecords",
}


def has(owner, name):
    """Whether a class has an attribute, or its methods set one."""
    sources = [inspect.getsource(kind) for kind in owner.__mro__ if kind.__module__[:5] == "kafka"]
    return hasattr(owner, name) or any(re.search(rf"self\.{name}\b.* = ", s) for s in sources)


def test_the_version_is_the_one_that_was_looked_at():
    """Another minor release may change any of these names: then this file is read through again."""
    assert version("kafka-python").startswith("3.0.")


@pytest.mark.parametrize("name", NAMES)
def test_each_private_name_is_there(name):
    """A release without one of them fails here, and not in a worker."""
    assert has(name.owner, name.name), f"{name.owner.__name__}.{name.name}"


@pytest.mark.parametrize("owner", ALSO, ids=lambda owner: owner.__name__)
def test_each_undocumented_name_is_there(owner):
    """Those without an underscore, on objects that users are not meant to see."""
    assert [name for name in ALSO[owner].split() if not has(owner, name)] == []


def test_no_other_file_knows_a_private_name():
    """Neither an attribute with an underscore of what is not ours, nor a module of its inside."""
    found = []
    for path in ROOM.rglob("*.py"):
        text = path.read_text()
        if path.name != "private.py":
            found += [f"{path.name}: {name}" for name in re.findall(r"(?<!self)\._[a-z]\w*", text)]
            modules = re.findall(r"^\s*(?:from|import) (kafka[\w.]*)", text, re.MULTILINE)
            found += [f"{path.name}: {name}" for name in modules if name not in PUBLIC]
    assert found == []
