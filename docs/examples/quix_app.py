"""Offramp inside a Quix Streams application: texts of a topic in, predictions out.

    pip install quixstreams
    export OFFRAMP_REDIS__URL=redis://localhost:6379/0
    export OFFRAMP_KAFKA__BOOTSTRAP_SERVERS=localhost:9092 TOPIC=texts.hotels
    python -m docs.examples.quix_app

What comes between two checkpoints is a batch. After a crash the last one comes again: it is
predicted and written again, and counted once.
"""

import os

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from offramp import Offramp, Record, encode_prediction, load_settings

settings = load_settings()
app = Application(
    broker_address=settings.kafka.bootstrap_servers,
    consumer_group=settings.kafka.group,
    auto_offset_reset="earliest",
    commit_every=256,  # a batch has no more texts
    commit_interval=0.5,
)


class Predictions(BatchingSink):
    """Predicts each batch and writes what comes of it, before Quix Streams commits its offsets."""

    def __init__(self, offramp: Offramp) -> None:
        super().__init__()
        self.offramp = offramp
        self.producer = app.get_producer()

    def write(self, batch: SinkBatch) -> None:
        """Predict and write."""
        records = [
            Record(batch.topic, batch.partition, item.offset, item.timestamp, item.key, item.value)
            for item in batch
        ]
        outcome = self.offramp.process(records)
        for prediction in outcome.predictions:
            event = prediction.event
            value = encode_prediction(prediction)
            self.producer.produce(event.output, value, key=event.record.key)
        for letter in outcome.dead_letters:
            self.producer.produce(settings.kafka.dead_letters, letter.record.value)
        self.producer.flush()


with Offramp(settings) as offramp:
    texts = app.topic(os.environ["TOPIC"], key_deserializer="bytes", value_deserializer="bytes")
    app.dataframe(texts).sink(Predictions(offramp))
    app.run(timeout=float(os.environ.get("STOP_IDLE_AFTER_S", "0")))  # 0: never
