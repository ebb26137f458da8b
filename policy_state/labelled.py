"""What labels that came late say of a domain's steps, and its counters corrected by them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self

from policy_state.counting import THOUSAND
from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.stats import ExitStats

CREDITED_DUELS: Final = 25
"""Labelled duels that the credits of a domain are worth together."""

LABELLED_DUELS_MOST: Final = 500
"""Labelled duels of a step that count at most: however many there are, credits keep a say."""

_COUNT_MAX: Final = 10**15 - 1
_EACH: Final = 3  # numbers an exit, in text


@dataclass(frozen=True, slots=True)
class LabelledDuels:
    """How the duels of one domain ended, on texts whose label is known.

    A duel of step j is a text on which exits j - 1 and j differ. The deeper exit wins it if it is
    right, and loses it if the shallower one is. Of three labels both may be wrong. Every tuple has
    one entry per exit, that of exit 0 is 0.
    """

    texts: int  # labelled ones, with or without a duel
    duels: tuple[int, ...]
    wins: tuple[int, ...]
    losses: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what no texts can have shown."""
        if not len(self.duels) == len(self.wins) == len(self.losses) > 0:
            raise InvalidInput("labelled duels, wins and losses of different exits")
        rows = list(zip(self.duels, self.wins, self.losses, strict=True))
        if any(rows[0]) or any(
            min(row) < 0 or not row[1] + row[2] <= row[0] <= self.texts <= _COUNT_MAX
            for row in rows
        ):
            raise InvalidInput(
                f"labelled duels {self.duels}, wins {self.wins} and losses {self.losses} of "
                f"{counted(self.texts, 'text')} cannot be"
            )

    @classmethod
    def of(
        cls, exit_labels: Sequence[Sequence[int]], truth: Sequence[int], *, exits: int
    ) -> LabelledDuels:
        """Return what labels say of texts.

        Args:
            exit_labels: Of every text, the labels of the exits that it computed.
            truth: Its label.
            exits: Of the policy.

        >>> LabelledDuels.of([(0, 1, 1), (1, 0), (0, 0, 1)], [1, 1, 1], exits=3)
        LabelledDuels(texts=3, duels=(0, 2, 1), wins=(0, 1, 1), losses=(0, 1, 0))
        """
        duels, wins, losses = ([0] * exits for _ in range(3))
        for labels, right in zip(exit_labels, truth, strict=True):
            for j, (shallow, deep) in enumerate(pairwise(labels), start=1):
                if shallow != deep:
                    duels[j] += 1
                    wins[j] += deep == right
                    losses[j] += shallow == right
        return cls(len(truth), tuple(duels), tuple(wins), tuple(losses))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            ValueError: It is something else.
        """
        words = text.split(" ")
        wrong = f"labels {text!r:.60}, expected the number of texts, and {_EACH} numbers an exit"
        if not all(word.isascii() and word.isdigit() for word in words) or len(words) < 1 + _EACH:
            raise ValueError(wrong)
        texts, *counts = map(int, words)
        if len(counts) % _EACH:
            raise ValueError(wrong)
        try:
            return cls(texts, *(tuple(counts[kind::_EACH]) for kind in range(_EACH)))
        except InvalidInput as error:
            raise ValueError(f"{wrong}: {error}") from error

    def to_text(self) -> str:
        """Return it as one line of numbers: texts; then of each exit duels, wins and losses."""
        rows = zip(self.duels, self.wins, self.losses, strict=True)
        return " ".join(map(str, [self.texts, *(count for row in rows for count in row)]))

    @property
    def exits(self) -> int:
        """How many exits they are for."""
        return len(self.duels)


def corrected(
    stats: ExitStats, labels: LabelledDuels | None, *, credited: int = CREDITED_DUELS
) -> ExitStats:
    """Return the counters of a domain with the credits that its labels speak for.

    What a change of label is worth is the mean of what the credits say and of the share of
    labelled duels that the deeper exit won more than it lost. The credits weigh as much as
    `credited` duels, the labels as those that they decided, up to `LABELLED_DUELS_MOST`. Like
    credits, it is never below 0. A step without labelled duels keeps its credits.

    >>> from policy_state.stats import ExitStats
    >>> seen = ExitStats.from_texts([(0, 1)] * 100, exits=2, credits=[(0, 800)] * 100)
    >>> worthless = LabelledDuels(texts=50, duels=(0, 50), wins=(0, 20), losses=(0, 20))
    >>> corrected(seen, worthless).credit
    (0, 26667)
    """
    if labels is None or not any(labels.duels):
        return stats
    credit, squares = list(stats.credit), list(stats.squares)
    for j, decided in enumerate(labels.duels):
        if not decided or not stats.duels[j]:
            continue
        most = THOUSAND * stats.duels[j]
        before, weight = stats.credit[j] / most, min(decided, LABELLED_DUELS_MOST)
        won = (labels.wins[j] - labels.losses[j]) / decided
        worth = (credited * before + weight * won) / (credited + weight)
        worth = min(1.0, max(0.0, worth))
        credit[j] = round(most * worth)
        spread = stats.squares[j] * (worth / before) ** 2 if before else most * worth**2
        squares[j] = min(credit[j], round(spread))
    return replace(stats, credit=tuple(credit), squares=tuple(squares))
