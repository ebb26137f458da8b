"""What a group commits of a partition: the next offset, and of which topic it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kafka.structs import OffsetAndMetadata

if TYPE_CHECKING:
    from typing import Protocol

    class Committed(Protocol):
        """A committed offset, as a consumer or an admin client is told it."""

        offset: int
        metadata: str | None


_NO_EPOCH: Final = -1
_MARK: Final = re.compile(r"topic-id=([0-9a-f-]{36})")


def to_commit(offset: int, topic_id: str | None) -> OffsetAndMetadata:
    """Return what to commit: Kafka keeps offsets by name, so the id goes with it."""
    return OffsetAndMetadata(offset, f"topic-id={topic_id}" if topic_id else "", _NO_EPOCH)


def is_of_another(committed: Committed | None, topic_id: str) -> bool:
    """Say whether an offset was committed for a topic of another id than this.

    One that tells no id, set with Kafka's tools perhaps, is of the topic that there is.
    """
    told = committed and _MARK.fullmatch(committed.metadata or "")
    return bool(told and told[1] != topic_id)


def offset_in(committed: Committed | None, topic_id: str) -> int | None:
    """Return where a group goes on in a topic; None where nothing is committed for it.

    >>> offset_in(to_commit(7, "0" * 36), "0" * 36), offset_in(to_commit(7, "0" * 36), "1" * 36)
    (7, None)
    """
    if committed is None or committed.offset < 0 or is_of_another(committed, topic_id):
        return None
    return int(committed.offset)
