"""Calls into kafka-python: with a time limit where it has none, and with our errors."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kafka import errors as kafka_errors

from consumer.errors import StreamRefused, StreamUnavailable, WorkerFenced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.FencedInstanceIdError,
)


def bounded(call: Callable[..., object], *args: object, timeout_s: float) -> None:
    """Run a call that has no time limit of its own, and give up on it when the time is over.

    Raises:
        StreamUnavailable: it took longer; its thread is left behind.
        Exception: what the call raised.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            call(*args)
        except BaseException as error:  # noqa: BLE001  (handed to the caller)
            failure.append(error)

    thread = threading.Thread(target=run, name=f"offramp-{call.__name__}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise StreamUnavailable(f"{call.__name__} took longer than {timeout_s:.1f} s")
    if failure:
        raise failure[0]


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn kafka-python's errors into ours; `doing` begins the message.

    Raises:
        WorkerFenced: another worker has this name.
        StreamRefused: this user may not do that.
        StreamUnavailable: any other error of Kafka.
    """
    try:
        yield
    except _FENCED as error:
        raise WorkerFenced(f"{doing}: another worker has this name: {error!r}") from error
    except kafka_errors.AuthorizationError as error:
        raise StreamRefused(f"{doing}: {error!r}") from error
    except kafka_errors.KafkaError as error:
        raise StreamUnavailable(f"{doing}: {error!r}") from error
