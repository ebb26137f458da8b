"""The values that a store of counters takes and gives, and the checks of a call to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.settings import PolicySettings
from policy_state.domains import domain_key
from policy_state.errors import FingerprintMismatch, InvalidInput
from policy_state.labelled import LabelledDuels, corrected
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from policy_state.store.offsets import Range, Status

LAYERS_MAX: Final = 10_000
"""The most layers that a model of a policy may have."""

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How many domains a policy keeps, and for how long without a text."""

    domains: int = 100_000  # further ones share `OVERFLOW_DOMAIN`
    idle_ms: int = 30 * 24 * _HOUR_MS
    rare_idle_ms: int = 24 * _HOUR_MS  # for domains of fewer than `rare_texts`
    rare_texts: int = 100

    def __post_init__(self) -> None:
        """Refuse what would keep nothing."""
        if not 1 <= self.domains <= COUNT_MAX:
            raise InvalidInput(f"{counted(self.domains, 'domain')}, expected 1 or more")
        if not (1 <= self.idle_ms <= COUNT_MAX and 1 <= self.rare_idle_ms <= COUNT_MAX):
            raise InvalidInput(f"idle after {self.idle_ms} and {self.rare_idle_ms} ms, from 1")
        if not 0 <= self.rare_texts <= COUNT_MAX:
            raise InvalidInput(f"rare_texts {self.rare_texts}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class PolicyMeta:
    """What the counters of one policy belong to."""

    name: str
    fingerprint: str  # digest of weights, tokenizer, labels, exits
    layers: tuple[int, ...]  # the layer of every exit
    settings: PolicySettings = field(default_factory=PolicySettings)
    limits: Limits = field(default_factory=Limits)
    calibrated: bool = False  # whether the model is, so that counters hold credits and scores
    classes: int = 2  # that the model tells apart

    def __post_init__(self) -> None:
        """Refuse names that cannot be told apart or shown."""
        domain_key(self.name)
        if not self.fingerprint or not self.layers:
            raise InvalidInput(f"policy {self.name!r} has no fingerprint or no layers")
        if not all(type(layer) is int and layer <= LAYERS_MAX for layer in self.layers):
            raise InvalidInput(
                f"policy {self.name!r} has the layers {str(self.layers)[:100]}, expected numbers "
                f"of layers, {LAYERS_MAX} at most"
            )
        cost_vector(self.settings.cost, self.layers, weight=self.settings.cost_weight)
        if not 2 <= self.classes <= COUNT_MAX:  # noqa: PLR2004
            raise InvalidInput(
                f"policy {self.name!r} has {self.classes} classes, expected 2 or more"
            )

    @property
    def exits(self) -> int:
        """How many exits the policy chooses between."""
        return len(self.layers)


@dataclass(frozen=True, slots=True)
class OpenedPolicy:
    """The policy as the store holds it."""

    id: str
    meta: PolicyMeta  # settings and limits are the stored ones
    created: bool  # True where this call created it
    revision: int = 1  # rises with every change of settings or limits
    created_ms: int = 0  # the store's clock when it was created
    changes: int = 0  # that the audit was told of, at least; it keeps the latest


@dataclass(frozen=True, slots=True)
class PartitionDeltas:
    """What the texts of one piece of one partition add to their domains.

    Covers the offsets `first_offset..next_offset - 1`; not every offset need hold a text.
    """

    topic_id: str  # the id, not the name: a recreated topic starts at offset 0 again
    partition: int
    first_offset: int
    next_offset: int
    deltas: Mapping[str, ExitStats]  # by domain
    epochs: Mapping[str, int] = field(default_factory=dict)  # of the snapshots decided with

    def __post_init__(self) -> None:
        """Refuse a range that cannot be."""
        if not self.topic_id or self.partition < 0:
            raise InvalidInput(f"topic id {self.topic_id!r}, partition {self.partition}")
        if not 0 <= self.first_offset < self.next_offset <= COUNT_MAX:
            raise InvalidInput(
                f"offsets {self.first_offset}..{self.next_offset - 1} of partition "
                f"{self.partition}, expected a range with something in it, up to {COUNT_MAX}"
            )

    @property
    def source(self) -> str:
        """The name of the watermark: `<topic id>/<partition>`."""
        return f"{self.topic_id}/{self.partition}"


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """What became of one part, and where its partition now stands."""

    status: Status
    counted_upto: int  # offsets below are counted, gaps apart
    missing: tuple[Range, ...] = ()  # of an overlap: the pieces to send again, each as a part
    gap: int = 0  # offsets that this part left out above what was counted: later texts, or lost


class Refusal(StrEnum):
    """Why texts of a domain were not counted under its name. All are normal answers."""

    FROZEN = "frozen"  # not counted: the domain does not learn for now
    STALE_EPOCH = "stale-epoch"  # not counted: decided before the domain was started afresh
    OVER_CAP = "over-cap"  # counted under `OVERFLOW_DOMAIN`: the policy has no room for new domains


@dataclass(frozen=True, slots=True)
class DomainSnapshot:
    """What is known about one domain."""

    stats: ExitStats
    epoch: int  # how often the domain was started afresh, by whomever
    last_seen_ms: int | None  # the store's clock at the last text; None if never
    pin: int | None = None  # the exit that every text must take
    pin_until_ms: int | None = None  # the store's clock; None: until it is unpinned
    pin_reason: str = ""
    frozen: bool = False  # counts nothing, so its choice stays
    freeze_reason: str = ""
    drifts: int = 0  # how often it was started afresh because it had drifted
    labels: LabelledDuels | None = None  # that correct what its steps are worth

    @classmethod
    def unseen(cls, exits: int) -> DomainSnapshot:
        """Return the snapshot of a domain that nothing is known about."""
        return cls(ExitStats.zeros(exits), epoch=0, last_seen_ms=None)

    @property
    def corrected(self) -> ExitStats:
        """The counters that its exit is chosen by: `stats`, unless labels correct its credits."""
        return corrected(self.stats, self.labels)


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer to `apply`."""

    outcomes: tuple[PartitionOutcome, ...]  # one per part, in the order given
    snapshots: Mapping[str, DomainSnapshot]  # of the parts' domains and of `also_read`, after it
    refused: Mapping[str, Refusal]  # the domains not counted under their name; often none
    revision: int  # of the settings
    settings: PolicySettings  # those in force: where `revision` is new, take them
    limits: Limits  # in force, too: for who has to create the policy again


@dataclass(frozen=True, slots=True)
class Totals:
    """All domains of a policy together.

    The texts that its domains hold are `stats.observed[0] + brought - gone`; `stats` only grows.
    """

    stats: ExitStats  # everything counted from the stream
    domains: int
    brought: int = 0  # texts that came with an import or a warm start
    gone: int = 0  # texts that left with a reset, a removal or an idle domain
    skipped: int = 0  # texts not counted: of a frozen domain, an old epoch, a lost watermark
    lost: int = 0  # offsets that are not counted, and not known as gaps: there were too many
    marks: int = 0  # watermarks there should be
    gapped: int = 0  # partitions whose watermarks should have gaps


def checked_domains(
    parts: Sequence[PartitionDeltas], also_read: Collection[str], *, exits: int
) -> tuple[str, ...]:
    """Return the domains of a call to `apply`, each once, or raise what is wrong with the call."""
    domains = dict.fromkeys(
        [*(domain for part in parts for domain in part.deltas), *also_read]  # in this order
    )
    for domain in domains:
        domain_key(domain)
    for part in parts:
        for domain, delta in part.deltas.items():
            if delta.exits != exits:
                raise InvalidInput(
                    f"domain {domain}: counters of {counted(delta.exits, 'exit')}, "
                    f"the policy has exits 0..{exits - 1}"
                )
            if max(delta.observed + delta.played) > COUNT_MAX:
                raise InvalidInput(f"domain {domain}: a count above {COUNT_MAX}: {delta}")
    return tuple(domains)


def is_same_model(asked: PolicyMeta, stored: PolicyMeta) -> bool:
    """Return whether the counters of both can be added up."""
    return (asked.fingerprint, asked.layers) == (stored.fingerprint, stored.layers)


_MEND_MISMATCH: Final = (
    "`offramp worker --set store.on_mismatch=new` counts under a name of this model beside it, "
    "`--set store.on_mismatch=warm-start` does so and begins with a share of what was learnt, "
    "`--set policy.name=NAME` chooses a name for it"
)


def check_same_model(asked: PolicyMeta, stored: PolicyMeta) -> None:
    """Raise `FingerprintMismatch` where the stored counters were learnt with another model."""
    if not is_same_model(asked, stored):
        raise FingerprintMismatch(
            f"policy {asked.name}: this model has fingerprint {asked.fingerprint} and layers "
            f"{asked.layers}, the stored counters belong to {stored.fingerprint} and "
            f"{stored.layers}; {_MEND_MISMATCH}"
        )


def check_heartbeat(instance: str, fields: Mapping[str, str | int], ttl_s: float) -> None:
    """Raise `InvalidInput` for a heartbeat that cannot be kept."""
    domain_key(instance)
    if not fields or not ttl_s > 0:
        raise InvalidInput(
            f"heartbeat of {instance}: {counted(len(fields), 'field')} for {ttl_s} s, "
            f"expected 1 or more, "
            "and a time above 0"
        )
