"""What of a group needs a person, told from what was looked at."""

from typing import Any

from consumer.cli.policy.history import worker_rows as listed_workers
from consumer.kafka.group.offsets import TopicLag
from consumer.kafka.group.overview import GroupOverview
from consumer.routes.route import Route
from consumer.routes.table import RouteTable
from consumer.settings.sections import KafkaSettings
from consumer.status.findings import findings
from consumer.status.looking import Looked
from consumer.status.workers import backlog_s, worker_rows

KAFKA = KafkaSettings(group="g")
ROUTES = RouteTable((Route(name="films", topics="films", output="out"),), "redis", 3)
THERE = {"films": 2, "out": 1, KAFKA.dead_letters: 1, KAFKA.policy_topic: 1}


def overview(lag: int = 0, deleted: int = 0, **given: Any) -> GroupOverview:
    """Return a group of one worker that reads both partitions of `films`."""
    known: dict[str, Any] = {
        "brokers": 1,
        "partitions": THERE,
        "lag": {("films", 0): TopicLag(lag, deleted), ("films", 1): TopicLag()},
        "readers": {("films", 0): "w1", ("films", 1): "w1"},
        "members": ("w1",),
        "steady": True,
    }
    return GroupOverview(**known | given)


def looked(kafka: GroupOverview | None, **heartbeat: str) -> Looked:
    """Return what is seen of the group, and of a heartbeat of w1."""
    fields = {"partitions": "films[0],films[1]", "routes": "revision 3", "texts_per_s": "10.00"}
    return Looked("g", {"w1": fields | heartbeat}, ROUTES, {}, kafka, None)


def needs(found: Looked, max_backlog_s: float = 300) -> list[str]:
    """Return what needs a person."""
    told = findings(found, KAFKA, max_backlog_s=max_backlog_s)
    return [each.text for each in told if each.severity == "problem"]


def test_a_group_that_is_well_needs_nobody() -> None:
    """Whoever works, reads everything and has little to do is left alone."""
    assert needs(looked(overview(lag=500), last_commit_s="3")) == []


def test_a_backlog_is_measured_in_time() -> None:
    """The same records are fine for a quick worker, and too many for a slow one."""
    slow = looked(overview(lag=5000), texts_per_s="2.50")
    (text,) = needs(slow)
    assert text == (
        "worker w1 needs 2000 s for its backlog: 5000 records wait, and it does 2.5 texts/s"
    )
    assert backlog_s(worker_rows(slow), 5000) == 2000
    assert backlog_s(worker_rows(slow), 5001) is None  # nobody reads one of them
    assert needs(slow, max_backlog_s=2000) == []
    assert needs(looked(overview(lag=5000), texts_per_s="100.00")) == []


def test_a_worker_that_commits_nothing_is_told() -> None:
    """It is, though it names no obstacle; markers of transactions alone are no reason."""
    (text,) = needs(looked(overview(lag=21), last_commit_s="90"))
    assert text == "worker w1 has committed nothing for 90 s, though 21 records wait"
    assert needs(looked(overview(lag=20), last_commit_s="90")) == []
    (text,) = needs(looked(overview(lag=900), last_commit_s="90", stands_still="no topic out"))
    assert text == "stands still: no topic out"


def test_what_retention_took_is_told() -> None:
    """Records that were deleted before anybody read them are lost for predictions."""
    (text,) = needs(looked(overview(deleted=7)))
    assert text == "retention has deleted 7 records of films before they were read"


def test_workers_that_only_one_of_the_two_knows_are_told() -> None:
    """Killed, hanging or cut off: Redis or Kafka still shows such a worker for a while."""
    (unseen,) = needs(looked(overview(members=("w1", "w2"))))
    assert unseen.startswith("worker w2 was killed, hangs, or cannot reach Redis")
    (outside,) = needs(looked(overview(members=(), readers={})))
    assert outside.startswith("worker w1 is not in Kafka's group")
    joining = overview(members=("w1", "w2"), readers={}, steady=False)
    assert len(needs(looked(joining))) == 1  # nobody has a partition while members join


def test_topics_that_are_missing_are_told() -> None:
    """An output or input that does not exist needs a person; without a policy topic it works."""
    there = {name: many for name, many in THERE.items() if name in {"films", KAFKA.dead_letters}}
    (text,) = needs(looked(overview(partitions=there)))
    assert text == "output topic out does not exist: texts of route films stand still"


def test_a_number_of_a_heartbeat_that_no_worker_writes_is_none() -> None:
    """Anybody may write to Redis: what does not fit into JSON is no number."""
    (row,) = worker_rows(looked(overview(), last_commit_s="9" * 40, texts_per_s="1e300"))
    assert (row.last_commit_s, row.texts_per_s) == (None, None)
    (shown,) = listed_workers({"w1": {"events": "9" * 40, "batches": "3"}})
    assert (shown["events"], shown["batches"]) == ("9" * 40, 3)
