"""Options of the command line for settings that can be unset: a number, or the word for none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_state.options import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER_OR_NONE = f"<float>|{UNSET}"


def number_or_none(least: float, most: float) -> Callable[[str], float | str]:
    """Return what reads a number from `least` to `most`, or the word that unsets it.

    >>> [number_or_none(0, 1)(text) for text in ("0.5", "none")]
    [0.5, 'none']
    """

    def read(text: str) -> float | str:
        if text == UNSET:
            return text
        try:
            number = float(text)
        except ValueError:
            msg = f"expected a number or {UNSET}"
            raise ValueError(msg) from None
        if not least <= number <= most:  # NaN, too
            msg = f"expected {least:g}..{most:g}, or {UNSET}"
            raise ValueError(msg)
        return number

    return read
