"""Calls into kafka-python: with a time limit where it has none, and with our errors."""

from __future__ import annotations

import threading
import time
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


_LOOK_S = 1.0


def bounded(
    call: Callable[..., object],
    *args: object,
    timeout_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run a call that has no time limit of its own, and give up on it when the time is over.

    Args:
        call: what to run.
        args: what to run it with.
        timeout_s: how long it may take.
        meanwhile: called after each second of waiting; where it raises, the call is given up.

    Raises:
        StreamUnavailable: it took longer; its thread is left behind.
        Exception: what the call or `meanwhile` raised.
    """
    deadline = time.monotonic() + timeout_s
    failure: list[BaseException] = []

    def run() -> None:
        try:
            call(*args)
        except BaseException as error:  # noqa: BLE001  (handed to the caller)
            failure.append(error)

    thread = threading.Thread(target=run, name=f"offramp-{call.__name__}", daemon=True)
    thread.start()
    thread.join(min(timeout_s, _LOOK_S))
    while thread.is_alive() and (left_s := deadline - time.monotonic()) > 0:
        meanwhile()
        thread.join(min(left_s, _LOOK_S))
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
