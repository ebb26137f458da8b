"""Values that name their schema in a registry: what is read, and what is refused."""

import pytest

from consumer.errors import InvalidEvent
from consumer.events.codec import Fields
from consumer.events.formats import FORMS
from tests.support.schema_values import AVRO, JSON, PROTO, avro, python, read
from tests.support.servers.registry import framed

DURATION = """
syntax = "proto3";
package google.protobuf;
message Duration { int64 seconds = 1; int32 nanos = 2; }
"""
REVIEW = {"body": {"text": "good", "raw": b"\xff"}, "at": 1_700_000_000_123, "shop": "a"}


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


WITHOUT_THE_EXTRA = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastavro", "jsonschema_rs", "grpc_tools"}:
            raise ModuleNotFoundError(name, name=name)

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
    assert said.startswith(f"kafka.format {form} needs ")
    assert said.endswith(": pip install 'offramp[registry]'\n")


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
