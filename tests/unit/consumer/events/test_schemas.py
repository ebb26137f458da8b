"""Values that name their schema in a registry: what is read, refused, and tried again."""

import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import InvalidEvent, ServiceRefused, ServiceUnavailable
from consumer.events.codec import Fields, parse
from consumer.events.formats import FORMS
from consumer.events.record import Record
from consumer.events.registry import Registry, RegistrySettings
from tests.support.servers.registry import SchemaRegistry, framed, protobuf_class

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
PROTO = """
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { string note = 50001; }
message Ping { int32 number = 1; }
message Review {
  message Body { string text = 1 [(note) = "what is read"]; bytes raw = 2; }
  enum Mood { MOOD_UNKNOWN = 0; GOOD = 1; }
  Body body = 1;
  google.protobuf.Timestamp written_at = 2;
  int64 review_id = 3;
  Mood mood = 4;
  optional int32 label = 5;
  int32 stars = 6;
  int64 at_ms = 7;
}
"""
DURATION = """
syntax = "proto3";
package google.protobuf;
message Duration { int64 seconds = 1; int32 nanos = 2; }
"""
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


@pytest.fixture(scope="module")
def review_class():
    return protobuf_class(PROTO, "shop.v1.Review")


def protobuf(message, *, number=6, indexes=b"\x02\x02"):
    """Return a value as the serialisers write it; Review is the second message: index 1."""
    return framed(number, indexes + message.SerializeToString())


def python(program, argument):
    """Return what a program prints in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", program, argument],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stderr == ""
    return ended.stdout


def test_avro_is_read_with_paths(registry):
    """A record's fields are found by path, times are times, bytes beside them are ignored."""
    registry.add(7, AVRO)
    body = read(
        registry, avro(7, REVIEW), form="avro", fields=Fields(text="body.text", timestamp="at")
    )
    assert (body.text, body.field("shop")) == ("good", "a")
    assert body.timestamp == 1_700_000_000_123


def test_json_schema_is_read_and_checked(registry):
    """A value that fits its schema is an event; one that does not names field and rule only."""
    registry.add(2, JSON, kind="JSON")
    good = framed(2, b'{"text": "fine", "stars": 5}')
    assert read(registry, good, form="json-schema").text == "fine"
    with pytest.raises(InvalidEvent, match="stars breaks the rule properties/") as caught:
        read(registry, framed(2, b'{"text": "secret", "stars": 6}'), form="json-schema")
    assert caught.value.error_class == "schema-mismatch"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("field", ["written_at", "at_ms"])
def test_protobuf_is_read_with_paths(registry, review_class, field):
    """Fields are found by their names in the .proto; times are times, 64 bits and enums names."""
    registry.add(6, PROTO, kind="PROTOBUF")
    review = review_class(review_id=2**60, mood=1, label=0, at_ms=1_700_000_000_123)
    review.body.text, review.body.raw = "good", b"\xff"
    review.written_at.FromMilliseconds(1_700_000_000_123)
    body = read(
        registry,
        protobuf(review),
        form="protobuf",
        fields=Fields(text="body.text", id="review_id", timestamp=field, domain="mood"),
    )
    assert (body.text, body.id, body.domain, body.label) == ("good", str(2**60), "GOOD", 0)
    assert body.field("stars") is None  # has its default, which is not written
    time = body.timestamp
    assert (time if isinstance(time, int) else time.timestamp() * 1000) == 1_700_000_000_123


def test_protobuf_messages_are_found_by_their_indexes(registry, review_class):
    """Indexes lead to messages of the file and to those nested in them; none is the first."""
    registry.add(6, PROTO, kind="PROTOBUF")
    ping = protobuf_class(PROTO, "shop.v1.Ping")(number=5)
    decode = Registry(RegistrySettings(url=registry.url), form="protobuf")
    for indexes in (b"\x00", b"\x02\x00"):
        assert decode(protobuf(ping, indexes=indexes)) == {"number": 5}
    body = review_class.Body(text="nested")
    assert decode(protobuf(body, indexes=b"\x04\x02\x00")) == {"text": "nested"}


@pytest.mark.parametrize("name", ["google/protobuf/timestamp.proto", "shop/other.proto"])
def test_protobuf_schemas_may_refer_to_what_protoc_brings(registry, review_class, name):
    """A reference to google/protobuf is none to others; any else is refused."""
    registry.add(6, PROTO, kind="PROTOBUF")
    registry.schemas[6]["references"] = [{"name": name, "subject": name, "version": 1}]
    decode = Registry(RegistrySettings(url=registry.url), form="protobuf")
    value = protobuf(review_class(stars=3))
    if name.startswith("google/protobuf/"):
        assert decode(value) == {"stars": 3}
        return
    with pytest.raises(InvalidEvent, match="schema 6 refers to other schemas"):
        decode(value)


def test_protoc_says_what_is_wrong_with_a_schema(registry, capfd):
    """The dead letter tells what protoc said, with the line, and nothing goes to our output."""
    registry.add(6, 'syntax = "proto3";\nmessage Review { strin text = 1; }', kind="PROTOBUF")
    decode = Registry(RegistrySettings(url=registry.url), form="protobuf")
    with pytest.raises(InvalidEvent, match=r' 1: schema.proto:2:18: "strin" is not defi') as caught:
        decode(framed(6, b"\0"))
    assert caught.value.error_class == "invalid-schema"
    assert capfd.readouterr() == ("", "")


WITH_A_FULL_DISK = """
import resource
import sys
from consumer.errors import ServiceUnavailable
from consumer.events.registry import Registry, RegistrySettings

decode = Registry(RegistrySettings(url=sys.argv[1]), form="protobuf")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
try:
    decode(bytes([0, 0, 0, 0, 6, 0]))
except ServiceUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print(decode(bytes([0, 0, 0, 0, 6, 0])))
"""


