"""What commands say about routes and what follows from them, on a real Redis and Kafka."""

import os
import subprocess
import sys
import time

from policy_state.algorithms.settings import PolicySettings
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.policy_cli import data
from tests.support.topics import create_topics

PATTERN = r"reviews\.(?P<domain>.+)"


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
