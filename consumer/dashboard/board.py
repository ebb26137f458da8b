"""What all pages of the dashboard are made from, and the questions that requests ask of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_state.errors import InvalidInput, PolicyNotOpen

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from consumer.dashboard.guard import Access, Asking
    from consumer.dashboard.index import DomainIndex
    from consumer.dashboard.kafka_view import KafkaView
    from consumer.settings.load import Settings
    from policy_state.store.redis.store import RedisStore

_DIGITS_MOST: Final = 12


@dataclass(frozen=True, kw_only=True)
class Board:
    """The policy that is shown, and how."""

    settings: Settings
    store: RedisStore
    opening: Callable[[], None]  # opens the policy on the store
    index: DomainIndex
    access: Access
    kafka: KafkaView

    def open(self) -> None:
        """Open the policy, unless that was done.

        Raises:
            PolicyNotFound: no worker has made it yet.
            StoreUnavailable: Redis does not answer.
        """
        try:
            self.store.bound()
        except PolicyNotOpen:
            self.opening()


def board_of(request: Request) -> Board:
    """Return the board of the application that got a request, with its policy open.

    Raises:
        StoreError: the policy cannot be opened, for now; see `Board.open`.
    """
    board: Board = request.app.state.board
    board.open()
    return board


def asking(request: Request) -> Asking:
    """Return who asks."""
    found: Asking = request.scope["state"]["asking"]
    return found


def text_of(request: Request, name: str) -> str:
    """Return a parameter that the address must have.

    Raises:
        InvalidInput: it is missing.
    """
    value = request.query_params.get(name)
    if value is None:
        raise InvalidInput(f"the parameter {name} is missing")
    return value


def integer_of(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a whole number of the address.

    Raises:
        InvalidInput: it is none, or out of bounds.
    """
    value = request.query_params.get(name, str(default))
    whole = value.isascii() and value.isdecimal() and len(value) <= _DIGITS_MOST
    if not (whole and least <= int(value) <= most):
        raise InvalidInput(f"{name} {value[:20]!r}, expected a whole number of {least} to {most}")
    return int(value)


def amount_of(request: Request, name: str) -> float | None:
    """Return a number of the address, None if it is missing or empty.

    Raises:
        InvalidInput: it is no finite number.
    """
    value = request.query_params.get(name, "")
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(f"{name} {value[:20]!r}, expected a number")
    return number


def choice_of(request: Request, name: str, choices: tuple[str, ...]) -> str:
    """Return one of some words of the address, the first one by default.

    Raises:
        InvalidInput: it is another one.
    """
    value = request.query_params.get(name) or choices[0]
    if value not in choices:
        raise InvalidInput(f"{name} {value[:20]!r}, expected one of {', '.join(choices)}")
    return value
