"""What the dashboard knows of all domains: read once, then only those that have changed.

A policy may have 100,000 domains. To search and to sort them, a thread keeps one small row of each.
It lists the domains by their last activity and reads those whose activity is another than it was.
After listing it rests nine times as long as that took, and after each page as long as that took.
What a page of the dashboard shows of a domain is always read afresh.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from consumer.routes.route import promise_for
from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.base import build
from policy_state.errors import StoreError
from policy_state.reports.holdout import holdout_of
from policy_state.reports.states import DomainStates, Group, State, states_of
from policy_state.store.reading import read_each

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.routes.route import Route
    from policy_state.stats import ExitStats
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import DomainSnapshot, OpenedPolicy

log = logging.getLogger("offramp.dashboard")

SORTS: Final = ("activity", "domain", "texts", "exit", "saved", "agreement", "differs")
SHOWN: Final = ("all", "alarmed", *State)
_PAGE: Final = 200
_NAMED: Final = 5
_REST_S: Final = 3.0  # at least
_RESTS: Final = 9  # times the time that a round took
_RATE_S: Final = 60.0  # over which texts per second are counted


@dataclass(frozen=True, slots=True)
class Row:
    """One domain, as it is searched and sorted. None: not known."""

    domain: str
    texts: int
    exit: int
    saved: float | None  # share of layers, by the holdout if it has one
    agreement: float | None  # with full depth, by the holdout
    differs: float | None  # share of texts whose label differs from exit 0's
    state: str  # one of `State`
    alarm: bool  # whether there are warnings about it


class DomainIndex:
    """The rows of all domains; one thread refreshes them, others read them."""

    def __init__(self, store: RedisStore, routes: Callable[[], Sequence[Route]] = tuple) -> None:
        """Know nothing yet.

        Args:
            store: Has the policy open when rows are read.
            routes: Returns those in force, which may set the gates of domains.
        """
        self._store = store
        self._routes = routes
        self._scores: dict[str, float] = {}  # activity, of the domains in `rows`
        self._basis: tuple[int, int] | None = None  # revision of the settings, changes audited
        self._counted: deque[tuple[float, int]] = deque()  # when how many texts were counted
        self._sorted: dict[tuple[str, bool], tuple[float, Mapping[str, Row], list[str]]] = {}
        self._damaged: set[str] = set()
        none = {state: Group() for state in State}
        self._states: tuple[float, Mapping[str, Row], DomainStates] = (
            0.0,
            {},
            DomainStates(0, none, Group(), Group()),
        )
        self.names: list[str] = []
        """All domains, in the order of `policy list`."""
        self.rows: dict[str, Row] = {}
        """Those that were read so far; another dictionary whenever one changes."""
        self.trouble: StoreError | None = None
        """Why the last round failed."""

    def run(self, stop: threading.Event, begin: Callable[[], None]) -> None:
        """Begin a round and refresh until told to stop; a failure is noted, and tried again."""
        while not stop.is_set():
            listing_s = 0.0
            try:
                begin()
                listing_s = self.refresh(stop)
                self.trouble = None
            except StoreError as error:
                if self.trouble is None:
                    log.warning("cannot read the domains error=%s", error)
                self.trouble = error
            except Exception:  # the thread must not end: what is shown would age unnoticed
                log.exception("cannot read the domains")
            stop.wait(max(_REST_S, _RESTS * listing_s))

    def refresh(self, stop: threading.Event | None = None) -> float:
        """Read what has changed since the last call; return the seconds that listing took."""
        began = time.monotonic()
        opened = self._store.describe()
        basis = (opened.revision, opened.changes)
        scores = self._store.activity()
        self._count()
        stale = {name for name, score in scores.items() if self._scores.get(name) != score}
        if self._basis != basis:
            stale |= self._touched(opened, scores)
        self.names = list(scores)
        rows = self.rows
        if gone := rows.keys() - scores.keys():
            rows = {name: row for name, row in rows.items() if name not in gone}
            self.rows = rows
        listing_s = time.monotonic() - began
        pool, routes = self._store.totals().stats, self._routes()
        promise_of = partial(promise_for, routes, policy=opened.meta.settings.gate)
        wanted = sorted(stale, key=scores.__getitem__, reverse=True)
        for page in (wanted[at : at + _PAGE] for at in range(0, len(wanted), _PAGE)):
            if stop is not None and stop.is_set():
                return listing_s
            began = time.monotonic()
            found, damaged = read_each(self._store, page)
            fresh = rows_of(found, opened, pool=pool, promise_of=promise_of)
            rows = rows | {row.domain: row for row in fresh}
            for name in page:
                self._scores[name] = scores[name]
                if name in damaged:
                    rows.pop(name, None)
            self._damaged = (self._damaged - set(page)) | damaged.keys()
            self.rows = rows
            if stop is not None:  # others want to be answered meanwhile
                stop.wait(time.monotonic() - began)
        self._scores = {name: self._scores[name] for name in scores}
        self._basis = basis
        return listing_s

    def _touched(self, opened: OpenedPolicy, scores: Mapping[str, float]) -> set[str]:
        """Return the domains that a change may concern: its own, or all."""
        revision, changes = self._basis or (-1, 0)
        if opened.revision != revision or opened.changes < changes:
            return set(scores)
        entries = self._store.audit(limit=max(1, opened.changes - changes))
        if any(entry.domain is None for entry in entries):
            return set(scores)
        return {e.domain for e in entries if e.domain is not None and e.domain in scores}

    def _count(self) -> None:
        now, texts = time.monotonic(), self._store.totals().stats.texts
        self._counted.append((now, texts))
        while len(self._counted) > 2 and self._counted[1][0] < now - _RATE_S:  # noqa: PLR2004
            self._counted.popleft()

    @property
    def texts_per_s(self) -> float | None:
        """How many texts were counted per second, over the last minute or so."""
        if len(self._counted) < 2:  # noqa: PLR2004
            return None
        (first_s, first), (last_s, last) = self._counted[0], self._counted[-1]
        return max(0, last - first) / (last_s - first_s)

    @property
    def complete(self) -> bool:
        """Whether every domain was read once."""
        return self._basis is not None

    def ordered(self, sort: str, *, down: bool) -> Sequence[str]:
        """Return the names of all domains in an order; those of which it is not known come last."""
        if sort not in SORTS or sort == "activity":
            return self.names if down else self.names[::-1]
        if sort == "domain":
            return sorted(self.names, reverse=down)
        began, rows, names = self._sorted.get((sort, down), (0.0, {}, []))
        if rows is not self.rows and time.monotonic() - began > _REST_S:
            rows = self.rows
            known = [row for row in rows.values() if getattr(row, sort) is not None]
            known.sort(key=attrgetter(sort), reverse=down)
            names = [row.domain for row in known]
            rest = set(names)
            names += [name for name in self.names if name not in rest]
            self._sorted[sort, down] = (time.monotonic(), rows, names)
        return names

    def domain_states(self) -> DomainStates:
        """Return the domains by state, of those that were read so far."""
        began, rows, found = self._states
        if rows is not self.rows and time.monotonic() - began > _REST_S:
            rows = self.rows
            by_state = Counter(map(attrgetter("state"), rows.values()))
            alarmed = [row.domain for row in rows.values() if row.alarm]
            found = DomainStates(
                domains=len(rows),
                states={state: Group(by_state[state.value]) for state in State},
                alarmed=Group(len(alarmed), sorted(alarmed)[:_NAMED]),
                damaged=Group(len(self._damaged), sorted(self._damaged)[:_NAMED]),
            )
            self._states = (time.monotonic(), rows, found)
        return found

    def found(self, search: str, show: str, sort: str, *, down: bool) -> Sequence[str]:
        """Return some of the domains, in an order.

        Args:
            search: What their names contain, in any case.
            show: One of `SHOWN`.
            sort: One of `SORTS`.
            down: The largest first; of the activity, the order of `policy list`.
        """
        names, wanted = self.ordered(sort, down=down), search.strip().casefold()
        if wanted:
            names = [name for name in names if wanted in name.casefold()]
        if show == "all":
            return names
        rows = self.rows
        if show == "alarmed":
            return [name for name in names if (row := rows.get(name)) and row.alarm]
        return [name for name in names if (row := rows.get(name)) and row.state == show]


def rows_of(
    snapshots: Mapping[str, DomainSnapshot],
    opened: OpenedPolicy,
    *,
    pool: ExitStats,
    promise_of: Callable[[str], float],
) -> list[Row]:
    """Return the rows of some domains, worked out together; `promise_of` gives their gates."""
    meta = opened.meta
    if not snapshots:
        return []
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    many = Counters.of_many([each.corrected for each in snapshots.values()])
    settled = rules.settled_exits(many, pool=pool)
    rows = []
    states = states_of(snapshots, meta, rules, pool=pool, promise_of=promise_of)
    for learnt, (name, state, alarm) in zip(settled.tolist(), states, strict=True):
        snapshot = snapshots[name]
        stats = snapshot.stats
        stopped = [p + g for p, g in zip(stats.played, stats.gated, strict=True)]
        texts = sum(stopped)
        run = sum(n * layer for n, layer in zip(stopped, meta.layers, strict=True))
        held = holdout_of(stats, meta.layers) if any(stats.held) else None
        exit_ = learnt if snapshot.pin is None else snapshot.pin
        seen = stats.observed[learnt]
        rows.append(
            Row(
                domain=name,
                texts=texts,
                exit=exit_,
                saved=(
                    held.layers_saved.share
                    if held
                    else (1 - run / (texts * meta.layers[-1]) if texts else None)
                ),
                agreement=held.agreement.share if held else None,
                differs=stats.disagreed[learnt] / seen if seen else None,
                state=state.value,
                alarm=alarm,
            )
        )
    return rows