def test_where_protoc_cannot_be_run_values_wait(registry):
    """Where there is no room for protoc's files, that is no fault of the value: read later."""
    registry.add(6, PROTO, kind="PROTOBUF")
    refused, read_later = python(WITH_A_FULL_DISK, registry.url).splitlines()
    assert refused.startswith("cannot run protoc: ")
    assert read_later == "{}"


@pytest.fixture(scope="module")
def read_protobuf():
    with SchemaRegistry().running() as double:
        double.add(6, PROTO, kind="PROTOBUF")
        decode = Registry(RegistrySettings(url=double.url), form="protobuf")
        assert decode(framed(6, b"\0")) == {}
    return decode


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_hostile_protobuf_values_are_refused_or_read(read_protobuf, review_class, data):
    """Whatever stands behind the schema's number gives fields or InvalidEvent, nothing else."""
    review = review_class(review_id=2**60, mood=1, label=0, stars=4)
    review.body.text = "good"
    review.written_at.FromMilliseconds(1_700_000_000_123)
    whole = protobuf(review)[5:]
    cut = st.integers(0, len(whole)).map(lambda at: whole[:at])
    swapped = st.tuples(st.integers(0, len(whole)), st.binary(max_size=6)).map(
        lambda change: whole[: change[0]] + change[1] + whole[change[0] + len(change[1]) :]
    )
    headed = st.tuples(st.sampled_from([b"\0", b"\2\2", b"\4\2\0", b"\2\0"]), st.binary())
    value = data.draw(st.one_of(st.binary(), cut, swapped, headed.map(b"".join)))
    try:
        found = read_protobuf(framed(6, value))
    except InvalidEvent as error:
        found = {"refused": error.error_class}
    assert isinstance(found, dict)
    assert found.get("refused") in {None, "invalid-framing", "invalid-protobuf"}


WITHOUT_THE_EXTRA = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastavro", "jsonschema_rs", "grpc_tools"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from consumer.errors import InvalidSettings
from consumer.events.registry import Registry, RegistrySettings

try:
    Registry(RegistrySettings(url="http://127.0.0.1:1"), form=sys.argv[1])
except InvalidSettings as error:
    print(error)
"""


@pytest.mark.parametrize("form", FORMS)
def test_a_form_whose_libraries_are_not_there_says_what_to_install(form):
    """Without the extra, each form ends with one sentence that names it."""
    said = python(WITHOUT_THE_EXTRA, form)
    assert said == f"kafka.format is {form}: install offramp with its extra 'registry'\n"


@pytest.mark.parametrize(
    ("form", "value", "error_class"),
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
        ("protobuf", framed(6, b""), "invalid-framing"),
        ("protobuf", framed(6, b"\x02"), "invalid-framing"),  # an index is missing
        ("protobuf", framed(6, b"\x02\x01"), "invalid-framing"),  # index -1
        ("protobuf", framed(6, b"\x01"), "invalid-framing"),  # -1 indexes
        ("protobuf", framed(6, b"\x02\x04"), "invalid-framing"),  # no third message
        ("protobuf", framed(6, b"\x06\x02\x00\x00"), "invalid-framing"),  # none in Body
        ("protobuf", framed(6, b"\xfe\xff\xff\xff\x0f"), "invalid-framing"),  # 2^31 - 1 indexes
        ("protobuf", framed(6, b"\xff" * 1000), "invalid-framing"),
        ("protobuf", framed(6, b"\xa0\x8d\x06" + b"\0" * 50_000), "invalid-framing"),
        ("protobuf", framed(6, b"\x00\x0a"), "invalid-protobuf"),
        ("protobuf", framed(6, b"\x02\x02\x0a\x03\x0a\x01\xff"), "invalid-protobuf"),  # UTF-8
        ("protobuf", framed(6, b"\x02\x02\x12\x02\x10\xff"), "invalid-protobuf"),
        ("protobuf", framed(6, b"\x00"), "missing-text"),
        ("protobuf", framed(2, b"\x00"), "invalid-schema"),  # a JSON schema
        ("protobuf", framed(8, b"\x00"), "invalid-schema"),  # imports what is not there
        ("protobuf", framed(10, b"\x00"), "invalid-schema"),  # imports out of its folder
        ("protobuf", framed(11, b"\x00"), "invalid-schema"),  # nested beyond measure
        ("protobuf", framed(12, b"\x00"), "invalid-protobuf"),  # is a string, not fields
    ],
)
def test_values_that_cannot_be_read_say_why(registry, form, value, error_class):
    """Whatever is wrong with a value is one refusal of the parse stage with its own class."""
    registry.add(2, JSON, kind="JSON")
    registry.add(3, {"type": "nothing"})
    registry.add(4, AVRO)
    registry.schemas[4]["references"] = [{"name": "x"}]
    registry.add(5, {"type": "string"})
    registry.add(6, PROTO, kind="PROTOBUF")
    registry.add(7, AVRO)
    registry.add(8, 'import "shop/other.proto"; message A {}', kind="PROTOBUF")
    registry.add(10, 'import "../../etc/passwd"; message A {}', kind="PROTOBUF")
    registry.add(11, "message A {" * 100_000, kind="PROTOBUF")
    registry.add(12, DURATION, kind="PROTOBUF")
    with pytest.raises(InvalidEvent) as caught:
        read(registry, value, form=form, missing_s=0)
    assert (caught.value.stage, caught.value.error_class) == ("parse", error_class)


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
