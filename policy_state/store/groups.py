"""The ports to what belongs to consumer groups: their routes, and where they are in Kafka.

What a route says is the stream's business: here a route is an object with a name, and what counts
is their order and that two changes at the same time do not undo each other.

Positions are kept here because Kafka forgets them: after `offsets.retention.minutes` it drops the
offsets of a topic that a group reads no longer, and all those of a group without members. What is
kept here never lies ahead of what was committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from policy_state.errors import SettingsConflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.store.admin import AuditEntry

ROUTES_MAX: Final = 200
"""How many routes a group may have: every worker tries them in turn on a topic it has not seen."""


@dataclass(frozen=True, slots=True)
class StoredRoutes:
    """The routes of one group, in order."""

    revision: int  # rises with every change; 0: nothing was ever written
    routes: tuple[Mapping[str, Any], ...] = ()
    lost: bool = False  # there is nothing, though the history tells of changes


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """A group of one Kafka: two clusters may have groups of the same name."""

    cluster: str  # its id
    name: str


@dataclass(frozen=True, slots=True)
class StoredPositions:
    """What is known of one group."""

    began: bool  # whether a worker of the group was ever there
    offsets: Mapping[str, int] = field(default_factory=dict)  # by `<topic id>/<partition>`


class RouteStore(Protocol):
    """Shared routes, by consumer group. Needs no open policy: they outlive models and policies.

    Safe to use from several threads. Every method may raise `StoreUnavailable`; every call may be
    repeated without harm.
    """

    def routes(self, group: str) -> StoredRoutes:
        """Return the routes of a group: cheap enough to ask for every other second."""
        ...

    def write_routes(  # noqa: PLR0913 - a change, and who makes it and why
        self,
        group: str,
        routes: Sequence[Mapping[str, Any]],
        *,
        revision: int,
        action: str,
        detail: Mapping[str, Any],
        by: str,
        reason: str,
    ) -> StoredRoutes:
        """Replace the routes of a group, if they are still at `revision`, and audit it.

        Args:
            group: Whose routes.
            routes: All of them, in order.
            revision: The one that the change starts from.
            action: What the change is, for the history.
            detail: What was changed, for the history.
            by: Who changes it.
            reason: Why.

        Raises:
            SettingsConflict: Somebody else changed them meanwhile; nothing was written.
        """
        ...

    def put_routes_back(self, group: str, known: StoredRoutes, *, by: str, reason: str) -> bool:
        """Write routes that went missing, as they were, and audit it; return whether it was done.

        Nothing is written where there are routes, or where the history tells of a later change
        than the one that made these: somebody else knows what that one made.
        """
        ...

    def route_history(self, group: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Return the latest changes of the routes of a group, the newest first."""
        ...


class PositionStore(Protocol):
    """Positions of consumer groups. Needs no open policy: groups may share one, or change it.

    Safe to use from several threads. Every method may raise `StoreUnavailable`; every call may be
    repeated without harm.
    """

    def group_began(self, group: ConsumerGroup) -> bool:
        """Return whether `begin_group` was ever called for a group."""
        ...

    def begin_group(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> bool:
        """Write where a group begins, all of it or nothing; say whether this call did.

        Of several workers that start at the same time the first one decides for all.
        """
        ...

    def position(self, group: ConsumerGroup, source: str) -> int | None:
        """Return where a group continues in `<topic id>/<partition>`, None where nobody knows."""
        ...

    def positions(self, group: ConsumerGroup) -> StoredPositions:
        """Return all that is known of a group."""
        ...

    def keep_positions(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> None:
        """Note where a group continues in some partitions."""
        ...


def conflict(group: str, revision: int) -> SettingsConflict:
    """Return the error of a change that starts from what is no longer in force."""
    return SettingsConflict(
        f"routes of group {group}: somebody changed them, revision {revision} is in force; "
        "nothing was written"
    )
