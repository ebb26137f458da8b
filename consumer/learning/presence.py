"""The heartbeat of a worker or host, and what it sees of the others."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from consumer.decision import Peers
from policy_state.errors import StoreError, StoreRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumer.learning.counter import Counting
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.values import PolicyMeta

log = logging.getLogger("offramp.presence")

_BEAT_S = 2.0
_LOOK_S = 10.0
_TTL_S = 15.0
_REFUSED_S = 30.0


class Presence:
    """Shows that one decides on a policy's texts, and counts who else does."""

    def __init__(
        self, store: PolicyAdmin, counting: Counting, policy: PolicyMeta, *, instance: str
    ) -> None:
        """Show nothing yet.

        Args:
            store: with the policy open.
            counting: what is counted there; while it finds the store away nothing is shown.
            policy: that policy.
            instance: a name that no other has.
        """
        self._store = store
        self._counting = counting
        self._instance = instance
        self._shared = {"policy": policy.name, "model": policy.fingerprint}
        self._started = time.time()
        self._next_beat = 0.0
        self._next_look = 0.0
        self.peers = Peers()
        """How many share the counters, and what all domains have learnt."""
        self.leads = False
        """Whether it is the first by name of its group's workers, who does what one has to do.

        Hosts are none of them: they read no partitions.
        """

    def keep_up(self, more: Callable[[], Mapping[str, str | int]]) -> None:
        """Do what is due; a failure is logged, it stops nothing. `more` is what else to show."""
        now = time.monotonic()
        if now < self._next_beat or self._counting.known.away:
            return
        self._next_beat = now + _BEAT_S
        counting = self._counting
        fields: dict[str, str | int] = {
            **self._shared,
            "pid": os.getpid(),
            "started": int(self._started),
            "held_texts": counting.pending.texts,
            "lost_texts": counting.pending.lost_texts,
            "gap_offsets": counting.gap_offsets,
            "snapshot_age_ms": int(counting.known.age_s * 1000),
            **more(),
        }
        try:
            self._store.heartbeat(self._instance, fields, ttl_s=_TTL_S)
            if now >= self._next_look:
                self._next_look = now + _LOOK_S
                self.peers = self._look_around(str(fields.get("group")))
        except StoreError as error:
            if isinstance(error, StoreRefused):  # it would say so every time
                self._next_beat = now + _REFUSED_S
            log.warning("heartbeat failed error=%s", error)

    def _look_around(self, group: str) -> Peers:
        alike = {
            instance: fields
            for instance, fields in self._store.workers().items()
            if self._shared.items() <= fields.items()
        }
        team = {
            name
            for name, fields in alike.items()
            if fields.get("group") == group and "partitions" in fields
        }
        self.leads = self._instance == min(team | {self._instance})
        return Peers(workers=max(1, len(alike)), pool=self._store.totals().stats)
