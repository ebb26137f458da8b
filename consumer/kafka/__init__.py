"""Everything that talks to Kafka: connections, topics, and the stream of a worker."""
