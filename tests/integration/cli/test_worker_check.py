"""`offramp worker --check` on a broker with access rules and a real Redis."""

import gc
import re
import ssl

import pytest
import trustme

from consumer.settings.sections import KafkaSettings
from consumer.worker.preflight import check_registry
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PolicyMeta
from tests.support.kafka_admin import configure
from tests.support.servers.registry import SchemaRegistry
from tests.support.topics import create_topics
from tests.support.workers.surroundings import World

# kafka-python leaves the socket of a refused login to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _leave_no_socket():
    yield
    gc.collect()


@pytest.fixture
def world(secured, redis_url, model_folder):
    return World(secured, redis_url, model_folder)


ALL = [
    "model",
    "redis",
    "redis memory",
    "policy",
    "routes",
    "kafka",
    "input topics",
    "topic X-out",
    "topic X-dead",
    "policy topic offramp.policy",
    "group X-group",
    "transactional id X-group-a-check",
]


def test_all_is_well(world, tmp_path):
    """With everything there each line is ok, the exit code 0, and no worker or policy is left."""
    code, found = world.check(tmp_path)
    assert code == 0, [line for line in found.values() if not line["ok"]]
    assert list(found) == ALL
    assert " predicts in fp32 on cpu" in found["model"]["said"]
    with RedisStore(world.redis_url) as store:
        assert store.policies() == ()


def test_a_compacted_output_is_told(world, tmp_path):
    """It is no error, as texts with keys go there; what fixes it stands beside it."""
    world.secured.allow("TOPIC", world.prefix, "DESCRIBE_CONFIGS")
    with world.secured.admin() as admin:
        configure(admin, f"{world.prefix}-out", cleanup_policy="compact")
    code, found = world.check(tmp_path)
    assert code == 0
    assert "is compacted and refuses records without keys" in found["topic X-out"]["said"]
    assert "--add-config cleanup.policy=delete" in found["topic X-out"]["advice"]


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


def outputs_only_written(world):
    world.secured.forbid("TOPIC", world.prefix)
    world.secured.allow("TOPIC", f"{world.prefix}-in", "DESCRIBE", "READ")
    for name in ("out", "dead"):
        world.secured.allow("TOPIC", f"{world.prefix}-{name}", "DESCRIBE", "WRITE")


def former_output_not_readable(world):
    topic = f"{world.prefix}-in"
    with RedisStore(world.redis_url) as store:
        for revision, name in enumerate(("was", "out")):
            route = {"name": "mine", "topics": topic, "output": f"{world.prefix}-{name}"}
            store.write_routes(
                *(f"{world.prefix}-group", [route]),
                revision=revision,
                action="route-add",
                detail={"route": route},
                by="anna",
                reason="",
            )
    del world.options["routes"]
    create_topics(world.secured.plain, {f"{world.prefix}-was": 1})
    world.secured.forbid("TOPIC", world.prefix)
    for name in ("in", "out", "dead"):
        world.secured.allow("TOPIC", f"{world.prefix}-{name}", "DESCRIBE", "READ", "WRITE")
    world.secured.allow("TOPIC", f"{world.prefix}-was", "DESCRIBE")


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
        (outputs_only_written, {"topic X-out": "may not be read"}),
        (former_output_not_readable, {"topic X-was": "a route wrote to it, may not be read"}),
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


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def registry(authority):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with SchemaRegistry(tls).running() as double:
        yield double


def test_a_registry_that_answers_is_well(world, tmp_path, registry, authority):
    """Where the format needs a registry it is asked, over TLS and with the login."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "secret").write_text("horse\n")
    world.options["kafka"] |= {
        "format": "protobuf",
        "registry": {
            "url": registry.url,
            "username": "me",
            "password_file": str(tmp_path / "secret"),
            "ca_file": str(tmp_path / "ca.pem"),
        },
    }
    code, found = world.check(tmp_path)
    assert code == 0, found
    assert list(found) == [*ALL[:5], "registry", *ALL[5:]]
    assert registry.asked == [("/schemas/types", "Basic bWU6aG9yc2U=")]


def login_refused(registry, options):
    registry.status = 401


def no_such_form(registry, options):
    registry.kinds = ["AVRO"]


def not_a_registry(registry, options):
    registry.status = 404


def failing(registry, options):
    registry.status = 503


def not_trusted(registry, options):
    del options["ca_file"]


def no_certificates(registry, options):
    options["ca_file"] = "/nowhere/ca.pem"


def not_reachable(registry, options):
    options["url"] = "https://127.0.0.1:1"


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (login_refused, ("answers 401", "kafka.registry.username")),
        (no_such_form, ("has AVRO schemas, but not PROTOBUF", "kafka.format")),
        (not_a_registry, ("answers 404", "kafka.registry.url")),
        (failing, ("answers 503", "kafka.registry.url")),
        (not_trusted, ("certificate is not trusted", "kafka.registry.ca_file")),
        (no_certificates, ("/nowhere/ca.pem holds no usable certificates", "kafka.registry")),
        (not_reachable, ("127.0.0.1:1/.*refused", "kafka.registry.url")),
    ],
)
def test_what_is_wrong_with_the_registry_is_named(
    registry, authority, tmp_path, break_it, expected
):
    """A registry that cannot be used is one line with what it said and the settings to look at."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {"url": registry.url, "ca_file": str(tmp_path / "ca.pem"), "timeout_s": 2}
    break_it(registry, options)
    found = check_registry(KafkaSettings(format="protobuf", registry=options))
    assert (found.check, found.ok) == ("registry", False)
    assert re.search(expected[0], found.said)
    assert expected[1] in found.advice
