"""How much the benchmark of the stream measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Rounds, events and seconds of each part."""

    copied_events: int  # a run of the plumbing
    copy_rounds: int
    texts_a_domain: int
    job_events: int  # a round, at most
    job_seconds: float  # of one contestant in a round
    job_rounds: int
    learn_seconds: float  # of Offramp, before it counts
    waits_ms: tuple[int, ...]  # `max_wait_ms` of the latency
    bert_seconds: float  # of one depth
    bert_batches: Mapping[int, int]  # texts a batch, by the layer where all of them stop


FULL = Size(
    copied_events=12_000,
    copy_rounds=4,
    texts_a_domain=100,
    job_events=12_000,
    job_seconds=6.0,
    job_rounds=3,
    learn_seconds=12.0,
    waits_ms=(10, 50),
    bert_seconds=3.0,
    bert_batches={1: 256, 3: 256, 12: 32},
)
QUICK = Size(
    copied_events=4_000,
    copy_rounds=1,
    texts_a_domain=16,
    job_events=4_000,
    job_seconds=1.0,
    job_rounds=1,
    learn_seconds=2.0,
    waits_ms=(50,),
    bert_seconds=1.0,
    bert_batches={12: 16},
)
