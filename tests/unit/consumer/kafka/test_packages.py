"""What has to come along with the package."""

import crc32c
from kafka.record import util


def test_kafka_checksums_are_not_counted_in_python():
    """kafka-python takes the fast checksum if it is there, else it is ten times slower."""
    assert util._crc32c is crc32c.crc32c
