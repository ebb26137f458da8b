"""Whether a group's members divide its partitions as workers do: Kafka lets no others join them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import InconsistentGroupProtocolError

from consumer.errors import StreamRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafka import KafkaAdminClient

ASSIGNOR: Final = CooperativeStickyAssignor
ADVICE: Final = "give the workers a kafka.group of their own, or end these members"
_MEMBERS_SHOWN: Final = 3


def foreign(admin: KafkaAdminClient, group: str) -> str | None:
    """Return what is wrong with a group's members for a worker that joins them, if anything is.

    Raises:
        KafkaError: the broker does not tell.
    """
    found = admin.describe_groups([group])[group]
    members = found["members"]
    kind, assignor = found["protocol_type"], found["protocol_data"]
    if not members or not assignor:  # brokers do not tell while members join
        return None
    if (kind, assignor) == ("consumer", ASSIGNOR.name):
        return None
    names = sorted({str(member["client_id"]) for member in members})
    more = f" and {len(names) - _MEMBERS_SHOWN} more" if len(names) > _MEMBERS_SHOWN else ""
    who = ", ".join(names[:_MEMBERS_SHOWN]) + more
    how = f"the assignor {assignor}" if kind == "consumer" else f"the protocol {kind}"
    return (
        f"group {group} has {len(members)} members ({who}) that use {how}, "
        f"and a worker needs {ASSIGNOR.name}"
    )


@contextmanager
def explained(admin: KafkaAdminClient, group: str) -> Iterator[None]:
    """Say of a group that cannot be joined who its members are.

    Raises:
        StreamRefused: its members divide its partitions in another way.
    """
    try:
        yield
    except InconsistentGroupProtocolError as error:
        told = foreign(admin, group) or f"group {group} has members that are no workers"
        raise StreamRefused(f"{told}: {ADVICE}") from error
