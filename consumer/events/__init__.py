"""Bytes and values: records, events, predictions and dead letters, without Kafka."""
