"""Hostile bytes against what reads records: guided by coverage, until `-runs` or time are over.

`make fuzz` runs this for a minute. Whatever a value is, it becomes an event, or an InvalidEvent
that tells nothing of its content. A prediction is read again, or it is none.
"""

import sys
from typing import get_args

import atheris

with atheris.instrument_imports(include=["consumer.events"]):
    from consumer.errors import InvalidEvent
    from consumer.events.codec import Fields, Format, parse
    from consumer.events.formats import FORMS
    from consumer.events.predictions import read_prediction
    from consumer.events.record import Record, header_name, shown_name

FIELDS = (Fields(), Fields(text="a.text", domain="a.b", timestamp="t", label="l"))
SCHEMAS = {
    "avro": '{"type": "record", "name": "E", "fields": [{"name": "text", "type": "string"},'
    ' {"name": "label", "type": ["null", "int"]}]}',
    "json-schema": '{"type": "object", "required": ["text"]}',
    "protobuf": 'syntax = "proto3"; message E { string text = 1; map<string, E> more = 2; }',
}
DECODE = {form: FORMS[form][1]()(schema) for form, schema in SCHEMAS.items()}
WAYS = get_args(Format)


def one(data: bytes) -> None:
    """Read bytes in one of the ways that a record can be read: the first byte chooses it."""
    if not data:
        return
    choice, value = data[0], data[1:]
    way = WAYS[choice % len(WAYS)]
    fields = FIELDS[choice // len(WAYS) % len(FIELDS)]
    record = Record("t", 0, 0, 0, None, value, ((shown_name(header_name(value[:20])), value),))
    try:
        body = parse(
            record,
            form=way,
            fields=fields,
            decode=DECODE.get(way),
        )
    except InvalidEvent as error:
        str(error).encode()
    else:
        body.text.encode()
    found = read_prediction(value, fingerprint="f", exits=3)
    if found is not None:
        found.domain.encode()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
