"""`offramp worker --check` on a broker with access rules and a real Redis."""

import gc
import json
import re
import time

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.topics import create_topics
from policy_state.backends.redis import RedisStore
from policy_state.store import PolicyMeta
from tests.tiny_model import write_tiny_model

# kafka-python leaves the socket of a refused login to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _leave_no_socket():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


class World:
    """A worker's surroundings, all well; a test breaks one thing and looks."""

    def __init__(self, secured, redis_url, model_folder) -> None:
        self.secured = secured
        self.redis_url = redis_url
        self.prefix = prefix = f"c{time.time_ns()}"
        create_topics(secured.plain, {f"{prefix}-in": 1, f"{prefix}-out": 2, f"{prefix}-dead": 1})
        secured.allow_all(prefix)
        kafka = secured.settings("SCRAM-SHA-512")
        security = kafka.security.model_dump(mode="json", exclude_none=True)
        self.options: dict[str, object] = {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                "group": f"{prefix}-group",
                "dead_letters": f"{prefix}-dead",
                "request_timeout_s": 5,
                "security": security,
            },
            "redis": {"url": redis_url},
            "model": {"path": str(model_folder)},
            "routes": [{"topics": f"{prefix}-in", "output": f"{prefix}-out"}],
        }

    def check(self, tmp_path) -> tuple[int, dict[str, dict[str, object]]]:
        """Return exit code and findings by check, the test's prefix left out."""
        import tomli_w

        config = tmp_path / "offramp.toml"
        config.write_text(tomli_w.dumps(self.options))
        command = ["worker", "--check", "-o", "json", "--config", str(config)]
        result = CliRunner().invoke(app, [*command, "--instance", "a"])
        assert result.stdout, repr(result.exception)
        found = json.loads(result.stdout.replace(self.prefix, "X"))
        assert found["ok"] == all(f["ok"] for f in found["checks"])
        return result.exit_code, {f["check"]: f for f in found["checks"]}


@pytest.fixture
def world(secured, redis_url, model_folder):
    return World(secured, redis_url, model_folder)


ALL = [
    "model",
    "redis",
    "policy",
    "routes",
    "kafka",
    "input topics",
    "topic X-out",
    "topic X-dead",
    "group X-group",
    "transactional id X-group-a-check",
]


def test_all_is_well(world, tmp_path):
    """With everything there each line is ok, the exit code 0, and no worker or policy is left."""
    code, found = world.check(tmp_path)
    assert code == 0, found
    assert list(found) == ALL
    with RedisStore(world.redis_url) as store:
        assert store.policies() == ()


def wrong_password(world):
    world.options["kafka"]["security"]["password_file"] = str(world.secured.file("wrong"))


def no_input(world):
    world.options["routes"] = [{"topics": "absent", "output": f"{world.prefix}-out"}]


def no_output(world):
    topics = f"{world.prefix}-in"
    world.options["routes"] = [{"topics": topics, "output": f"{world.prefix}-none"}]


def no_dead_letters(world):
    world.options["kafka"]["dead_letters"] = f"{world.prefix}-gone"


def only_describe(world):
    world.secured.forbid("TOPIC", world.prefix)
    world.secured.allow("TOPIC", world.prefix, "DESCRIBE")


def no_topics(world):
    world.secured.forbid("TOPIC", world.prefix)


def no_group(world):
    world.secured.forbid("GROUP", world.prefix)


def only_describe_group(world):
    no_group(world)
    world.secured.allow("GROUP", world.prefix, "DESCRIBE")


def no_transactions(world):
    world.secured.forbid("TRANSACTIONAL_ID", world.prefix)


def no_login(world):
    world.options["redis"]["url"] = world.redis_url.replace("//", "//nobody:horse@")


def no_model(world):
    world.options["model"] = {"path": "/nowhere"}


def other_model(world):
    with RedisStore(world.redis_url) as store:
        store.open(PolicyMeta("default", "f1", (1, 2)))


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (wrong_password, {"kafka": "the login is wrong"}),
        (no_input, {"input topics": "no topic matches"}),
        (no_output, {"topic X-none": "does not exist"}),
        (no_dead_letters, {"topic X-gone": "does not exist"}),
        (
            only_describe,
            {
                "input topics": "may not read X-in",
                "topic X-out": "may not be written to",
                "topic X-dead": "may not be written to",
            },
        ),
        (
            no_topics,
            {
                "input topics": "no topic matches",
                "topic X-out": "may not be seen",
                "topic X-dead": "may not be seen",
            },
        ),
        (no_group, {"group X-group": "may not be joined"}),
        (only_describe_group, {"group X-group": "may not be joined"}),
        (no_transactions, {"transactional id X-group-a-check": "TransactionalIdAuthorization"}),
        (no_login, {"redis": "WRONGPASS|invalid"}),
        (no_model, {"model": "nowhere"}),
        (other_model, {"policy": "fingerprint"}),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(world, tmp_path, break_it, expected):
    """Each broken thing fails its own line and no other, and says what to do; exit code 4."""
    break_it(world)
    code, found = world.check(tmp_path)
    failed = {name: f for name, f in found.items() if not f["ok"]}
    assert failed.keys() == expected.keys(), found
    for name, said in expected.items():
        assert re.search(said, failed[name]["said"])
        assert failed[name]["advice"]
    assert code == 4
