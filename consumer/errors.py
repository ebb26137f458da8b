"""The errors of this package, and whose an error is: the record's at hand, or the world's.

ConsumerError
├── InvalidEvent       one record cannot be used: it goes to the dead letters, the batch continues
├── InvalidRoute       a route cannot be, or not beside the others
├── RecordHeldUp       a record waits for what its topic's texts need; other topics' continue
├── RecordsTooLarge    Kafka does not take some of the records to be written
├── InvalidSettings    the configuration names something that cannot be
├── ModelFailed        the model fails on every text: this worker must end
├── RoutesGone         Redis has lost the routes of the group: what to read is not known
├── ServiceRefused     a service beside Kafka (schemas, tokens) says that this is not to be had
├── ServiceUnavailable such a service did not answer; it may be asked again
│   └── UntrustedService   its certificate is none that we trust
├── SourceGone         a topic that is read was deleted: its records cannot be marked as read
├── StoppedByError     a record cannot be used, and the settings say to stop then
├── StreamUnavailable  Kafka did not answer in time; the batch may be tried again
│   ├── StreamRefused      it does not let us in, or not do this: waiting seldom helps
│   └── TopicMissing       a topic that is to be read as a whole does not exist
├── TextsNotCounted    a worker ends with texts that are predicted and not counted
├── TopicRefused       Kafka does not take records for one topic: its route waits, others continue
├── WorkerStuck        a batch does not come to an end: this worker must
└── WorkerFenced       another worker has taken over this worker's name or partitions
"""

from __future__ import annotations

from pathlib import Path
from typing import Final


class ConsumerError(Exception):
    """Something is wrong with the stream or with what it was given."""


class InvalidEvent(ConsumerError):
    """A record that cannot be used.

    `stage` is the step that refused it ("parse", "route" or "infer"), `error_class` a short
    stable word for machines, the message is for people.
    """

    def __init__(self, stage: str, error_class: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.error_class = error_class


class InvalidRoute(ConsumerError):
    """A route is wrong in itself, or cannot be beside the others."""


class InvalidSettings(ConsumerError):
    """A setting is missing, unknown, or has a value that cannot be."""


class ModelFailed(ConsumerError):
    """The model fails on every text: the model or the machine is to blame, not the texts."""


class RecordsTooLarge(ConsumerError):
    """Kafka does not take some of the records of a transaction, which was ended.

    `indexes` are those of the records in the sequence that was to be written.
    """

    def __init__(self, indexes: tuple[int, ...]) -> None:
        super().__init__(f"{len(indexes)} records are too large")
        self.indexes = indexes


class RecordHeldUp(ConsumerError):
    """A record cannot be read yet: the service that tells how does not do so.

    `topic`, `partition` and `offset` are the record's.
    """

    def __init__(self, topic: str, partition: int, offset: int, *, cause: str) -> None:
        super().__init__(f"{topic}[{partition}]@{offset}: {cause}")
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.cause = cause


class RoutesGone(ConsumerError):
    """Redis has lost the routes of a group; with others, texts would be left unread."""


class ServiceRefused(ConsumerError):
    """A service answers that this is not to be had, with an HTTP status of 4xx."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class ServiceUnavailable(ConsumerError):
    """A service does not answer, or answers with its own error."""


class UntrustedService(ServiceUnavailable):
    """A service shows a certificate that we do not trust."""


class StoppedByError(ConsumerError):
    """A record cannot be used, and the settings say to stop rather than to continue without it."""


class StreamUnavailable(ConsumerError):
    """Kafka did not answer in time, or refused for a reason that may pass."""


class StreamRefused(StreamUnavailable):
    """Kafka does not let this user in, or not do this; so it stays until somebody changes that."""


class TopicMissing(StreamUnavailable):
    """A topic that is to be read as a whole does not exist."""


class SourceGone(ConsumerError):
    """A topic that was read is not there any more; nothing of the transaction was committed."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"input topic {topic} was deleted")
        self.topic = topic


class TextsNotCounted(ConsumerError):
    """A worker ends with texts that it predicted and could not bring to the store."""


class TopicRefused(ConsumerError):
    """Kafka does not take what is to be written to one topic; nothing of it was committed.

    `advice` is what fixes it. Where `only_keyless`, records with a key are taken.
    """

    def __init__(self, topic: str, cause: str, advice: str, *, only_keyless: bool = False) -> None:
        super().__init__(f"topic {topic} {cause}: {advice}")
        self.topic = topic
        self.cause = cause
        self.advice = advice
        self.only_keyless = only_keyless


class WorkerStuck(ConsumerError):
    """A batch does not come to an end; a new process may get on with it."""


class WorkerFenced(ConsumerError):
    """Another worker holds this worker's transactional id: this one must end."""


# What another record would meet too: a service, a file, memory or a library that is not there.
_WORLDS: Final = (ConsumerError, OSError, MemoryError, ImportError)


class blamed:  # noqa: N801  (read as a call: `with blamed("parse"):`)
    """Makes whatever goes wrong inside an `InvalidEvent` of a stage, unless it is the world's.

    Libraries raise what they like for input that nobody thought of. Without this rule each such
    record would end every worker that reads it, at every start.
    """

    __slots__ = ("_stage",)

    def __init__(self, stage: str) -> None:
        """Take the stage that is told."""
        self._stage = stage

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Let pass what the world is to blame for.

        Raises:
            InvalidEvent: the record is to blame.
        """
        if error is None or isinstance(error, _WORLDS) or not is_failure(error):
            return
        raise InvalidEvent(self._stage, "unexpected-error", _told(error)) from error


def is_failure(error: BaseException) -> bool:
    """Say whether a call has failed, and was not interrupted; a panic in Rust is no `Exception`."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


def _told(error: BaseException) -> str:
    """Return what was raised and where, without its message: that may hold the text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    if trace is None:
        return name
    return f"{name} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
