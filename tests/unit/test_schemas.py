"""Avro and JSON Schema values through a registry: what is read, refused, and tried again."""

import io

import fastavro
import pytest

from consumer.errors import InvalidEvent, ServiceRefused, ServiceUnavailable
from consumer.events import Fields, parse
from consumer.records import Record
from consumer.schemas import Registry, RegistrySettings
from tests.registry import SchemaRegistry, framed

AVRO = {
    "type": "record",
    "name": "Review",
    "fields": [
        {"name": "body", "type": {"type": "record", "name": "Body", "fields": [
            {"name": "text", "type": "string"},
            {"name": "raw", "type": ["null", "bytes"], "default": None},
        ]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "shop", "type": "string"},
    ],
}  # fmt: skip
JSON = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "stars": {"type": "integer", "maximum": 5}},
    "required": ["text"],
}
REVIEW = {"body": {"text": "good", "raw": b"\xff"}, "at": 1_700_000_000_123, "shop": "a"}


@pytest.fixture
def registry():
    with SchemaRegistry().running() as double:
        yield double


def avro(number, value, schema=AVRO):
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return framed(number, stream.getvalue())


def read(registry, value, *, form, fields=None, **settings):
    decode = Registry(RegistrySettings(url=registry.url, timeout_s=2, **settings), form=form)
    record = Record("t", 0, 0, 0, None, value)
    return parse(record, form=form, fields=fields or Fields(), decode=decode)


def test_avro_is_read_with_paths(registry):
    """A record's fields are found by path, times are times, bytes beside them are ignored."""
    registry.add(7, AVRO)
    body = read(
        registry, avro(7, REVIEW), form="avro", fields=Fields(text="body.text", timestamp="at")
    )
    assert (body.text, body.field("shop")) == ("good", "a")
    assert int(body.timestamp.timestamp() * 1000) == 1_700_000_000_123


def test_json_schema_is_read_and_checked(registry):
    """A value that fits its schema is an event; one that does not names field and rule only."""
    registry.add(2, JSON, kind="JSON")
    good = framed(2, b'{"text": "fine", "stars": 5}')
    assert read(registry, good, form="json-schema").text == "fine"
    with pytest.raises(InvalidEvent, match="stars: against properties/stars/maximum") as caught:
        read(registry, framed(2, b'{"text": "secret", "stars": 6}'), form="json-schema")
    assert caught.value.reason == "schema-mismatch"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "value", "reason"),
    [
        ("avro", b"", "invalid-framing"),
        ("avro", b'{"text": "plain"}', "invalid-framing"),
        ("avro", framed(9, b"x"), "unknown-schema"),
        ("avro", framed(2, b"x"), "invalid-schema"),  # a JSON schema
        ("avro", framed(3, b"x"), "invalid-schema"),  # no schema at all
        ("avro", framed(4, b"x"), "invalid-schema"),  # refers to others
        ("avro", framed(7, b"\x10ab"), "invalid-avro"),
        ("avro", framed(7, b""), "invalid-avro"),
        ("avro", avro(7, REVIEW) + b"x", "invalid-avro"),
        ("avro", framed(7, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "invalid-avro"),
        ("avro", avro(7, REVIEW), "missing-text"),  # it has body.text
        ("avro", framed(5, b"\x02a"), "invalid-avro"),  # a string, not a record
        ("json-schema", framed(2, b"{"), "invalid-json"),
        ("json-schema", framed(2, b"[" * 100_000), "invalid-json"),
        ("json-schema", framed(7, b"{}"), "invalid-schema"),
        ("json-schema", None, "null-value"),
    ],
)
def test_values_that_cannot_be_read_say_why(registry, form, value, reason):
    """Whatever is wrong with a value is one refusal of the parse stage with its own class."""
    registry.add(2, JSON, kind="JSON")
    registry.add(3, {"type": "nothing"})
    registry.add(4, AVRO)
    registry.schemas[4]["references"] = [{"name": "x"}]
    registry.add(5, {"type": "string"})
    registry.add(7, AVRO)
    with pytest.raises(InvalidEvent) as caught:
        read(registry, value, form=form)
    assert (caught.value.stage, caught.value.reason) == ("parse", reason)


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


def test_a_registry_that_is_away_is_named():
    """Where nobody listens, the error has the address."""
    decode = Registry(RegistrySettings(url="http://127.0.0.1:1", timeout_s=1), form="avro")
    with pytest.raises(ServiceUnavailable, match=r"http://127.0.0.1:1/schemas/ids/7: .*refused"):
        decode(framed(7, b""))


def test_a_refused_login_is_no_fault_of_the_value(registry):
    """A wrong password of the registry ends the worker, it does not make dead letters."""
    registry.status = 401
    with pytest.raises(ServiceRefused, match="answers 401"):
        read(registry, framed(7, b""), form="avro")


def test_schemas_are_asked_for_once_and_with_the_password(registry, tmp_path):
    """One request for each schema, known or not, with the login from the settings."""
    registry.add(2, JSON, kind="JSON")
    secret = tmp_path / "secret"
    secret.write_text("horse\n")
    settings = RegistrySettings(url=registry.url + "/", username="me", password_file=secret)
    decode = Registry(settings, form="json-schema")
    for _ in range(3):
        decode(framed(2, b'{"text": "a"}'))
        with pytest.raises(InvalidEvent):
            decode(framed(3, b""))
    login = "Basic bWU6aG9yc2U="
    assert registry.asked == [("/schemas/ids/2", login), ("/schemas/ids/3", login)]
