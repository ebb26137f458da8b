"""Values of a Protobuf schema: what is read, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import InvalidEvent
from consumer.events.codec import Fields
from consumer.events.registry import Registry, RegistrySettings
from tests.support.schema_values import PROTO, protobuf, python, read
from tests.support.servers.registry import SchemaRegistry, framed, protobuf_class


@pytest.fixture(scope="module")
def review_class():
    return protobuf_class(PROTO, "shop.v1.Review")


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
@settings(max_examples=300)
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
