"""The same job without Offramp: transformers' pipeline in a Kafka loop and in Quix Streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from benchmarks.stream.worker import OUTPUT, Marks
from model.checkpoint.folder import load_model
from model.checkpoint.tokenizer import load_tokenizer

PIPELINE_BATCH = 32
Pipe = Callable[[Sequence[str]], list[dict[str, Any]]]


def pipeline(folder: Path) -> Pipe:
    """Return transformers' text-classification pipeline with a model's last exit."""
    import transformers

    transformers.logging.set_verbosity_error()
    network = load_model(folder)
    known, last = network.config, network.config.num_hidden_layers - 1
    config = transformers.BertConfig(
        vocab_size=known.vocab_size,
        hidden_size=known.hidden_size,
        num_hidden_layers=known.num_hidden_layers,
        num_attention_heads=known.num_attention_heads,
        intermediate_size=known.intermediate_size,
        max_position_embeddings=known.max_position_embeddings,
        type_vocab_size=known.type_vocab_size,
        layer_norm_eps=known.layer_norm_eps,
        id2label=dict(enumerate(known.labels)),
        label2id={name: i for i, name in enumerate(known.labels)},
    )
    bert = transformers.BertForSequenceClassification(config)
    names = {
        f"elasticbert.encoder.pooler.{last}.": "bert.pooler.",
        f"classifiers.{last}.": "classifier.",
        "elasticbert.": "bert.",
    }
    state = {}
    for name, value in network.state_dict().items():
        old = next((old for old in names if name.startswith(old)), None)
        if old == "elasticbert." and ".pooler." in name:
            continue  # of another exit
        if old is not None:
            state[names[old] + name.removeprefix(old)] = value
    bert.load_state_dict(state)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=load_tokenizer(folder),
        pad_token="[PAD]",  # noqa: S106  (not a password)
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        model_max_length=known.max_position_embeddings,
    )
    pipe = transformers.pipeline(
        "text-classification", model=bert.eval(), tokenizer=tokenizer, device="cpu"
    )
    return lambda texts: list(pipe(list(texts), batch_size=PIPELINE_BATCH, truncation=True))


def plain_loop(bootstrap: str, topic: str, pipe: Pipe, *, until: Callable[[Marks], bool]) -> Marks:
    """Read, run the pipeline, write, commit: kafka-python, at least once."""
    marks = Marks()
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"plain-{time.time_ns()}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=PIPELINE_BATCH,
    )
    while not until(marks):
        records = [r for rows in consumer.poll(timeout_ms=500).values() for r in rows]
        if not records:
            continue
        events = [orjson.loads(r.value) for r in records]
        answers = pipe([event["text"] for event in events])
        for record, event, answer in zip(records, events, answers, strict=True):
            value = orjson.dumps({"id": event["id"], "domain": event["domain"], **answer})
            producer.send(OUTPUT, key=record.key, value=value)
        producer.flush()
        consumer.commit()
        marks.add(len(records))
    consumer.close()
    producer.close()
    return marks


def quix_streams(
    bootstrap: str, topic: str, pipe: Pipe, state: Path, *, until: Callable[[Marks], bool]
) -> Marks:
    """Do the same as a Quix Streams application: text by text, as it processes, at least once.

    Raises:
        ImportError: quixstreams is not installed.
    """
    quix: Any = import_module("quixstreams")
    marks = Marks()
    app = quix.Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{time.time_ns()}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=state,
        loglevel=None,
    )

    def classify(event: dict[str, Any]) -> dict[str, Any]:
        (answer,) = pipe([event["text"]])
        marks.add(1)
        if until(marks):
            app.stop()
        return {"id": event["id"], "domain": event["domain"], **answer}

    texts = app.dataframe(app.topic(topic, value_deserializer="json"))
    texts.apply(classify).to_topic(app.topic(OUTPUT, value_serializer="json"))
    app.run()
    return marks


def bare_loop(bootstrap: str, topic: str, events: int, batch: int, **producing: object) -> Marks:
    """Copy a topic in transactions of at most `batch` records; `producing` is for the producer."""
    name = f"bare-{time.time_ns()}"
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=name,
        acks="all",
        retry_backoff_ms=5,
        **producing,
    )
    producer.init_transactions()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=batch,
    )
    marks = Marks()
    while marks.done < events:
        records = [r for rows in consumer.poll(timeout_ms=500).values() for r in rows]
        if not records:
            continue
        producer.begin_transaction()
        for r in records:
            producer.send(OUTPUT, key=r.key, value=r.value)
        producer.flush()
        offsets = {
            TopicPartition(r.topic, r.partition): OffsetAndMetadata(r.offset + 1, "", -1)
            for r in records
        }
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()
        marks.add(len(records))
    consumer.close()
    producer.close()
    return marks
