"""What a second model says of texts that the live one has answered: counters that add up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import add
from typing import TYPE_CHECKING, Self

from policy_state.errors import InvalidInput
from policy_state.predicted import counts_of
from policy_state.stats import COUNT_MAX, ExitStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.predicted import Predicted


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """What must be known of a model to compare it with another one."""

    fingerprint: str
    layers: tuple[int, ...]  # the layer of every exit
    classes: int = 2
    calibrated: bool = False

    @property
    def exits(self) -> int:
        """How many exits it has."""
        return len(self.layers)


@dataclass(frozen=True, slots=True)
class ShadowPair:
    """Two models whose answers are compared."""

    live: ComparedModel  # it answered
    new: ComparedModel  # it ran on a share of the same texts, to its last exit
    begun_ms: int = 0  # the store's clock at the first text compared
    last_ms: int = 0  # and at the latest


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """What two models did on the same texts of one domain. Adds up in any order.

    >>> one = ShadowCounts(ExitStats.from_labels([0, 1], exits=2), (0, 1), (1, 0, 0))
    >>> (one + one).same, (one + one).texts
    ((0, 2), 2)
    """

    stats: ExitStats  # of the new model, as if it had run all texts to its last exit
    same: tuple[int, ...]  # by exit of the new model: texts whose label there is the live answer
    stopped: tuple[int, ...]  # by exit of the live model: texts that stopped there
    full: int = 0  # texts that ran to the last exit of the live model
    full_same: int = 0  # of those, texts to which both models' last exits give the same label
    micros: int = 0  # microseconds that the new model took

    @classmethod
    def zeros(cls, *, exits: int, live_exits: int) -> Self:
        """Return the counters of a domain of which nothing has been compared."""
        return cls(ExitStats.zeros(exits), (0,) * exits, (0,) * live_exits)

    @classmethod
    def of(
        cls,
        found: Sequence[Predicted],
        answers: Sequence[tuple[int, int]],
        *,
        exits: int,
        live_exits: int,
        micros: int,
    ) -> Self:
        """Return what some texts of one domain add.

        Args:
            found: What the new model said of each, at all its exits; at least one text.
            answers: What the live model answered, as a class of the new model, and at which exit.
            exits: Of the new model.
            live_exits: Of the live model.
            micros: Microseconds that the new model took for all of them.
        """
        labels, stops = zip(*answers, strict=True)
        last = live_exits - 1
        at_last = [text.exit_labels[-1] == label for text, label in zip(found, labels, strict=True)]
        return cls(
            stats=counts_of(found, exits=exits),
            same=tuple(
                sum(text.exit_labels[j] == label for text, label in zip(found, labels, strict=True))
                for j in range(exits)
            ),
            stopped=tuple(stops.count(k) for k in range(live_exits)),
            full=stops.count(last),
            full_same=sum(same for same, stop in zip(at_last, stops, strict=True) if stop == last),
            micros=micros,
        )

    @property
    def texts(self) -> int:
        """How many texts were compared."""
        return sum(self.stopped)

    def __add__(self, other: Self) -> Self:
        """Return the counters of both together."""
        return type(self)(
            self.stats + other.stats,
            tuple(map(add, self.same, other.same)),
            tuple(map(add, self.stopped, other.stopped)),
            *(getattr(self, name) + getattr(other, name) for name in _SINGLE),
        )

    def to_fields(self) -> dict[str, int]:
        """Return the counts that are not zero, by name."""
        named = {f"same{j}": count for j, count in enumerate(self.same)}
        named |= {f"stop{k}": count for k, count in enumerate(self.stopped)}
        named |= {name: getattr(self, name) for name in _SINGLE}
        return self.stats.to_fields() | {name: count for name, count in named.items() if count}

    @classmethod
    def from_fields(cls, fields: Mapping[str, int], *, exits: int, live_exits: int) -> Self:
        """Read what `to_fields` wrote; a missing field is 0.

        Raises:
            InvalidInput: A field holds no count.
        """
        for name, count in fields.items():
            if not 0 <= count <= COUNT_MAX:
                raise InvalidInput(f"field {name} holds {count}, expected 0..{COUNT_MAX}")
        return cls(
            ExitStats.from_fields(fields, exits=exits),
            tuple(fields.get(f"same{j}", 0) for j in range(exits)),
            tuple(fields.get(f"stop{k}", 0) for k in range(live_exits)),
            *(fields.get(name, 0) for name in _SINGLE),
        )


_SINGLE = tuple(each.name for each in fields(ShadowCounts) if each.type == "int")
