"""What a worker last knew of the shared counters; asks the store for it, unless that is away."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from policy_state.errors import PolicyNotFound, StoreError, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.pending import Pending
    from policy_state.store.values import Applied, DomainSnapshot, OpenedPolicy

log = logging.getLogger("offramp.counting")

_FRESH_S: Final = 5.0
_KEPT: Final = 10_000
_CREATED_MOST: Final = 3  # a policy, in one call: then the store is as good as away
_PAUSE_S: Final = (0.5, 1.0, 2.0, 5.0)


class Snapshots:
    """The latest snapshot of each domain, and the settings in force: all that a store answers.

    Where it does not answer it is away: nobody waits for it then, and one thread asks until it is
    back. `current` may be called in one thread while `ask` runs in another.
    """

    def __init__(self, store: PolicyAdmin, opened: OpenedPolicy, pending: Pending) -> None:
        """Start with nothing known but the policy, which is open in the store.

        Args:
            store: whom to ask.
            opened: the policy.
            pending: what is held for the store; while texts are, one that takes none is not back.
        """
        self._store = store
        self.policy = opened
        """With the settings and limits in force: another object when they have changed."""
        self.away = False
        """Whether the store does not answer."""
        self._pending = pending
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[DomainSnapshot, float]] = OrderedDict()
        self._closed = threading.Event()
        self._failures = 0  # in a row
        self._away_since = 0.0
        self._answered = time.monotonic()

    def __str__(self) -> str:
        """Say what a log tells of it."""
        return f"held_texts={self._pending.texts} snapshot_age_s={self.age_s:.1f}"

    @property
    def age_s(self) -> float:
        """How long ago the store last answered."""
        return time.monotonic() - self._answered

    def current(self, domains: set[str]) -> Mapping[str, DomainSnapshot]:
        """Return what is known of domains: read anew where it is old and the store answers."""
        now = time.monotonic()
        with self._lock:
            known = {d: self._known[d] for d in domains if d in self._known}
        found = {domain: snapshot for domain, (snapshot, _) in known.items()}
        old = {d for d in domains if d not in known or known[d][1] < now - _FRESH_S}
        if old and not self.away:
            answer = self.ask(lambda: self._store.apply((), also_read=old))
            if answer is not None:
                found |= answer.snapshots
        return found

    def keep_up(self) -> None:
        """Ask the store where it was not asked for a while: one that was emptied gets its policy.

        So what it has lost comes back though no text does.
        """
        if not self.away and self.age_s > _FRESH_S:
            self.ask(lambda: self._store.apply(()))

    def ask(self, send: Callable[[], Applied], *, writes: bool = False) -> Applied | None:
        """Return the store's answer, or None where it is away: then not asked until it is back.

        A store that answers and takes no counts, being full or a replica, is not back yet.

        Raises:
            StoreError: it refuses permanently.
        """
        try:
            answer = self._answer(send)
        except (StoreUnavailable, StoreRefused, PolicyNotFound) as error:
            if not _may_pass(error):
                raise
            log.warning(
                "store is unreachable, continuing with what is known %s error=%s", self, error
            )
            with self._lock:
                known, self.away = self.away, True
                if not self._failures:
                    self._away_since = time.monotonic()
                self._failures += 1
            if not known:
                threading.Thread(target=self._await_store, name="await-store", daemon=True).start()
            return None
        if self._failures and (writes or not self._pending.texts):
            away_s = time.monotonic() - self._away_since
            log.info("store is back away_s=%.1f %s", away_s, self)
            self._failures = 0
        self._answered = time.monotonic()
        self._remember(answer)
        return answer

    def close(self) -> None:
        """Stop asking a store that is away; to be called before the store is closed."""
        self._closed.set()

    def _answer(self, send: Callable[[], Applied]) -> Applied:
        """Return the store's answer; where the policy is gone it is created anew, some times.

        Raises:
            StoreError: what it answers, or that the policy was gone again each time.
        """
        for _ in range(_CREATED_MOST):
            with contextlib.suppress(PolicyNotFound):
                return send()
            log.error(
                "store has lost the policy, created it again name=%s; workers count again the "
                "latest store.repair_records predictions; `offramp policy rebuild` counts all",
                self.policy.meta.name,
            )
            self._store.open(self.policy.meta)
        return send()

    def _await_store(self) -> None:
        """Ask until the store answers or nobody counts: so predictions wait for no timeout."""
        for pause_s in chain(_PAUSE_S[self._failures - 1 :], repeat(_PAUSE_S[-1])):
            if self._closed.wait(pause_s):
                return
            try:
                self._store.apply(())
            except StoreUnavailable:
                log.warning("store is still unreachable %s", self)
                continue
            except StoreError:  # an answer too; whoever asks next is told
                break
            break
        self.away = False

    def _remember(self, answer: Applied) -> None:
        if answer.revision != self.policy.revision:
            log.info("settings changed revision=%d settings=%s", answer.revision, answer.settings)
            meta = replace(self.policy.meta, settings=answer.settings, limits=answer.limits)
            self.policy = replace(self.policy, meta=meta, revision=answer.revision)
        now = time.monotonic()
        with self._lock:
            for domain, snapshot in answer.snapshots.items():
                self._known[domain] = (snapshot, now)
                self._known.move_to_end(domain)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)


def _may_pass(error: StoreError) -> bool:
    """Say whether to continue as without a store.

    So also where a right or a password that a worker had at its start is taken away: somebody can
    give it back, and predictions need neither. And where the store is emptied again and again.
    """
    passing = isinstance(error, StoreUnavailable | PolicyNotFound)
    return passing or error.cause in {"login", "permission"}
