"""The stream: Kafka records in, predictions out; the one place that knows model and policy."""

__version__ = "0.1.0"
