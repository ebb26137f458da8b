"""`offramp route` and `offramp topics` as an operator uses them, on a real Redis and Kafka."""

import csv
import io
import json
import os
import socket
import subprocess
import sys
import time

import pytest
import yaml
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.kafka.topics import NewTopic, create_new_topics, describe_cluster
from consumer.settings.load import load_settings
from consumer.settings.sections import KafkaSettings
from policy_state.algorithms.settings import PolicySettings
from policy_state.stats import ExitStats
from policy_state.store.groups import ConsumerGroup
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.kafka_admin import set_offsets
from tests.support.topics import create_topics

PATTERN = r"reviews\.(?P<domain>.+)"


@pytest.fixture
def nobody():
    """Return the address of a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def environ(redis_url, kafka):
    return {
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_KAFKA__GROUP": f"g{time.time_ns()}",
        "OFFRAMP_USER": "anna",
        "COLUMNS": "250",
    }


@pytest.fixture
def offramp(environ):
    """Return a function that runs a command and returns what came of it."""

    def run(*args, code=0, **more):
        result = CliRunner().invoke(app, args, env={**environ, **more})
        failed = 1 if result.exception and not isinstance(result.exception, SystemExit) else None
        assert (failed or result.exit_code) == code, (result.output, result.exception)
        return result

    return run


def in_a_process(environ, *args, **more):
    """Run a command in a separate process: a client that finds no broker leaves sockets open."""
    return subprocess.run(
        [sys.executable, "-c", "from consumer.cli.app import main; main()", *args],
        env={**os.environ, **environ, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def data(result):
    return json.loads(result.stdout)


def listed(offramp):
    return data(offramp("route", "list", "-o", "json"))


def described(kafka):
    return describe_cluster(load_settings(options={"kafka.bootstrap_servers": kafka}).kafka)


def test_a_group_starts_with_the_built_in_route(offramp):
    """Before any change `texts.<domain>` is read, and the list says where that comes from."""
    before = listed(offramp)
    assert (before["source"], before["revision"]) == ("built-in", 0)
    assert [r["topics"] for r in before["routes"]] == [r"texts\.(?P<domain>.+)"]


def test_a_route_is_added_shown_and_removed(offramp):
    """The example of the documentation works, the built-in route stays until it is removed."""
    added = data(
        offramp(
            *("route", "add", PATTERN, "--to", "predictions", "--cost-weight", "0.3", "--create"),
            *("--reason", "a new source", "--yes", "-o", "json"),
        )
    )
    assert (added["version"], added["kind"], added["revision"]) == (1, "route-change", 1)
    assert [r["name"] for r in added["routes"]] == ["texts", "reviews"]
    shown = data(offramp("route", "show", "reviews", "-o", "json"))
    assert shown["route"]["output"] == "predictions"
    assert (shown["route"]["cost_weight"], shown["source"]) == (0.3, "redis")
    assert PATTERN in offramp("route", "show", "reviews").stdout
    offramp("route", "remove", "texts", "--yes")
    assert [r["name"] for r in listed(offramp)["routes"]] == ["reviews"]
    assert "not found" in str(offramp("route", "remove", "texts", "-y", code=1).exception)
    newest, oldest = data(offramp("route", "history", "-o", "json"))["changes"]
    assert (newest["action"], oldest["action"]) == ("route-remove", "route-add")
    assert (oldest["by"], oldest["reason"]) == ("anna", "a new source")
    assert oldest["detail"]["route"]["cost_weight"] == 0.3
    assert yaml.safe_load(offramp("route", "list", "-o", "yaml").stdout) == listed(offramp)


def test_a_change_is_previewed(offramp, kafka):
    """Without --yes nothing is written, code 3; the preview names topics, and what is amiss."""
    tag = f"p{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 1, f"{tag}.hotels": 1})
    create = ("--to", f"{tag}-out", "--create")
    told = offramp("route", "add", rf"{tag}\..+", *create, code=3).stderr
    created = f"creates {tag}-out (output): 1 partition, 1 copy, 1 in sync, kept 30 d"
    for text in (f"topics now: {tag}.films, {tag}.hotels", created, "--yes"):
        assert text in told
    assert listed(offramp)["revision"] == 0
    assert f"{tag}-out" not in described(kafka).partitions
    offramp("route", "add", rf"{tag}\.films", "--name", "one", *create, "-y")
    told = offramp(
        *("route", "add", rf"{tag}\..+", "--name", "all", "--to", f"{tag}-out"), code=3
    ).stderr
    assert f"topics now: {tag}.hotels" in told
    assert f"taken by an earlier route: {tag}.films" in told
    assert f"no longer read: {tag}.films" in offramp("route", "remove", "one", code=3).stderr


def test_a_route_without_its_output_is_refused(offramp, kafka):
    """With --create it is made, as wide as the inputs; of a route whose output went, it is told."""
    tag = f"c{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 3})
    route = ("route", "add", rf"{tag}\..+", "--to", f"{tag}-out", "-y")
    refused = str(offramp(*route, code=1).exception)
    assert refused == (
        f"output {tag}-out does not exist, and the texts of the route would stand still "
        "until it does; create it with --create"
    )
    assert listed(offramp)["revision"] == 0
    offramp(*route, "--create")
    assert described(kafka).partitions[f"{tag}-out"] == 3
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([f"{tag}-out"])
    said = f"its texts stand still: topic {tag}-out does not exist"
    assert said in " ".join(offramp("route", "test", f"{tag}.films", code=4).stdout.split())


def test_a_compacted_output_is_told(offramp, kafka, environ):
    """The preview says that texts without keys would stand still."""
    tag = f"k{time.time_ns()}"
    compact = NewTopic(f"{tag}-out", 1, 1, {"cleanup.policy": "compact"})
    create_new_topics(KafkaSettings(bootstrap_servers=kafka), [compact])
    told = offramp("route", "add", tag, "--to", f"{tag}-out", code=3).stderr
    assert f"{tag}-out is compacted and refuses records without keys" in told


def test_topics_that_are_missing_are_listed_as_such(offramp, kafka):
    """Neither partitions nor lag are made up for them: inputs, outputs and dead letters alike."""
    tag = f"m{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 2, f"{tag}-out": 1})
    offramp("route", "add", rf"{tag}\.films|{tag}\.news", "--to", f"{tag}-out", "-y")
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([f"{tag}-out"])
    rows = data(offramp("topics", "list", "-o", "json"))["topics"]
    found = {r["topic"]: (r["state"], r["partitions"], r["lag"]) for r in rows}
    assert found[f"{tag}.films"] == ("ready", 2, 0)
    assert found[f"{tag}.news"] == found[f"{tag}-out"] == ("missing", None, None)
    table = [line.split() for line in offramp("topics", "list").stdout.splitlines()]
    assert [f"{tag}.news", "input", "missing"] in [line[:3] for line in table]


def test_order_and_replacement(offramp):
    """A route goes to the end, before another, or in the place of the one of its name."""
    for name, more in (("b", ()), ("c", ()), ("a", ("--before", "b"))):
        offramp("route", "add", f"{name}.*", "--name", name, "--to", "out", *more, "--create", "-y")
    assert [r["name"] for r in listed(offramp)["routes"]] == ["texts", "a", "b", "c"]
    told = offramp(
        *("route", "add", "b.+", "--name", "b", "--replace", "--to", "out2", "--create", "--yes")
    ).stderr
    assert "topics: b.+ (was b.*)" in told
    assert "output: out2 (was out)" in told
    assert [(r["name"], r["output"]) for r in listed(offramp)["routes"]][2] == ("b", "out2")
    assert "already" in str(
        offramp("route", "add", "x", "--name", "b", "--to", "o", code=1).exception
    )


def test_a_route_replaced_by_itself_is_no_change(offramp):
    """Nothing is asked, done or written down, and that is said; `none` unsets what is optional."""
    same = ("route", "add", "b.*", "--name", "b", "--to", "out", "--replace")
    offramp(*same[:-1], "--cost-weight", "0.5", "--gate", "0.98", "--create", "-y")
    assert listed(offramp)["routes"][1]["gate"] == 0.98
    unset = data(offramp(*same, "--cost-weight", "none", "--gate", "none", "-y", "-o", "json"))
    gone = unset["routes"][1]
    assert (gone["cost_weight"], gone["gate"], unset["revision"]) == (None, None, 2)
    again = offramp(*same, "-o", "json")
    assert again.stderr == "route b: there is nothing to change\n"
    assert data(again) == unset
    assert len(data(offramp("route", "history", "-o", "json"))["changes"]) == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("(", "--to", "o"), "not a regular expression"),
        (("(a+)+b", "--to", "o"), "could take too long"),
        (("x" * 257, "--to", "o"), "expected 1..256"),
        (("pred.*", "--to", "predictions"), "a worker would read what it has written"),
        ((".+", "--to", "o"), "a worker would read what it has written"),
        ((r"offramp\..+", "--to", "o"), "the dead-letter topic"),
        (("a", "--to", "o", "--domain", "shop"), "expected 'topic', 'field:PATH'"),
        (("a", "--to", "o", "--domain", "field:a..b"), "is not a path"),
        (("a", "--to", "o", "--domain", "fixed:\u202e"), "is not allowed"),
        (("a", "--to", "o o"), "cannot be the name of a topic"),
        (("a", "--to", "o", "--name", "a b"), "letters, digits, dots"),
        (("a", "--to", "o", "--name", "texts"), "already"),
        (("a", "--to", "o", "--before", "zzz"), "not found"),
    ],
)
def test_a_route_that_cannot_be_is_refused_before_the_write(offramp, args, said):
    """Each mistake is one line that says what is wrong, code 1, and nothing is written."""
    assert said in str(offramp("route", "add", *args, "--yes", code=1).exception)
    assert listed(offramp)["revision"] == 0


def test_a_cost_weight_that_is_none_is_wrong_usage(offramp):
    """A number below zero, and one that is none, are code 2, and nothing is written."""
    for number in ("-1", "nan", "1e400"):
        offramp("route", "add", "a", "--to", "o", "--cost-weight", number, "--yes", code=2)
        offramp("route", "add", "a", "--to", "o", "--gate", number, "--yes", code=2)
    wrong = offramp("route", "add", "a", "--to", "o", "--gate", "0.3", "--yes", code=1)
    assert "gate '0.3': expected 0 or a share of 0.5 to 0.9999" in str(wrong.exception)
    assert listed(offramp)["revision"] == 0


def test_what_would_become_of_a_topic_is_told(offramp, kafka):
    """Route, domain, output and whether the topics exist; code 4 where texts are not predicted."""
    tag = f"t{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 1})
    out = ("--to", f"{tag}-out", "--create", "-y")
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", *out)
    offramp("route", "add", rf"{tag}\.f.+", "--name", "also", *out)
    (found,) = data(offramp("route", "test", f"{tag}.films", "-o", "json"))["results"]
    assert (found["route"], found["domain"]) == (tag, "films")
    assert (found["output"], found["also_matched_by"]) == (f"{tag}-out", ["also"])
    assert (found["topic_exists"], found["output_exists"]) == (True, True)
    assert "films" in offramp("route", "test", f"{tag}.films").stdout
    assert "no route" in offramp("route", "test", "elsewhere", code=4).stdout
    assert "dead letter" in offramp("route", "test", f"{tag}.{'x' * 140}", code=4).stdout


def test_routes_of_the_settings_win(offramp):
    """A configuration that gives routes uses no others, and a change of those in Redis says so."""
    own = {"OFFRAMP_ROUTES": '[{"topics": "mine", "output": "out"}]'}
    offramp("route", "add", PATTERN, "--to", "predictions", "--create", "-y")
    with_own = data(offramp("route", "list", "-o", "json", **own))
    assert (with_own["source"], [r["name"] for r in with_own["routes"]]) == ("settings", ["mine"])
    told = offramp("route", "add", "x", "--to", "o", "--create", code=3, **own).stderr
    assert "these settings give routes" in told


def test_routes_can_be_changed_while_kafka_is_away(offramp, environ, nobody):
    """The preview says that it could not look, and the change is made."""
    away = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": nobody}
    done = in_a_process(environ, "route", "add", PATTERN, "--to", "predictions", "-y", **away)
    assert f"no broker answered within 3 s: {nobody}" in done.stderr
    assert listed(offramp)["revision"] == 1


def test_topics_cannot_be_looked_at_while_kafka_is_away(environ, nobody):
    """One line names the address and the limit, code 1."""
    away = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": nobody}
    done = in_a_process(environ, "topics", "init", "texts.x", "--yes", **away)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"no broker answered within 10 s: {nobody}" in line


def test_routes_are_completed(offramp, environ):
    """The shell completes the names of routes."""
    offramp("route", "add", PATTERN, "--to", "predictions", "--create", "-y")
    done = subprocess.run(
        [sys.executable, "-c", "from consumer.cli.app import app; app(prog_name='offramp')"],
        env={
            **os.environ,
            **environ,
            "_OFFRAMP_COMPLETE": "complete_bash",
            "COMP_WORDS": "offramp route show re",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["reviews"], done.stderr


def test_looking_at_routes_starts_without_heavy_imports(offramp, environ):
    """Listing and completing routes import no torch, no transformers, and no Kafka where some are.

    Where there are none Kafka is asked whether Redis has lost them.
    """
    offramp("route", "add", "reviews", "--to", "predictions", "--create", "--yes")
    code = (
        "import sys; from typer.testing import CliRunner; from consumer.cli.app import app;"
        "assert CliRunner().invoke(app, ['route', 'list']).exit_code == 0;"
        "print(sorted({'torch', 'transformers', 'kafka'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_domain_shows_the_exits_of_routes_with_a_cost_weight(offramp, redis_url, environ):
    """Where a route has a cost weight of its own, its exit is told beside the policy's."""
    meta = PolicyMeta("default", "f1", (1, 3, 7, 12), PolicySettings("uee-ucb", cost_weight=0.1))
    stats = ExitStats((400,) * 4, (0, 80, 90, 95), (0, 0, 0, 400))
    with RedisStore(redis_url) as store:
        store.open(meta)
        store.apply([PartitionDeltas("t1", 0, 0, 1, {"films": stats})])
    plain = data(offramp("policy", "show", "films", "-o", "json"))
    assert (plain["by_route"], plain["exit"] > 0) == ([], True)
    offramp("route", "add", PATTERN, "--to", "o", "--create", "--cost-weight", "5", "-y")
    offramp("route", "add", "other", "--to", "o", "--cost-weight", "4", "-y")  # domain: other
    (by_route,) = data(offramp("policy", "show", "films", "-o", "json"))["by_route"]
    assert by_route == {"route": "reviews", "cost_weight": 5.0, "exit": 0, "layer": 1}
    said = "by route reviews, cost weight 5: exit 0 (layer 1)"
    assert said in offramp("policy", "show", "films").stdout
    assert said in offramp("explain", "films").stdout
    assert "their own cost weight" in offramp("policy", "list").stderr


