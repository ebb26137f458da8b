"""Labels as files have them, words or whole numbers, and the classes of a model they stand for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from model.config import default_labels
from model.errors import InvalidData, InvalidOptions

CLASSES_MOST: Final = 1000
"""More different labels than this are ids or texts: somebody named the wrong column."""

CALIBRATE_LEAST: Final = 200
"""With fewer texts a temperature says more about the sample than about the exit."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_SHOWN: Final = 20
_SHOWN_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a model by name, in the order of their numbers 0, 1, ..

    >>> words, stars = Classes(("negative", "positive")), Classes(("1", "2", "3"))
    >>> words.number("positive"), words.number("0"), words.number("2"), stars.number("1")
    (1, 0, None, 0)
    """

    names: tuple[str, ...]
    order: str = ""  # how it came about, for the card
    numbers: Mapping[str, int] = field(default_factory=dict)  # whole numbers of a file's own

    def number(self, label: str) -> int | None:
        """Return the number of the class a label stands for; None if the model has no such class.

        A label is the name of a class. A whole number that is no name is the number of a class,
        unless the classes are called by whole numbers.
        """
        for name in (label.strip(), _plain(label)):
            if name in self.names:
                return self.names.index(name)
        label = _plain(label)
        if label in self.numbers:
            return self.numbers[label]
        if not _NUMBER.fullmatch(label) or any(map(_NUMBER.fullmatch, self.names)):
            return None
        number = int(label)
        return number if 0 <= number < len(self.names) and not self.numbers else None

    def require(self, label: str, where: str, *, cure: str = "") -> int:
        """Return the number of the class a label stands for.

        Raises:
            InvalidData: the model has no such class; lists those that it has.
        """
        number = self.number(label)
        if number is None:
            near = difflib.get_close_matches(label.casefold(), map(str.casefold, self.names), n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise InvalidData(
                f"{where}: label is {label[:_SHOWN_CHARACTERS]!r}{meant}, "
                f"but the model has the classes {self}{cure}"
            )
        return number

    def __str__(self) -> str:
        """Return the names with their numbers, for messages and cards."""
        own = {number: label for label, number in self.numbers.items()}
        told = [
            f"{i} = {name}" + (f" ({own[i]} in the file)" if i in own else "")
            for i, name in enumerate(self.names[:_SHOWN])
        ]
        more = len(self.names) - _SHOWN
        return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def classes_of(
    labels: Iterable[str],
    *,
    where: str,
    named: Sequence[str] | None = None,
    known: Iterable[Sequence[str]] = (),
) -> Classes:
    """Return the classes that the labels of a training stand for.

    `named` decides, if given. Otherwise a model that the training starts or learns from decides, if
    it has all of the labels. Otherwise whole numbers are sorted by value, words by the alphabet.

    Args:
        labels: as the file has them.
        where: the file, for messages.
        named: the names of the classes in order, given by the user.
        known: the names of the classes of such models.

    Raises:
        InvalidData: there is one class only, there are too many, or one is none of `named`.
        InvalidOptions: `named` are not two or more different names.
    """
    found = {_plain(label) for label in labels}
    if len(found) == 1:
        (label,) = found
        raise InvalidData(
            f"{where}: every label is {label[:_SHOWN_CHARACTERS]!r}; "
            "a classifier needs texts of two or more classes"
        )
    if len(found) > CLASSES_MOST:
        raise InvalidData(
            f"{where}: has {len(found):,} different labels, but at most {CLASSES_MOST:,} "
            "are supported; name the column of the labels with --label-column"
        )
    numeric = all(map(_NUMBER.fullmatch, found))
    rising = sorted(found, key=int) if numeric else sorted(found)
    if named is not None:
        return _named(tuple(named), rising, where, numeric=numeric)
    for names in known:
        if _covers(Classes(tuple(names)), found, numeric=numeric):
            return Classes(
                tuple(names), "as the model that the training starts or learns from has them"
            )
    if not numeric:
        return Classes(tuple(rising), "in the order of the alphabet")
    from_zero = rising == [str(number) for number in range(len(rising))]
    names = default_labels(len(rising)) if from_zero else rising
    return Classes(tuple(names), "in the order of the file's numbers")


def check_enough(truth: Sequence[int]) -> None:
    """Make sure that labels are enough to calibrate with.

    Raises:
        InvalidData: there are too few, or all are the same.
    """
    if len(truth) < CALIBRATE_LEAST:
        raise InvalidData(
            f"{len(truth)} labelled texts for calibration, at least {CALIBRATE_LEAST} are needed"
        )
    if len(set(truth)) == 1:
        raise InvalidData("all texts for calibration have the same label, two or more are needed")


def _named(named: tuple[str, ...], rising: list[str], where: str, *, numeric: bool) -> Classes:
    if len(set(named)) < max(2, len(named)) or not all(named):
        raise InvalidOptions(
            f"--labels {','.join(named)}: expected two or more different names, separated by commas"
        )
    classes = Classes(named, "as --labels has them")
    strange = [label for label in rising if classes.number(label) is None]
    if not strange:
        return classes
    if numeric and len(rising) == len(named) and not any(map(_NUMBER.fullmatch, named)):
        numbers = {label: i for i, label in enumerate(rising)}
        return Classes(named, "as --labels has them, in the order of the file's numbers", numbers)
    raise InvalidData(
        f"{where}: label {strange[0][:_SHOWN_CHARACTERS]!r} is not in --labels {','.join(named)}"
    )


def _covers(classes: Classes, found: set[str], *, numeric: bool) -> bool:
    """Say whether labels are the classes of a model: words its names, numbers 0 to its last."""
    if any(classes.number(label) is None for label in found):
        return False
    if numeric and not any(map(_NUMBER.fullmatch, classes.names)):
        return {"0", str(len(classes.names) - 1)} <= found
    return True


def _plain(label: str) -> str:
    """Return a label in the one way it is compared: `01` is the whole number 1."""
    label = label.strip()
    return str(int(label)) if _NUMBER.fullmatch(label) else label
