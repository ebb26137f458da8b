"""`offramp route` and `offramp topics` as an operator uses them, on a real Redis and Kafka."""

import time

import pytest
import yaml
from kafka import KafkaAdminClient

from consumer.kafka.topics import NewTopic, create_new_topics, describe_cluster
from consumer.settings.load import load_settings
from consumer.settings.sections import KafkaSettings
from tests.support.policy_cli import data
from tests.support.topics import create_topics

PATTERN = r"reviews\.(?P<domain>.+)"


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


def test_routes_of_the_settings_win(offramp):
    """A configuration that gives routes uses no others, and a change of those in Redis says so."""
    own = {"OFFRAMP_ROUTES": '[{"topics": "mine", "output": "out"}]'}
    offramp("route", "add", PATTERN, "--to", "predictions", "--create", "-y")
    with_own = data(offramp("route", "list", "-o", "json", **own))
    assert (with_own["source"], [r["name"] for r in with_own["routes"]]) == ("settings", ["mine"])
    told = offramp("route", "add", "x", "--to", "o", "--create", code=3, **own).stderr
    assert "these settings give routes" in told


def test_routes_can_be_changed_while_kafka_is_away(offramp, in_a_process, nobody):
    """The preview says that it could not look, and the change is made."""
    away = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": nobody}
    done = in_a_process("route", "add", PATTERN, "--to", "predictions", "-y", **away)
    assert f"no broker answered within 3 s: {nobody}" in done.stderr
    assert listed(offramp)["revision"] == 1
