"""What of a group needs a person, and what is only worth knowing: each with its command."""

from __future__ import annotations

from collections import Counter, defaultdict
from shlex import quote
from typing import TYPE_CHECKING, Final

from consumer.status.topics import input_routes, topic_rows, unrouted_topics
from consumer.status.workers import worker_rows
from policy_state.errors import PolicyNotFound
from policy_state.health.findings import Finding, note, problem
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumer.kafka.group.overview import GroupOverview
    from consumer.routes.table import RouteTable
    from consumer.settings.sections import KafkaSettings
    from consumer.status.looking import Looked

_NAMED: Final = 5
_QUIET_S: Final = 60
_MARKERS: Final = 10  # of transactions, which wait in a partition though no record does
_CHECK: Final = "offramp worker --check"


def findings(looked: Looked, kafka: KafkaSettings, *, max_backlog_s: float) -> list[Finding]:
    """Return what needs a person first, then notes.

    Args:
        looked: at the group.
        kafka: the settings that it was looked at with.
        max_backlog_s: a longer backlog needs a person.
    """
    found = [
        *_unanswered(looked, kafka),
        *_workers(looked),
        *_standing_still(looked),
        *_dead_letters(looked, kafka),
        *_domains(looked),
    ]
    if looked.kafka is not None and looked.routes is not None:
        found += _topics(looked.kafka, looked.routes, kafka)
        found += _readers(looked, looked.kafka, looked.routes)
    if looked.kafka is not None:
        found += _lag(looked, looked.kafka, max_backlog_s)
    return sorted(found, key=lambda each: each.severity != "problem")


def _unanswered(looked: Looked, kafka: KafkaSettings) -> Iterator[Finding]:
    """Yield what could not be looked at, and why."""
    for what, error in looked.errors.items():
        if what == "redis":
            text = f"{error}; workers continue to predict with what they know"
            yield problem("redis", "redis", text, _CHECK)
        elif what == "kafka":
            yield problem("kafka", kafka.bootstrap_servers, f"Kafka: {error}", _CHECK)
        elif what == "routes":
            yield problem("routes", looked.group, str(error), "offramp policy rebuild")
        elif what == "letters":
            yield problem("dead letters", kafka.dead_letters, str(error), "offramp dlq list")
        elif isinstance(error, PolicyNotFound) and not looked.workers:
            yield note("policy", what, f"{error}; the first worker creates it")
        else:
            yield problem("policy", what, str(error), "offramp policy doctor")


def _workers(looked: Looked) -> Iterator[Finding]:
    """Yield that nobody works, and workers of which only Kafka knows."""
    group, alive = looked.group, looked.workers
    if alive is not None and not any("partitions" in fields for fields in alive.values()):
        text = f"no worker of group {group} shows itself in Redis"
        yield problem("workers", group, text, f"offramp worker --group {quote(group)}")
    if looked.kafka is None:
        return
    if alive is None:
        if not looked.kafka.members:
            text = f"no worker of group {group} is in Kafka's group"
            yield problem("workers", group, text, f"offramp worker --group {quote(group)}")
        return
    for member in sorted(set(looked.kafka.members) - alive.keys()):
        held = [p for p, reader in looked.kafka.readers.items() if reader == member]
        text = (
            f"worker {member} was killed, hangs, or cannot reach Redis: it is in Kafka's group "
            f"with {counted(len(held), 'partition')}, but does not show itself in Redis"
        )
        yield problem("workers", member, text, "offramp policy workers")
    readers = {name for name, fields in alive.items() if "partitions" in fields}
    for name in sorted(readers - set(looked.kafka.members)) if looked.kafka.steady else ():
        text = (
            f"worker {name} is not in Kafka's group: it was killed within the last 15 s, "
            "is about to join, or cannot reach Kafka"
        )
        yield problem("workers", name, text, "offramp policy workers")


def _standing_still(looked: Looked) -> Iterator[Finding]:
    """Yield what holds up partitions; workers that say the same are one finding."""
    said: dict[str, list[str]] = defaultdict(list)
    for name, fields in (looked.workers or {}).items():
        if why := fields.get("stands_still"):
            said[why].append(name)
    for why, names in said.items():
        yield problem("standstill", _listing(names), f"stands still: {why}", "offramp topics list")


def _dead_letters(looked: Looked, kafka: KafkaSettings) -> Iterator[Finding]:
    recent = looked.letters
    if recent is None or not recent.letters:
        return
    classes = _listing([f"{many} {name}" for name, many in Counter(recent.classes).most_common()])
    number = f"more than {recent.letters}" if recent.more else f"{recent.letters}"
    letters = "dead letter" if number == "1" else "dead letters"
    text = f"{number} {letters} in the last hour: {classes}"
    yield problem("dead letters", kafka.dead_letters, text, "offramp dlq list")