def test_csv_without_rows_has_its_header(offramp):
    """Routes that were never changed have a history with a header and no rows."""
    said = offramp("route", "history", "-o", "csv").stdout
    assert said == "time_ms,action,domain,by,automatic,reason,detail,before\n"
    offramp("route", "remove", "texts", "-y")
    assert offramp("route", "list", "-o", "csv").stdout == (
        "name,topics,domain,output,cost_weight,gate\n"
    )


def test_topics_are_created_once_and_with_sane_settings(offramp, kafka):
    """What is missing is created after a preview; what exists is reported and left as it is."""
    tag = f"i{time.time_ns()}"
    dead = {
        "OFFRAMP_KAFKA__DEAD_LETTERS": f"{tag}-dead",
        "OFFRAMP_KAFKA__POLICY_TOPIC": f"{tag}-policy",
    }
    offramp("route", "remove", "texts", "-y", **dead)
    create_topics(kafka, {f"{tag}-out": 2})
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", "--to", f"{tag}-out", "-y", **dead)
    offramp("route", "add", rf"{tag}-x|{tag}-y\.z", "--to", f"{tag}-out", "-y", **dead)
    args = ("topics", "init", f"{tag}.films", "--partitions", "3", "--retention", "2d")
    told = offramp(*args, code=3, **dead).stderr
    assert f"{tag}.films (input): 3 partitions, 1 copy, 1 in sync, kept 2 d" in told
    assert "an output has fewer partitions than an input" in told
    rows = data(offramp(*args, "--yes", "-o", "json", **dead))["topics"]
    states = {row["topic"]: (row["role"], row["state"], row["partitions"]) for row in rows}
    assert states == {
        f"{tag}.films": ("input", "created", 3),
        f"{tag}-x": ("input", "created", 3),
        f"{tag}-y.z": ("input", "created", 3),
        f"{tag}-out": ("output", "existed", 2),
        f"{tag}-dead": ("dead-letter", "created", 1),
        f"{tag}-policy": ("policy", "created", 1),
    }
    again = data(offramp(*args, "-o", "json", **dead))
    assert again["created"] == 0
    assert {row["state"] for row in again["topics"]} == {"existed"}
    assert described(kafka).partitions[f"{tag}.films"] == 3
    configs = _configs(kafka, f"{tag}-dead")
    assert configs["cleanup.policy"] == "delete"
    assert configs["retention.ms"] == str(30 * 86_400_000)
    assert int(configs["max.message.bytes"]) > 1_048_588
    assert _configs(kafka, f"{tag}-policy")["cleanup.policy"] == "compact"
    wrong = offramp("topics", "init", "elsewhere", code=1, **dead).exception
    assert "no route matches topic elsewhere" in str(wrong)


