"""The copy in Kafka of what people have set in Redis."""
