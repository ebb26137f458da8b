"""A schema registry is asked once, and what it cannot answer waits."""

import socket
import time

import pytest

from consumer.errors import InvalidEvent, ServiceRefused, ServiceUnavailable
from consumer.events.registry import Registry, RegistrySettings
from tests.support.schema_values import JSON, read
from tests.support.servers.registry import framed


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_registry_that_fails_is_no_fault_of_the_value(registry, status):
    """While the registry cannot answer the value is neither read nor refused; later it is read."""
    registry.add(2, JSON, kind="JSON")
    registry.status = status
    settings = RegistrySettings(url=registry.url, timeout_s=2)
    decode = Registry(settings, form="json-schema")
    with pytest.raises(ServiceUnavailable, match=str(status)):
        decode(framed(2, b'{"text": "a"}'))
    registry.status = 200
    assert decode(framed(2, b'{"text": "a"}')) == {"text": "a"}


@pytest.mark.parametrize(
    "answer", [{"x": 1}, {"schema": None}, {"schema": "{}", "references": [5]}]
)
def test_a_registry_that_answers_nonsense_is_no_fault_of_the_value(registry, answer):
    """A proxy before it, or one that is not in order: the value waits until there is a schema."""
    registry.schemas[2] = answer
    with pytest.raises(ServiceUnavailable, match="schemas/ids/2 does not answer with a schema"):
        read(registry, framed(2, b'{"text": "a"}'), form="json-schema")


def test_a_registry_that_is_away_is_named():
    """Where nobody listens, the error has the address."""
    decode = Registry(RegistrySettings(url="http://127.0.0.1:1", timeout_s=1), form="avro")
    with pytest.raises(ServiceUnavailable, match=r"http://127.0.0.1:1/schemas/ids/7: .*refused"):
        decode(framed(7, b""))


def test_a_refused_login_is_no_fault_of_the_value(registry):
    """With a wrong password of the registry texts wait, they do not become dead letters."""
    registry.status = 401
    with pytest.raises(ServiceRefused, match="answers 401"):
        read(registry, framed(7, b""), form="avro")


def test_schemas_are_asked_for_once_and_with_the_password(registry, tmp_path):
    """One request for each schema, known or not, with the login from the settings."""
    registry.add(2, JSON, kind="JSON")
    secret = tmp_path / "secret"
    secret.write_text("horse\n")
    settings = RegistrySettings(
        url=registry.url + "/", username="me", password_file=secret, missing_s=0
    )
    decode = Registry(settings, form="json-schema")
    for _ in range(3):
        decode(framed(2, b'{"text": "a"}'))
        with pytest.raises(InvalidEvent):
            decode(framed(3, b""))
    login = "Basic bWU6aG9yc2U="
    assert registry.asked == [("/schemas/ids/2", login), ("/schemas/ids/3", login)]


def test_a_schema_that_is_not_there_is_waited_for_and_then_given_up(registry):
    """It may have been deleted and come back; after the time for that the value is refused."""
    settings = RegistrySettings(url=registry.url, timeout_s=2, missing_s=0.3)
    decode = Registry(settings, form="json-schema")
    with pytest.raises(ServiceUnavailable, match=r"answers 404.*dead letters after 0.3 s"):
        decode(framed(2, b'{"text": "a"}'))
    time.sleep(0.4)
    with pytest.raises(InvalidEvent, match="the registry has no schema 2"):
        decode(framed(2, b'{"text": "a"}'))
    with pytest.raises(ServiceUnavailable):
        decode(framed(3, b'{"text": "a"}'))
    registry.add(3, JSON, kind="JSON")
    assert decode(framed(3, b'{"text": "a"}')) == {"text": "a"}


def test_a_registry_that_hangs_is_waited_for_once_and_not_by_every_topic():
    """After a wait in vain other values fail at once: what needs no new schema is not held up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        decode = Registry(RegistrySettings(url=url, timeout_s=1.1), form="avro")
        begun = time.monotonic()
        for number in range(20):
            with pytest.raises(ServiceUnavailable):
                decode(framed(number, b""))
        assert time.monotonic() - begun < 2.2
