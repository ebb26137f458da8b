"""The port to shared state: what a statistics store is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from policy_state.store.values import (
        Applied,
        DomainSnapshot,
        OpenedPolicy,
        PartitionDeltas,
        PolicyMeta,
        Totals,
    )


class StatsStore(Protocol):
    """Shared counters. One store object speaks for one policy, the one it opened last.

    Safe to use from several threads. Every method may raise `StoreUnavailable`; every call may be
    repeated without harm.
    """

    def open(self, policy: PolicyMeta) -> OpenedPolicy:
        """Bind this store to a policy, creating it on first use.

        Raises:
            FingerprintMismatch: The policy exists with another fingerprint or other layers.
        """
        ...

    def apply(
        self,
        parts: Sequence[PartitionDeltas],
        *,
        also_read: Collection[str] = (),
        rebuild: bool = False,
    ) -> Applied:
        """Add the parts that were not counted before, all in one atomic step and one round trip.

        Each part is held against what was counted of its partition, in the order given: wholly
        counted is a duplicate, partly an overlap, and neither changes anything. A part that was
        sent without getting an answer must be sent again as it was (not merged with later ones),
        so that it is recognised. A part whose watermark went missing may have been counted, so it
        is a duplicate, too. Everything is checked before the first write.

        A domain that the policy has no room for shows the snapshot of `OVERFLOW_DOMAIN`, where its
        texts are counted.

        Args:
            parts: What to add.
            also_read: Further domains to answer with.
            rebuild: The texts are of the past (a rebuild): frozen domains count them too.

        Raises:
            InvalidDomain: In the parts or in `also_read`; nothing was sent.
            InvalidInput: Counters for other exits, or too large; nothing was sent.
            FingerprintMismatch: The policy was replaced by another model's; nothing was written.
            PolicyNotFound: The policy is gone from the server; nothing was written.
            CounterOverflow: A count would pass 2^53 - 1; nothing was written.
            StoreRefused: The server said no, or holds something odd; nothing was written.
        """
        ...

    def read(self, domains: Collection[str]) -> Mapping[str, DomainSnapshot]:
        """Return the snapshot of each of the domains; unseen ones are all zeros."""
        ...

    def domains(self, *, limit: int = 100) -> tuple[str, ...]:
        """Return the first domains.

        First those pinned permanently or frozen, then those pinned for a time, then those with many
        texts, then those with few; of each kind the most recently active first.
        """
        ...

    def totals(self) -> Totals:
        """Return the sums over all domains."""
        ...

    def policies(self) -> tuple[PolicyMeta, ...]:
        """Return the policies of the store that can be read, by name. Needs no open policy."""
        ...

    def find(self, name: str) -> PolicyMeta | None:
        """Return a policy, None where there is none of that name. Needs no open policy.

        Raises:
            StoreCorrupt: It cannot be read.
            FingerprintMismatch: It was written by another version, for counters of another kind.
        """
        ...

    def heartbeat(self, instance: str, fields: Mapping[str, str | int], *, ttl_s: float) -> None:
        """Show a worker as alive for `ttl_s` seconds, with these fields. Needs no open policy."""
        ...

    def workers(self) -> Mapping[str, Mapping[str, str]]:
        """Return the workers alive, by instance. Needs no open policy."""
        ...
