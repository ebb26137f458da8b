"""Records handed over in bulk go where the client itself would send them."""

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as theirs

from consumer.kafka.writing.writes import murmur2


@given(st.binary(max_size=70))
def test_keys_are_hashed_as_kafkas_clients_hash_them(key):
    """A key has the same hash as in kafka-python, whatever its length is."""
    assert murmur2(key) == theirs(key)
