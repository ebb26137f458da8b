"""Every metric with its type, its labels and its meaning; `docs/observing.md` has the same table.

Names, types and labels are promises: dashboards and alerts of others go by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Key = tuple[str, tuple[str, ...]]
"""The name of a metric, and the values of its labels."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `known` lists label values that are reported from the start, as 0."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[str, ...] = ()  # of the only label

    def keys(self) -> Iterator[Key]:
        """Yield the series that exist before anything is counted."""
        if self.kind != "gauge":
            yield from ((self.name, (value,)) for value in self.known)
            if not self.labels:
                yield self.name, ()


STAGES: Final = ("poll", "parse", "tokenise", "decide", "infer", "write", "apply", "commit")
_SHORT: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_LONG: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 1800.0, 7200.0, 43_200.0, 172_800.0),
)
_SIZES: Final = (1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 10_000.0)

# What committed batches add up to.
RECORDS: Final = Metric(
    "offramp_records_total",
    "counter",
    "records of committed batches: predicted, dead_letter, or skipped by `errors.*`",
    ("outcome",),
    known=("predicted", "dead_letter", "skipped"),
)
BATCH_RECORDS: Final = Metric(
    "offramp_batch_records", "histogram", "records of a committed batch", (), _SIZES
)
STAGE: Final = Metric(
    "offramp_stage_seconds",
    "histogram",
    "time that a committed batch spent in a stage; apply is the call of Redis",
    ("stage",),
    _SHORT,
    known=STAGES,
)
QUEUEING: Final = Metric(
    "offramp_queueing_seconds",
    "histogram",
    "from the timestamp of a record in Kafka until its batch was taken",
    (),
    _LONG,
)
PROCESSING: Final = Metric(
    "offramp_processing_seconds",
    "histogram",
    "from then until the batch was committed, for each record",
    (),
    _LONG,
)
END_TO_END: Final = Metric(
    "offramp_end_to_end_seconds",
    "histogram",
    "from the timestamp of a record in Kafka until its batch was committed",
    (),
    _LONG,
)
TEXTS: Final = Metric(
    "offramp_texts_total",
    "counter",
    "texts that stopped at an exit; `domain` is empty unless `metrics.domains` lists it",
    ("domain", "exit"),
)
LAYERS: Final = Metric(
    "offramp_layers_run_total", "counter", "layers that texts ran through", ("domain",)
)
FULL_LAYERS: Final = Metric(
    "offramp_layers_full_depth_total",
    "counter",
    "layers that the same texts would have run through to the last exit",
    ("domain",),
)
OBSERVED: Final = Metric(
    "offramp_exit_observed_total", "counter", "texts that computed an exit", ("exit",)
)
DISAGREED: Final = Metric(
    "offramp_exit_disagreed_total",
    "counter",
    "of those, texts whose label there differed from the label at exit 0",
    ("exit",),
)
HOLDOUT: Final = Metric(
    "offramp_holdout_texts_total", "counter", "texts of the holdout, which ran to the last exit"
)
HOLDOUT_AGREED: Final = Metric(
    "offramp_holdout_agreed_total",
    "counter",
    "of those, texts whose label at the exit that was chosen equals the label at the last exit",
)
GATED: Final = Metric(
    "offramp_gated_texts_total", "counter", "sure texts that a gate let stop before their exit"
)
TRUNCATED: Final = Metric(
    "offramp_truncated_texts_total", "counter", "texts that were longer than the model reads"
)
DEAD_LETTERS: Final = Metric(
    "offramp_dead_letters_total",
    "counter",
    "dead letters written, by the step that refused the record and the class of its error",
    ("stage", "class"),
)

# What happens beside that.
APPLIED: Final = Metric(
    "offramp_apply_total",
    "counter",
    "answers of Redis for each partition of a batch: applied, duplicate (counted before) or "
    "overlap (in part); unreachable: no answer",
    ("status",),
    known=("applied", "duplicate", "overlap", "unreachable"),
)
GAPS: Final = Metric(
    "offramp_gap_offsets_total", "counter", "offsets passed over below what was counted"
)
LOST: Final = Metric(
    "offramp_lost_texts_total", "counter", "texts that were held for Redis and given up"
)
REBALANCES: Final = Metric(
    "offramp_rebalances_total", "counter", "new generations of the group since the worker joined it"
)
GIVEN_BACK: Final = Metric(
    "offramp_batches_given_back_total",
    "counter",
    "times that an error had the worker give back its open batches",
)
ENDS: Final = Metric(
    "offramp_worker_ends_total",
    "counter",
    "workers that ended by themselves under `--processes`, and were started again",
)

# What is so now.
INFO: Final = Metric(
    "offramp_worker_info",
    "gauge",
    "always 1; the labels name the version, the policy and the fingerprint of the model",
    ("worker", "version", "policy", "model"),
)
READY: Final = Metric("offramp_ready", "gauge", "1 if `/ready` says so", ("worker",))
DEGRADED: Final = Metric(
    "offramp_degraded",
    "gauge",
    "1 while Redis is unreachable, so that exits are chosen by what is known",
    ("worker",),
)
SNAPSHOT_AGE: Final = Metric(
    "offramp_snapshot_age_seconds", "gauge", "time since Redis last answered", ("worker",)
)
HELD: Final = Metric(
    "offramp_held_texts", "gauge", "texts that are predicted and not counted yet", ("worker",)
)
ASSIGNED: Final = Metric(
    "offramp_partitions_assigned", "gauge", "partitions that the worker reads", ("worker",)
)
STANDING: Final = Metric(
    "offramp_partitions_standing_still",
    "gauge",
    "of those, partitions that something holds up",
    ("worker",),
)
LAG: Final = Metric(
    "offramp_partition_lag_records",
    "gauge",
    "records that are readable and not committed",
    ("worker", "topic", "partition"),
)
PACE: Final = Metric(
    "offramp_pace_records_per_second",
    "gauge",
    "records that the worker takes in a second of work, learnt over the last minute",
    ("worker",),
)
BACKLOG: Final = Metric(
    "offramp_backlog_seconds",
    "gauge",
    "time that the worker needs for its lag at this pace",
    ("worker",),
)
GPU_USED: Final = Metric(
    "offramp_gpu_memory_used_bytes", "gauge", "memory that torch has taken of the GPU", ("worker",)
)
GPU_TOTAL: Final = Metric(
    "offramp_gpu_memory_total_bytes", "gauge", "memory that the GPU has", ("worker",)
)
GPU_BUSY: Final = Metric(
    "offramp_gpu_utilization_ratio",
    "gauge",
    "share of time that the GPU was busy; needs the package `nvidia-ml-py`",
    ("worker",),
)

METRICS: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
BY_NAME: Final = {metric.name: metric for metric in METRICS}