def _domains(looked: Looked) -> Iterator[Finding]:
    for policy, states in looked.policies.items():
        of = f"of policy {policy}"
        if names := states.damaged.names:
            text = f"{counted(states.damaged.domains, 'domain')} {of} cannot be read: "
            text += _listing(names)
            yield problem("domains", policy, text, "offramp policy doctor")
        if names := states.alarmed.names:
            text = f"{counted(states.alarmed.domains, 'domain')} {of} "
            text += f"{'has' if states.alarmed.domains == 1 else 'have'} a warning: "
            text += _listing(names)
            yield note("domains", policy, text, f"offramp explain {quote(names[0])}")


def _topics(overview: GroupOverview, table: RouteTable, kafka: KafkaSettings) -> Iterator[Finding]:
    """Yield topics that are missing, and topics and routes that have nothing to do with another."""
    for row in topic_rows(kafka, table, overview):
        if row.state != "missing":
            continue
        text = f"{row.role} topic {row.topic} does not exist"
        if row.role == "output":
            text += f": texts of route {row.route} stand still"
        severity = note if row.role == "policy" else problem
        inputs = f" {quote(row.topic)}" if row.role == "input" else ""
        yield severity("topics", row.topic, text, f"offramp topics init{inputs}")
    if not table.routes:
        yield note("routes", kafka.group, "there are no routes", "offramp route add PATTERN --to T")
    read = {route.name for route in input_routes(table, overview).values()}
    for route in table.routes:
        if route.name not in read:
            text = f"route {route.name} matches no topic"
            yield note("routes", str(route.name), text, f"offramp route show {route.name}")
    if unrouted := unrouted_topics(kafka, table, overview):
        one = len(unrouted) == 1
        text = f"{counted(len(unrouted), 'topic')} {'has' if one else 'have'} no route: "
        text += _listing(unrouted)
        yield note("topics", unrouted[0], text, f"offramp route test {quote(unrouted[0])}")


def _readers(looked: Looked, overview: GroupOverview, table: RouteTable) -> Iterator[Finding]:
    """Yield routes of which no worker reads some partitions, while there are workers."""
    if not overview.steady or not overview.members:
        return
    unread: dict[str, list[str]] = defaultdict(list)
    for topic, route in input_routes(table, overview).items():
        numbers = range(overview.partitions.get(topic, 0))
        if idle := [n for n in numbers if (topic, n) not in overview.readers]:
            unread[str(route.name)].append(f"{counted(len(idle), 'partition')} of {topic}")
    for name, said in unread.items():
        text = f"route {name} has no reader for {_listing(said)}"
        yield problem("routes", name, text, "offramp policy workers")
    for name, fields in (looked.workers or {}).items():
        if "partitions" in fields and fields.get("routes") != table.version:
            text = f"worker {name} goes by routes {fields.get('routes')}, not by {table.version}"
            yield note("routes", name, text, "offramp policy workers")


def _lag(looked: Looked, overview: GroupOverview, max_backlog_s: float) -> Iterator[Finding]:
    """Yield records that were deleted unread, and those that wait too long."""
    deleted: Counter[str] = Counter()
    for (topic, _), lag in overview.lag.items():
        deleted[topic] += lag.deleted
    for topic, many in sorted((+deleted).items()):
        text = f"retention has deleted {counted(many, 'record')} of {topic} before they were read"
        yield problem("lag", topic, text, "offramp topics list")
    for row in worker_rows(looked):
        waiting = f"{counted(row.lag, 'record')} {'waits' if row.lag == 1 else 'wait'}"
        if row.stands_still or row.partitions is None:
            continue
        many = row.lag > _MARKERS * row.partitions
        if many and row.last_commit_s is not None and row.last_commit_s > _QUIET_S:
            text = f"worker {row.instance} has committed nothing for {row.last_commit_s} s, "
            yield problem("lag", row.instance, f"{text}though {waiting}", "offramp policy workers")
        elif row.backlog_s is not None and row.backlog_s > max_backlog_s:
            text = (
                f"worker {row.instance} needs {row.backlog_s:.0f} s for its backlog: {waiting}, "
                f"and it does {row.texts_per_s:.3g} texts/s"
            )
            more = f"offramp worker --group {quote(looked.group)}"
            yield problem("lag", row.instance, text, more)


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
