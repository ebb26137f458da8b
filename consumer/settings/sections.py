"""The sections of the settings: every setting with its default, its limits and its meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    field_serializer,
    model_validator,
)

from consumer.events.codec import Fields, Format
from consumer.events.formats import FORMS
from consumer.events.registry import RegistrySettings
from consumer.routes.route import Route, checked_promise
from consumer.routes.table import GroupRoutes
from consumer.section import Section
from consumer.settings.kafka import KafkaSecurity, check_servers
from consumer.settings.problems import redacted_url
from policy_state.algorithms.settings import HOLDOUT_MAX

PRETRAINED = Path(__file__).parents[2] / "model" / "pretrained" / "reviews"


NonNegative = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]  # that something waits; timers take no more

_DECADE_S = 10 * 365 * 86_400


class KafkaSettings(Section):
    """Where the events come from and go to."""

    bootstrap_servers: Annotated[str, AfterValidator(check_servers)] = Field(
        "localhost:9092", description="addresses of brokers, separated by commas"
    )
    group: str = Field(
        "offramp", min_length=1, description="consumer group; its workers share the partitions"
    )
    dead_letters: str = Field("offramp.dead-letters", description="topic for unusable records")
    policy_topic: str = Field(
        "offramp.policy",
        description="compacted topic; workers copy pins, freezes, settings, routes and audits "
        "there, and `policy rebuild` restores them from it",
    )
    format: Format = Field(
        "auto",
        description="auto: JSON if the value starts with {, plain text if it can be nothing else",
    )
    fields: Fields = Fields()
    registry: RegistrySettings = RegistrySettings()
    start: Literal["earliest", "latest"] = Field(
        "earliest",
        description="where a group begins to read, once: at the first records, or at the ends "
        "that the logs have when its first worker starts",
    )
    request_timeout_s: Seconds = Field(
        30.0, description="longest wait for any answer of the broker"
    )
    session_timeout_s: Annotated[float, Field(ge=6, le=86_400)] = Field(
        10.0, description="silence after which the group takes a worker's partitions away"
    )
    join_timeout_s: Seconds = Field(
        60.0, description="longest time to join the group before starting over"
    )
    metadata_max_age_s: Seconds = Field(
        10.0, description="how soon a new topic that matches is noticed"
    )
    buffer_bytes: Annotated[int, Field(ge=1024)] = Field(
        16 << 20, description="most bytes of records read ahead; the partitions share them"
    )
    security: KafkaSecurity = KafkaSecurity()

    def group_routes(self, given: tuple[Route, ...] | None) -> GroupRoutes:
        """Return what is known of the group's routes; `given` are those of the settings."""
        return GroupRoutes(self.group, given, self.dead_letters, self.policy_topic)

    @model_validator(mode="after")
    def _registry_is_named(self) -> Self:
        if self.format in FORMS and self.registry.url is None:
            msg = f"format {self.format} needs registry.url"
            raise ValueError(msg)
        return self


class RedisSettings(Section):
    """Where the counters are kept."""

    url: str = Field(
        "redis://localhost:6379/0",
        description="may also be rediss://, redis+sentinel:// or redis+cluster://",
    )
    timeout_s: Seconds = Field(
        2.0, description="longest wait for a connection, and for each answer"
    )
    password_file: Path | None = Field(None, description="read again at every connection")
    ca_file: Path | None = Field(None, description="certificates to trust, for rediss://")

    @field_serializer("url")
    def _redacted(self, url: str) -> str:
        return redacted_url(url)


class ModelSettings(Section):
    """Which network to run, and on what."""

    path: Path = Field(PRETRAINED, description="folder of a multi-exit model")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if there is one")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="auto: bf16 if a short measurement at the start shows that it is faster"
    )
    max_tokens: Annotated[int, Field(ge=3)] | None = Field(
        None, description="longer texts are cut; default: the number of positions of the model"
    )
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="most tokens that run at once, which bounds the memory; default: 4096 on a "
        "CPU, 32768 on CUDA",
    )
    least_int8_agreement: Annotated[float, Field(ge=0, le=1)] = Field(
        0.99, description="share of labels, at every exit, on which int8 must equal fp32"
    )


