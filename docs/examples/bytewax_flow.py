"""Offramp inside a Bytewax dataflow: lines of a file in, predictions out.

    pip install bytewax
    export OFFRAMP_REDIS__URL=redis://localhost:6379/0 LINES=reviews.txt
    python -m bytewax.run docs.examples.bytewax_flow

The file's lines are numbered, so a run that is repeated predicts again but learns nothing twice.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

from offramp import Offramp, Record, encode_prediction, load_settings

TOPIC = "texts.lines"  # matches the default route: the domain is `lines`


def read(path: Path) -> list[Record]:
    """Return the lines of a file as records, numbered."""
    now_ms = int(time.time() * 1000)
    lines = path.read_bytes().splitlines()
    return [Record(TOPIC, 0, i, now_ms, None, line) for i, line in enumerate(lines)]


offramp = Offramp(load_settings())


def predict(batch: list[Record]) -> list[str]:
    """Run a micro-batch; what cannot be used is named instead."""
    outcome = offramp.process(batch)
    said = [encode_prediction(prediction).decode() for prediction in outcome.predictions]
    return said + [
        f"{letter.record.position}: {letter.error_class}" for letter in outcome.dead_letters
    ]


flow = Dataflow("offramp")
records = op.input("lines", flow, TestingSource(read(Path(os.environ["LINES"])), batch_size=64))
op.output("out", op.flat_map_batch("predict", records, predict), StdOutSink())
