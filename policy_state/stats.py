"""The counters of one domain: plain integers that add up in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Final, Self

from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

COUNT_MAX: Final = 2**53 - 1
"""Largest count kept: beyond it Lua and JavaScript numbers are no longer exact."""

Z_95: Final = 1.959964
"""Half a 95 % interval, in standard errors."""

LETTERS: Final = {
    "n": "observed",
    "d": "disagreed",
    "p": "played",
    "g": "gained",
    "l": "lost",
    "a": "apart",
    "o": "odd",
    "h": "high",
}
"""How each kind of counter is called in stored fields, before the number of the exit."""

_FEW: Final = 16  # different labels of texts that are added one by one faster than by numpy
_REMEMBERED: Final = 4096
_NO_LABEL: Final = -1
_KINDS: Final = tuple(LETTERS.values())


@dataclass(frozen=True, slots=True)
class ExitStats:
    """What each exit has been seen to do on the texts of one domain.

    Every tuple has one entry per exit, shallowest first; those not given are all zeros. No count
    of an exit is above `observed`. The counters say nothing of how exits are chosen, so they can
    be counted again from predictions.

    >>> first = ExitStats.from_labels([0, 1], exits=3)
    >>> (first + ExitStats.from_labels([1], exits=3)).observed
    (2, 1, 0)
    """

    observed: tuple[int, ...]  # n[j]: texts that computed exit j
    disagreed: tuple[int, ...]  # d[j]: of those, texts whose label at j differed from exit 0's
    played: tuple[int, ...]  # p[j]: texts that stopped at exit j
    gained: tuple[int, ...] = ()  # g[j]: texts that differ from exit 0 at j, not yet at j - 1
    lost: tuple[int, ...] = ()  # l[j]: texts that differ from exit 0 at j - 1, no more at j
    apart: tuple[int, ...] = ()  # a[j]: texts run to the last exit, whose label differs from j's
    odd: tuple[int, ...] = ()  # o[j]: texts with an odd label at j; of two classes, class 1
    high: tuple[int, ...] = ()  # h[j]: texts with label 2 or 3 at j, or 6 or 7, and so on

    def __post_init__(self) -> None:
        """Refuse tuples of different lengths and negative counts."""
        lengths = (len(self.observed), len(self.disagreed), len(self.played))
        if lengths[0] < 1 or len(set(lengths)) != 1:
            raise InvalidInput(
                "observed, disagreed and played have "
                f"{lengths[0]}, {lengths[1]} and {lengths[2]} entries, expected one per exit"
            )
        for name in LETTERS.values():
            counts = getattr(self, name) or (0,) * lengths[0]
            if len(counts) != lengths[0]:
                raise InvalidInput(f"{name} has {len(counts)} entries, expected {lengths[0]}")
            if min(counts) < 0:
                raise InvalidInput(f"a count is negative: {name} {counts}")
            object.__setattr__(self, name, counts)

    @classmethod
    def zeros(cls, exits: int) -> Self:
        """Return the counters of a domain that has seen no text."""
        nothing = (0,) * exits
        return cls(nothing, nothing, nothing)

    @classmethod
    def from_labels(cls, exit_labels: Sequence[int], *, exits: int) -> Self:
        """Return what one text adds, given the labels of exits 0..k where it stopped at k."""
        depth = len(exit_labels)
        if not 1 <= depth <= exits:
            raise InvalidInput(
                f"{counted(depth, 'exit label')} for one text, this policy has "
                f"{counted(exits, 'exit')}"
            )
        first, last = exit_labels[0], exit_labels[-1]
        unseen = (0,) * (exits - depth)
        differs = [int(label != first) for label in exit_labels]
        before = [0, *differs]
        return cls(
            observed=(1,) * depth + unseen,
            disagreed=tuple(differs) + unseen,
            played=(0,) * (depth - 1) + (1,) + unseen,
            gained=tuple(int(b < now) for b, now in zip(before, differs, strict=False)) + unseen,
            lost=tuple(int(b > now) for b, now in zip(before, differs, strict=False)) + unseen,
            apart=() if unseen else tuple(int(label != last) for label in exit_labels),
            odd=tuple(label & 1 for label in exit_labels) + unseen,
            high=tuple(label >> 1 & 1 for label in exit_labels) + unseen,
        )

    @classmethod
    def from_texts(cls, exit_labels: Iterable[Sequence[int]], *, exits: int) -> Self:
        """Return what many texts add; the same as adding up `from_labels`, many times as fast."""
        rows = list(map(tuple, exit_labels))
        alike = Counter(rows)
        if len(alike) <= _FEW:
            sums = [0] * (len(_KINDS) * exits)
            for labels, times in alike.items():
                added = _flat_counts(labels, exits)
                sums = [old + times * new for old, new in zip(sums, added, strict=True)]
            return cls.trusted([tuple(sums[i : i + exits]) for i in range(0, len(sums), exits)])
        import numpy as np  # here, so that looking at counters does not wait for it

        depths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        if rows and not (depths.min() >= 1 and depths.max() <= exits):
            wrong = next(len(row) for row in rows if not 1 <= len(row) <= exits)
            raise InvalidInput(
                f"{counted(wrong, 'exit label')} for one text, this policy has "
                f"{counted(exits, 'exit')}"
            )
        padded = zip_longest(*rows, (_NO_LABEL,) * exits, fillvalue=_NO_LABEL)
        flat = np.fromiter(chain.from_iterable(padded), dtype=np.int64)
        return cls.from_matrix(flat.reshape(exits, -1).T[:-1])

    @classmethod
    def from_matrix(cls, labels: NDArray[np.integer]) -> Self:
        """Return what the rows of a matrix (texts, exits) add; -1 where an exit did not run."""
        return cls(
            **{
                kind: tuple(counts.sum(axis=0).tolist())
                for kind, counts in counts_of_rows(labels).items()
            }
        )

    @classmethod
    def trusted(cls, counters: Sequence[tuple[int, ...]]) -> Self:
        """Return counters in the order of `LETTERS` that somebody else has checked; much faster."""
        made = cls.__new__(cls)
        for name, counts in zip(_KINDS, counters, strict=True):
            object.__setattr__(made, name, counts)
        return made

    @classmethod
    def from_fields(cls, fields: Mapping[str, object], *, exits: int) -> Self:
        """Read what `to_fields` wrote; a missing field is 0, other fields are left alone."""
        return cls(
            *(
                tuple(_count(fields.get(f"{letter}{j}", 0), f"{letter}{j}") for j in range(exits))
                for letter in LETTERS
            )
        )

    def to_fields(self) -> dict[str, int]:
        """Return the counts that are not zero as `n0`.., `d0`.. and so on, by `LETTERS`.

        >>> ExitStats.from_labels([0, 2], exits=3).to_fields()
        {'n0': 1, 'n1': 1, 'd1': 1, 'p1': 1, 'g1': 1, 'h1': 1}
        """
        return {
            f"{letter}{j}": count
            for letter, kind in LETTERS.items()
            for j, count in enumerate(getattr(self, kind))
            if count
        }

    def contradictions(self) -> list[str]:
        """Return what no texts can have made, for people; nothing where the counters are sound.

        >>> ExitStats(observed=(2, 3), disagreed=(0, 0), played=(0, 2)).contradictions()
        ['exit 1 was observed 3 times, exit 0 only 2 times']
        """
        found = [
            f"exit {j + 1} was observed {counted(deep, 'time')}, exit {j} only "
            f"{counted(shallow, 'time')}"
            for j, (shallow, deep) in enumerate(pairwise(self.observed))
            if deep > shallow
        ]
        found += [
            f"exit {j} {kind} {counted(count, 'time')} in {observed}"
            for kind in _KINDS[1:]
            for j, (count, observed) in enumerate(
                zip(getattr(self, kind), self.observed, strict=True)
            )
            if count > observed
        ]
        if sum(self.played) != self.observed[0]:
            found.append(
                f"{counted(sum(self.played), 'text')} stopped, {self.observed[0]} computed exit 0"
            )
        return found

    def __add__(self, other: Self) -> Self:
        """Return the counters of both together."""
        if self.exits != other.exits:
            raise InvalidInput(
                f"counters of {counted(self.exits, 'exit')} plus counters of {other.exits}"
            )
        return type(self)(
            **{
                kind: tuple(map(int.__add__, getattr(self, kind), getattr(other, kind)))
                for kind in LETTERS.values()
            }
        )

    @property
    def exits(self) -> int:
        """How many exits the counters are for."""
        return len(self.observed)

    @property
    def texts(self) -> int:
        """How many texts were counted."""
        return sum(self.played)


@lru_cache(_REMEMBERED)
def _flat_counts(exit_labels: tuple[int, ...], exits: int) -> tuple[int, ...]:
    """Return what one text adds: the counters of each kind, one behind the other."""
    stats = ExitStats.from_labels(exit_labels, exits=exits)
    return tuple(chain.from_iterable(getattr(stats, kind) for kind in _KINDS))


def counts_of_rows(labels: NDArray[np.integer]) -> dict[str, NDArray[Any]]:
    """Return what each row of a matrix (texts, exits) adds to each kind, as wide as the matrix."""
    import numpy as np

    ran = labels != _NO_LABEL
    differs = (labels != labels[:, :1]) & ran
    steps = np.diff(differs.astype(np.int8), axis=1, prepend=0)
    return {
        "observed": ran,
        "disagreed": differs,
        "played": ran & ~np.pad(ran[:, 1:], ((0, 0), (0, 1))),
        "gained": steps > 0,
        "lost": (steps < 0) & ran,
        "apart": (labels != labels[:, -1:]) & ran[:, -1:],
        "odd": (labels & 1) * ran,
        "high": (labels >> 1 & 1) * ran,
    }


def _count(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise InvalidInput(f"field {name} holds {value!r:.40}, expected an integer 0..{COUNT_MAX}")
    return value
