"""Puts the dashboard together and serves it until it is told to stop."""

from __future__ import annotations

import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from consumer.dashboard import api, domain_page, pages
from consumer.dashboard.board import board_of
from consumer.dashboard.changes import ChangeRefused, form_of, make_change
from consumer.dashboard.guard import COOKIE, SESSION_S, Guard, within
from consumer.errors import ConsumerError, InvalidSettings, StreamUnavailable
from policy_state.errors import (
    DomainNotFound,
    InvalidInput,
    PolicyNotFound,
    PolicyStateError,
    StoreCorrupt,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from socket import socket

    from starlette.requests import Request
    from starlette.responses import Response

    from consumer.dashboard.board import Board
    from consumer.dashboard.guard import Access

_STATUS: Final[list[tuple[type[Exception], int]]] = [
    (InvalidInput, 400),
    (InvalidSettings, 400),
    (ChangeRefused, 403),
    (DomainNotFound, 404),
    (StoreCorrupt, 500),
    (StoreRefused, 403),
    (StoreFull, 409),
    (PolicyNotFound, 503),
    (StoreUnavailable, 503),
    (StreamUnavailable, 503),
]
_SWITCH_S: Final = 0.0005  # an answer waits no longer for the thread that reads domains
_NAME_MOST: Final = 100


def application(board: Board) -> Starlette:
    """Return the dashboard of a board. While it is served, its index is kept up."""

    @asynccontextmanager
    async def kept_up(_: Starlette) -> AsyncIterator[None]:
        stop = threading.Event()
        keeper = threading.Thread(
            target=board.index.run, args=(stop, board.open), name="domains", daemon=True
        )
        keeper.start()
        yield
        stop.set()

    app = Starlette(
        routes=[
            *pages.ROUTES,
            *domain_page.ROUTES,
            *api.ROUTES,
            Route("/login", _login, methods=["GET", "POST"]),
            Route("/logout", _logout, methods=["POST"]),
            Route("/change", _change, methods=["POST"]),
            Mount("/static", StaticFiles(directory=pages.FOLDER / "static")),
        ],
        exception_handlers={
            HTTPException: _failed,
            PolicyStateError: _failed,
            ConsumerError: _failed,
        },
        lifespan=kept_up,
    )
    app.state.board = board
    app.add_middleware(Guard, access=board.access)
    return app


def serve(board: Board, listening: socket) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM."""
    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        application(board),
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listening])


async def _login(request: Request) -> Response:
    access: Access = request.app.state.board.access
    if access.token is None:
        return RedirectResponse("/", 303)
    if request.method != "POST":
        return pages.rendered(
            request, "login.html", next=within(request.query_params.get("next", "/")), wrong=""
        )
    form = await form_of(request)
    going, name = within(form.get("next", "/")), form.get("name", "").strip()[:_NAME_MOST]
    wrong = ""
    if not access.knows(form.get("token", "").strip()):
        wrong = "That is not the token."
    elif access.writes and not name:
        wrong = "Your name is missing. The audit shows it beside your changes."
    if wrong:
        return pages.rendered(request, "login.html", status=403, next=going, wrong=wrong)
    answer = RedirectResponse(going, 303)
    answer.set_cookie(
        COOKIE,
        access.session(name or "viewer"),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


async def _logout(_: Request) -> Response:
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def _change(request: Request) -> Response:
    done = await make_change(request, board_of(request), request.scope["state"]["asking"])
    return RedirectResponse(domain_page.address(done["records"][0]["domain"]), 303)


def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status, said = error.status_code, str(error.detail)
    else:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        said = str(error)
    if request.url.path.startswith("/api/"):
        return api.as_json(request, {"error": said}, status=status)
    return pages.rendered(request, "error.html", status=status, error=said)
