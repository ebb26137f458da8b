"""Schemas, and values that name them as the serialisers of a registry write them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import fastavro

from consumer.events.codec import Fields, parse
from consumer.events.record import Record
from consumer.events.registry import Registry, RegistrySettings
from tests.support.servers.registry import framed

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


def avro(number, value, schema=AVRO):
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return framed(number, stream.getvalue())


def read(registry, value, *, form, fields=None, **settings):
    decode = Registry(RegistrySettings(url=registry.url, timeout_s=2, **settings), form=form)
    record = Record("t", 0, 0, 0, None, value)
    return parse(record, form=form, fields=fields or Fields(), decode=decode)


def protobuf(message, *, number=6, indexes=b"\x02\x02"):
    """Return a value as the serialisers write it; Review is the second message: index 1."""
    return framed(number, indexes + message.SerializeToString())


def python(program, argument):
    """Return what a program prints in a separate process."""
    ended = subprocess.run(
        [sys.executable, "-c", program, argument],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stderr == ""
    return ended.stdout
