"""The copy in Kafka of the pins, freezes, settings and routes in Redis."""
