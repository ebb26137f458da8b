"""How much the benchmark of the stream measures."""

from __future__ import annotations

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
    waits_ms: tuple[int, ...]  # `max_wait_ms` of the latency
    bert_seconds: float  # of one depth


FULL = Size(16_000, 5, 136, 15_000, 4.0, 3, (10, 50), 4.0)
QUICK = Size(4_000, 1, 16, 4_000, 1.0, 1, (50,), 1.0)
