"""Changes from the dashboard: pin, unpin, freeze, unfreeze and reset, if they are allowed."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool

from consumer.cli.output import document, duration_ms
from consumer.cli.policy.change import flat_record, read_to_change
from consumer.errors import ConsumerError
from policy_state.errors import InvalidInput
from policy_state.store.admin import Freeze, Pin, Reset, Unfreeze, Unpin, check_signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from consumer.dashboard.board import Board
    from consumer.dashboard.documents import Document
    from consumer.dashboard.guard import Asking
    from policy_state.store.admin import Change

ACTIONS: Final = ("pin", "unpin", "freeze", "unfreeze", "reset")
_MOST_BYTES: Final = 10_000


class ChangeRefused(ConsumerError):
    """Who asks may not make a change here."""


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        InvalidInput: it is too large, or not UTF-8.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise InvalidInput(f"a form of more than {_MOST_BYTES} bytes")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except ValueError as error:
        raise InvalidInput(f"a form that cannot be read: {error}") from error


async def make_change(request: Request, board: Board, asking: Asking) -> Document:
    """Make the change that a form asks for, and return what `pin -o json` and the like give.

    Raises:
        ChangeRefused: changes are not allowed, or not to who asks.
        InvalidInput: the form is not one of a change.
    """
    if not board.access.writes:
        raise ChangeRefused(
            "this dashboard changes nothing; `offramp dashboard --allow-writes` does, and the "
            "commands shown on the page do in any case"
        )
    form = await form_of(request)
    if not asking.bearer:
        if asking.person is None:
            raise ChangeRefused("a change needs the token")
        key = board.access.form_key(asking.session)
        if not hmac.compare_digest(form.get("form_key", "").encode(), key.encode()):
            raise ChangeRefused("this form is not of your session; load the page again")
    by = form.get("by", "") if asking.bearer else asking.person or ""
    return await run_in_threadpool(_made, board, form, f"{by} (dashboard)" if by.strip() else "")


def _made(board: Board, form: Mapping[str, str], by: str) -> Document:
    domain, reason = form.get("domain", ""), form.get("reason", "").strip()
    change = _change_of(form)
    check_signed(by, reason)
    if not reason:
        raise InvalidInput("the reason is blank; say why you make the change")
    opened = read_to_change(board.store, domain, change).opened
    done = board.store.change(domain, change, by=by, reason=reason)
    rows = [
        {"domain": domain, "action": form["action"], "when": when, **flat_record(snapshot)}
        for when, snapshot in (("before", done.before), ("after", done.after))
    ]
    return document("policy-change", rows, rows_name="records", policy=opened.meta.name)


def _change_of(form: Mapping[str, str]) -> Change:
    match form.get("action"):
        case "pin":
            exit_, lasting = form.get("exit", ""), form.get("for", "").strip()
            if not (exit_.isascii() and exit_.isdecimal() and len(exit_) < 5):  # noqa: PLR2004
                raise InvalidInput(f"exit {exit_[:20]!r}, expected the number of an exit")
            return Pin(int(exit_), duration_ms(lasting) if lasting else None)
        case "unpin":
            return Unpin()
        case "freeze":
            return Freeze()
        case "unfreeze":
            return Unfreeze()
        case "reset":
            keep = form.get("keep") or "0"
            try:
                return Reset(keep=float(keep))
            except ValueError as error:
                raise InvalidInput(
                    f"keep {keep[:20]!r}, expected a share from 0 to below 1"
                ) from error
    action = str(form.get("action"))[:20]
    raise InvalidInput(f"action {action!r}, expected one of {', '.join(ACTIONS)}")
