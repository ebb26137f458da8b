"""Offramp in a plain loop: lines of standard input in, predictions out.

    export OFFRAMP_REDIS__URL=redis://localhost:6379/0
    python -m docs.examples.plain_loop < reviews.txt

The lines are numbered, so a run that is repeated predicts again but learns nothing twice.
"""

import sys
import time
from itertools import islice

from offramp import Offramp, Record, encode_prediction, load_settings

TOPIC = "texts.lines"  # matches the default route: the domain is `lines`
BATCH = 64

numbered = enumerate(sys.stdin.buffer)
with Offramp(load_settings()) as offramp:
    while batch := list(islice(numbered, BATCH)):
        now_ms = int(time.time() * 1000)
        records = [Record(TOPIC, 0, i, now_ms, None, line.strip()) for i, line in batch]
        outcome = offramp.process(records)
        for prediction in outcome.predictions:
            print(encode_prediction(prediction).decode())
        for letter in outcome.dead_letters:
            print(f"{letter.record.position}: {letter.message}", file=sys.stderr)
