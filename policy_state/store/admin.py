"""The port for operators: changes to domains and settings, audit, import, rebuild."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from policy_state.errors import InvalidInput
from policy_state.labelled import LabelledDuels
from policy_state.store.port import StatsStore
from policy_state.store.values import DomainSnapshot, Limits, OpenedPolicy, PolicyMeta
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_state.algorithms.settings import PolicySettings
    from policy_state.store.offsets import Counted

AUDIT_ENTRIES: Final = 10_000
"""About how many changes the audit keeps."""

SAMPLES: Final = 5_000
"""About how many samples a policy keeps, of all its domains together."""

TEXT_MAX_CHARACTERS: Final = 200
"""Longest reason and longest name of who changed something."""

PIN_MAX_MS: Final = 3650 * 86_400_000
"""Longest time that a pin may be given; one without a time lasts until it is unpinned."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Send every text of the domain to one exit. The domain learns on."""

    exit: int
    for_ms: int | None = None  # from now; None: until it is unpinned


@dataclass(frozen=True, slots=True)
class Unpin:
    """Let the policy choose again."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Count nothing more, so that the domain's choice stays as it is."""


@dataclass(frozen=True, slots=True)
class Unfreeze:
    """Count again."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget what was learnt, all of it or but for a share, and what labels said.

    Keeping nothing starts a new epoch: texts that were decided before it are not counted any more.
    """

    keep: float = 0.0
    epoch: int | None = None  # only if the domain is in this epoch: for drift that many may see

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.keep < 1:
            raise InvalidInput(f"keep {self.keep}, expected a share from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget the domain as if it had never been seen, pin and epoch included."""


@dataclass(frozen=True, slots=True)
class Label:
    """Correct what the domain's steps are worth by labels, in place of those it had."""

    labels: LabelledDuels


@dataclass(frozen=True, slots=True)
class Unlabel:
    """Go by the credits alone again."""


Change = Pin | Unpin | Freeze | Unfreeze | Reset | Remove | Label | Unlabel


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to `change`."""

    before: DomainSnapshot
    after: DomainSnapshot
    done: bool = True  # False where it was so already: nothing was changed, nor audited


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what, when and why."""

    time_ms: int  # the store's clock
    action: str
    domain: str | None  # None: the policy as a whole
    by: str
    reason: str
    detail: Mapping[str, Any]
    before: DomainSnapshot | None = None  # where counters were lost: what they were
    automatic: bool = False  # nobody asked for it: a worker did it, or the store


@dataclass(frozen=True, slots=True)
class Sample:
    """A domain as it was: samples are taken at 16, 24, 32, 48, 64 .. texts, twice a doubling."""

    time_ms: int  # the store's clock
    record: DomainSnapshot


class PolicyAdmin(StatsStore, Protocol):
    """What operators ask of a store; see `StatsStore`.

    Every change is written to the audit; what would change nothing is neither done nor audited.
    """

    def describe(self) -> OpenedPolicy:
        """Return the open policy with the settings in force now."""
        ...

    def change(
        self, domain: str, change: Change, *, by: str, reason: str, automatic: bool = False
    ) -> Changed:
        """Change one domain's record; workers see it with the domain's next snapshot.

        Args:
            domain: Which.
            change: What.
            by: Who, for the audit.
            reason: Why, for the audit.
            automatic: Nobody asked for it; a reset is then one of drift.

        Raises:
            DomainNotFound: There is no such domain; only pin and freeze may come before its texts.
            StoreFull: The policy has no room for another domain.
        """
        ...

    def configure(
        self, settings: PolicySettings, limits: Limits, *, revision: int, by: str, reason: str
    ) -> OpenedPolicy:
        """Put settings in force for all workers, if the policy is still at `revision`.

        Those that are in force already stay at their revision.

        Raises:
            SettingsConflict: Somebody else changed them meanwhile; nothing was written.
        """
        ...

    def load(self, records: Mapping[str, DomainSnapshot], *, replace: bool) -> tuple[str, ...]:
        """Write whole domains from elsewhere; return those that were left out.

        Args:
            records: What to write, at most a few hundred at a time.
            replace: Whether a domain that the policy knows is replaced, or left out. Where there
                is no room for a new domain it is left out too.
        """
        ...

    def watermarks(self) -> Mapping[str, Counted]:
        """Return what is counted of each partition, by `PartitionDeltas.source`."""
        ...

    def adopt_watermarks(self, marks: Mapping[str, Counted]) -> None:
        """Take these for the partitions that nothing was counted of so far."""
        ...

    def restart(self, *, by: str, reason: str) -> None:
        """Set all counters to zero and all offsets below the watermarks to not counted.

        Domains keep epoch, pin, freeze and labels. Workers count on above the watermarks meanwhile.
        """
        ...

    def note(
        self,
        action: str,
        detail: Mapping[str, Any],
        *,
        by: str,
        reason: str,
        automatic: bool = False,
    ) -> None:
        """Write to the audit what was done in many steps: an import, a rebuild."""
        ...

    def audit(self, *, domain: str | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Return the latest changes, the newest first; of one domain or of everything."""
        ...

    def samples(self, domain: str, *, limit: int = 100) -> tuple[Sample, ...]:
        """Return the latest samples of a domain, the newest first."""
        ...


def changed_settings(
    before: PolicyMeta, settings: PolicySettings, limits: Limits
) -> dict[str, list[Any]]:
    """Return the settings and limits that differ by name, each as what it was and what it is."""
    old = asdict(before.settings) | asdict(before.limits)
    new = asdict(settings) | asdict(limits)
    return {name: [old[name], new[name]] for name in new if old[name] != new[name]}


def check_change(change: Change, *, exits: int) -> None:
    """Raise `InvalidInput` for a pin, or for labels, that this policy cannot have."""
    if isinstance(change, Label) and change.labels.exits != exits:
        raise InvalidInput(
            f"labels of {counted(change.labels.exits, 'exit')}, the policy has exits 0..{exits - 1}"
        )
    if isinstance(change, Pin):
        if not 0 <= change.exit < exits:
            raise InvalidInput(
                f"exit {change.exit} does not exist; the policy has exits 0..{exits - 1}"
            )
        if change.for_ms is not None and not 1 <= change.for_ms <= PIN_MAX_MS:
            raise InvalidInput(
                f"pin for {change.for_ms} ms, limit 1..{PIN_MAX_MS} (ten years); without a time it "
                "lasts until it is unpinned"
            )


def check_signed(by: str, reason: str) -> None:
    """Raise where it is not said who changes something, or at too great a length."""
    if not by:
        raise InvalidInput("a change needs the name of who makes it")
    for name, text in (("name", by), ("reason", reason)):
        if len(text) > TEXT_MAX_CHARACTERS:
            raise InvalidInput(f"{name} of {len(text)} characters, limit {TEXT_MAX_CHARACTERS}")
