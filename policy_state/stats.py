"""The counters of one domain: plain integers that add up in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_state.errors import InvalidStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COUNT_MAX: Final = 2**53 - 1
"""Largest count kept: beyond it Lua and JavaScript numbers are no longer exact."""


@dataclass(frozen=True, slots=True)
class ExitStats:
    """What each exit has been seen to do on the texts of one domain.

    All three tuples have one entry per exit, shallowest first.

    >>> first = ExitStats.from_labels([0, 1], exits=3)
    >>> first + ExitStats.from_labels([1], exits=3)
    ExitStats(observed=(2, 1, 0), disagreed=(0, 1, 0), played=(1, 1, 0))
    """

    observed: tuple[int, ...]  # n[j]: texts that computed exit j
    disagreed: tuple[int, ...]  # d[j]: of those, texts whose label at j differed from exit 0's
    played: tuple[int, ...]  # p[j]: texts that stopped at exit j

    def __post_init__(self) -> None:
        """Refuse tuples of different lengths and negative counts."""
        lengths = (len(self.observed), len(self.disagreed), len(self.played))
        if lengths[0] < 1 or len(set(lengths)) != 1:
            raise InvalidStats(
                "observed, disagreed and played have "
                f"{lengths[0]}, {lengths[1]} and {lengths[2]} entries, expected one per exit"
            )
        if min(self.observed) < 0 or min(self.disagreed) < 0 or min(self.played) < 0:
            raise InvalidStats(f"a count is negative: {self}")

    @classmethod
    def zeros(cls, exits: int) -> ExitStats:
        """Return the counters of a domain that has seen no text."""
        nothing = (0,) * exits
        return cls(nothing, nothing, nothing)

    @classmethod
    def from_labels(cls, exit_labels: Sequence[int], *, exits: int) -> ExitStats:
        """Return what one text adds, given the labels of exits 0..k where it stopped at k."""
        depth = len(exit_labels)
        if not 1 <= depth <= exits:
            raise InvalidStats(f"{depth} exit labels for one text, this policy has {exits} exits")
        first = exit_labels[0]
        unseen = (0,) * (exits - depth)
        return cls(
            observed=(1,) * depth + unseen,
            disagreed=tuple(int(label != first) for label in exit_labels) + unseen,
            played=(0,) * (depth - 1) + (1,) + unseen,
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, int | str | bytes], *, exits: int) -> ExitStats:
        """Read what `to_fields` wrote; a missing field is 0, other fields are left alone."""

        def counts(letter: str) -> tuple[int, ...]:
            names = [f"{letter}{j}" for j in range(exits)]
            return tuple(_count(fields.get(name, 0), name) for name in names)

        return cls(observed=counts("n"), disagreed=counts("d"), played=counts("p"))

    def to_fields(self) -> dict[str, int]:
        """Return the counts that are not zero as `n0`.., `d0`.., `p0`...

        >>> ExitStats.from_labels([0, 1], exits=3).to_fields()
        {'n0': 1, 'n1': 1, 'd1': 1, 'p1': 1}
        """
        columns = (("n", self.observed), ("d", self.disagreed), ("p", self.played))
        return {
            f"{letter}{j}": count
            for letter, counts in columns
            for j, count in enumerate(counts)
            if count
        }

    def __add__(self, other: ExitStats) -> ExitStats:
        """Return the counters of both together."""
        if self.exits != other.exits:
            raise InvalidStats(f"counters of {self.exits} exits plus counters of {other.exits}")
        return ExitStats(
            observed=_sums(self.observed, other.observed),
            disagreed=_sums(self.disagreed, other.disagreed),
            played=_sums(self.played, other.played),
        )

    @property
    def exits(self) -> int:
        """How many exits the counters are for."""
        return len(self.observed)

    @property
    def texts(self) -> int:
        """How many texts were counted."""
        return sum(self.played)


def _sums(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _count(value: float | str | bytes, name: str) -> int:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    if not (text.isascii() and text.isdigit() and int(text) <= COUNT_MAX):
        raise InvalidStats(f"field {name} holds {text[:40]!r}, expected an integer 0..{COUNT_MAX}")
    return int(text)