def test_topics_are_listed_with_lag_route_and_domain(offramp, kafka, environ):
    """Lag is what the group has not committed; every format has the same rows."""
    tag = f"l{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 2, f"{tag}.hotels": 1, f"{tag}-out": 1})
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", "--to", f"{tag}-out", "-y")
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for i in range(10):
        producer.send(f"{tag}.films", value=b"x", partition=i % 2)
    producer.flush(timeout=30)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=environ["OFFRAMP_KAFKA__GROUP"])
    tp = TopicPartition(f"{tag}.films", 0)
    consumer.assign([tp])
    consumer.commit({tp: OffsetAndMetadata(3, "", -1)})
    consumer.close(autocommit=False)
    document = data(offramp("topics", "list", "-o", "json"))
    rows = {r["topic"]: r for r in document["topics"] if r["topic"].startswith(tag)}
    films = rows[f"{tag}.films"]
    assert (films["lag"], films["partitions"], films["domain"]) == (7, 2, "films")
    assert (films["route"], films["role"]) == (tag, "input")
    assert (rows[f"{tag}.hotels"]["lag"], rows[f"{tag}-out"]["role"]) == (0, "output")
    assert "deleted" not in offramp("topics", "list").stdout
    assert yaml.safe_load(offramp("topics", "list", "-o", "yaml").stdout) == document
    table = list(csv.DictReader(io.StringIO(offramp("topics", "list", "-o", "csv").stdout)))
    assert {r["topic"] for r in table} == {r["topic"] for r in document["topics"]}


