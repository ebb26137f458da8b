"""What has to come along with the package."""

import subprocess
import sys

import crc32c
from kafka.record import util

from consumer.kafka.reading.raw_records import codecs


def test_kafka_checksums_are_not_counted_in_python():
    """kafka-python takes the fast checksum if it is there, else it is ten times slower."""
    assert util._crc32c is crc32c.crc32c


def test_every_codec_of_kafka_can_be_read():
    """A topic's `compression.type` has the broker compress what nobody asked its readers about."""
    assert dict(codecs()) == {"gzip": "", "snappy": "", "lz4": "", "zstd": ""}


def test_a_codec_that_is_missing_is_named_with_its_package():
    """What `worker --check` and the worker's first lines say then."""
    script = "import sys; sys.modules['lz4.frame'] = None\n"
    script += "from consumer.kafka.reading.raw_records import codecs; print(codecs()['lz4'])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "lz4 cannot be read: the package lz4 is not installed\n"
