"""The workers of a group as Redis and Kafka know them together."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.status.looking import Looked

_JSON_END: Final = 2**53  # from here on numbers in JSON are not exact


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker. What is None is not known."""

    instance: str
    shows_itself: bool | None  # in Redis; None: Redis is down
    partitions: int | None  # that it reads
    lag: int  # records that wait in them
    texts_per_s: float | None  # in a second of work
    backlog_s: float | None  # how long it needs for its lag
    last_commit_s: int | None
    held_texts: int | None  # predicted, but not counted yet
    stands_still: str
    policy: str | None


def worker_rows(looked: Looked) -> list[WorkerRow]:
    """Return the workers of a group: those in Redis, and those of which only Kafka knows."""
    alive = looked.workers or {}
    members = looked.kafka.members if looked.kafka else ()
    return [_row(name, alive.get(name), looked) for name in sorted({*alive, *members})]


def backlog_s(rows: Sequence[WorkerRow], lag: int | None) -> float | None:
    """Return when the last worker has done its part of the lag.

    None: it is not known, as of records that no worker reads.
    """
    if lag is None or lag > sum(row.lag for row in rows if row.backlog_s is not None):
        return None
    return max((row.backlog_s or 0.0 for row in rows), default=0.0)


def _row(name: str, fields: Mapping[str, str] | None, looked: Looked) -> WorkerRow:
    told = fields or {}
    partitions, lag = None, 0
    if looked.kafka is not None:
        mine = [tp for tp, reader in looked.kafka.readers.items() if reader == name]
        partitions = len(mine)
        lag = sum(found.behind for tp in mine if (found := looked.kafka.lag.get(tp)))
    elif "partitions" in told:
        partitions = told["partitions"].count("[")
    pace = _number(told, "texts_per_s")
    return WorkerRow(
        instance=name,
        shows_itself=None if looked.workers is None else fields is not None,
        partitions=partitions,
        lag=lag,
        texts_per_s=pace or None,
        backlog_s=lag / pace if pace else (None if lag else 0.0),
        last_commit_s=_whole(told, "last_commit_s"),
        held_texts=_whole(told, "held_texts"),
        stands_still=told.get("stands_still", ""),
        policy=told.get("policy"),
    )


def _number(fields: Mapping[str, str], name: str) -> float | None:
    """Return a number of a heartbeat; anybody may have written another thing there."""
    with suppress(KeyError, ValueError):
        if 0 <= (value := float(fields[name])) < _JSON_END:
            return value
    return None


def _whole(fields: Mapping[str, str], name: str) -> int | None:
    value = _number(fields, name)
    return None if value is None else int(value)