def test_lag_is_of_records_that_can_still_be_read(offramp, kafka, environ, redis_url):
    """What retention took is told apart; where Kafka forgot the group, Redis says where it is."""
    tag, group = f"d{time.time_ns()}", environ["OFFRAMP_KAFKA__GROUP"]
    create_topics(kafka, {f"{tag}.films": 2, f"{tag}-out": 1})
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", "--to", f"{tag}-out", "-y")
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for i in range(20):
        producer.send(f"{tag}.films", value=b"x", partition=i % 2)
    producer.flush(timeout=30)
    producer.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(f"{tag}.films", number): 6 for number in range(2)})

    def films():
        rows = data(offramp("topics", "list", "-o", "json"))["topics"]
        return next((r["lag"], r["deleted"]) for r in rows if r["topic"] == f"{tag}.films")

    assert films() == (8, 0), "a group that begins with what is there"
    (topic,) = admin.describe_topics([f"{tag}.films"])
    place = ConsumerGroup(admin.describe_cluster()["cluster_id"], group)
    with RedisStore(redis_url) as store:
        store.begin_group(place, {f"{topic['topic_id']}/0": 2, f"{topic['topic_id']}/1": 9})
    assert films() == (4 + 1, 4)
    set_offsets(admin, group, {TopicPartition(f"{tag}.films", 0): OffsetAndMetadata(1, "", -1)})
    admin.close()
    assert films() == (4 + 1, 5)
    assert "deleted" in offramp("topics", "list").stdout


def _configs(kafka, topic):
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    admin.close()
    text = json.dumps(found, default=str)
    configs = json.loads(text)
    while not {"retention.ms"} & set(configs):
        configs = next(iter(configs.values())) if isinstance(configs, dict) else configs[0]
    return {k: v["value"] if isinstance(v, dict) else v for k, v in configs.items()}