class PolicyOptions(Section):
    """How an exit is chosen. Holds when the policy is created; later it is the store's."""

    name: str = Field(
        "default", min_length=1, description="name of the policy; counters are kept under it"
    )
    algorithm: Literal["default", "uee-ucb"] = Field(
        "default", description="uee-ucb is exactly the published algorithm"
    )
    cost: Literal["layers", "split", "measured"] | tuple[NonNegative, ...] = Field(
        "layers",
        description="layers: the share of layers that run; split: half up to layer 7, all "
        "after it; measured: `costs.json` in the model folder; or a list with a "
        "number for each exit",
    )
    cost_weight: NonNegative = Field(
        0.1, description="cost of the full depth, in units of error; the paper uses 1"
    )
    alpha: NonNegative = Field(1.0, description="width of the exploration bonus")
    holdout: Annotated[float, Field(ge=0, le=HOLDOUT_MAX)] = Field(
        0.01,
        description="share of texts that run to the last exit, to measure what stopping earlier "
        "changes; 0: none",
    )
    gate: Annotated[float, AfterValidator(checked_promise)] = Field(
        0.0,
        description="share of texts that keep the label of their domain's exit though sure ones "
        "stop sooner, such as 0.99; 0: off. It needs a calibrated model",
    )
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="aim for the cheapest exit with at most this much more error than the last "
        "one, instead of using `cost_weight`",
    )
    scouts: NonNegative = Field(
        12.0, description="exploring texts per round of all workers; 0: all"
    )
    drift: NonNegative = Field(
        14.0,
        description="evidence of change, in nats, after which a domain is learnt afresh; 0: never",
    )


class StoreSettings(Section):
    """Whose counters are used, and for how many domains. Limits hold for a policy that is created.

    Later they are the store's: `offramp policy set`.
    """

    on_mismatch: Literal["stop", "new", "warm-start"] = Field(
        "stop",
        description="what happens if the policy belongs to another model; new: count under "
        "NAME@FINGERPRINT; warm-start: the same, and begin with a share of what "
        "NAME has learnt",
    )
    warm_start_weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="the share that a warm start takes of what was learnt"
    )
    domains: Annotated[int, Field(ge=1)] = Field(
        100_000,
        description="most domains that have separate counters; all others share `__overflow__`",
    )
    idle_s: Annotated[float, Field(ge=1, le=_DECADE_S)] = Field(
        30 * 86_400.0, description="a domain without a text for this long is forgotten"
    )
    rare_texts: Annotated[int, Field(ge=0)] = Field(
        100,
        description="a domain with fewer texts than this is forgotten sooner, after `rare_idle_s`",
    )
    rare_idle_s: Annotated[float, Field(ge=1, le=_DECADE_S)] = Field(
        86_400.0, description="a domain with few texts and none for this long is forgotten"
    )
    repair_records: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        1_000_000,
        description="most predictions that a worker reads back, to count texts that were "
        "predicted and not counted; 0: none",
    )


class BatchSettings(Section):
    """When a micro-batch is full."""

    max_events: Annotated[int, Field(ge=1, le=10_000)] = Field(
        256, description="most records of a batch"
    )
    max_tokens: Annotated[int, Field(ge=1)] = Field(
        32_768, description="most tokens of a batch, estimated at four bytes a token"
    )
    max_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        50, description="longest wait for more records, counted from the first record of the batch"
    )


OnError = Literal["dead-letter", "skip", "stop"]


class ErrorSettings(Section):
    """What becomes of a record that a step cannot use."""

    read: OnError = Field(
        "dead-letter",
        description="what happens if a batch of records is damaged, or its codec is not known",
    )
    parse: OnError = Field("dead-letter", description="what happens if a value is not an event")
    route: OnError = Field(
        "dead-letter", description="what happens if no domain can be found for a text"
    )
    infer: OnError = Field("dead-letter", description="what happens if the model fails on a text")
    produce: OnError = Field(
        "dead-letter", description="what happens if a prediction is larger than its topic allows"
    )


class WorkerSettings(Section):
    """How long the worker keeps trying."""

    drain_s: Seconds = Field(
        20.0,
        description="time to finish and commit the open batches when the worker is told to stop",
    )
    give_up_s: Seconds = Field(
        120.0,
        description="time without a committed batch after which errors end the worker; at its "
        "start it waits this long for Redis, and for Kafka",
    )
    stuck_s: Seconds = Field(
        300.0,
        description="a batch, or a turn of the main loop, that takes longer ends the worker, "
        "so that it can be restarted",
    )


class MetricsSettings(Section):
    """The port for `/metrics`, `/live` and `/ready`."""

    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        0, description="port for metrics and probes, one for all workers of `--processes`; 0: none"
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address that the port is opened at; 0.0.0.0 or ::, for all of them",
    )
    domains: Annotated[tuple[str, ...], Field(max_length=100)] = Field(
        (),
        description="the only domains that metrics name; all others are counted together",
    )


class LogSettings(Section):
    """How a worker writes its log."""

    format: Literal["text", "json"] = Field(
        "text", description="text: lines with key=value for people; json: an object in each line"
    )
