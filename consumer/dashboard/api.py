"""The JSON API: each answer is a document of `documents.py`, described in `openapi.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response
from starlette.routing import Route

from consumer.dashboard import documents
from consumer.dashboard.board import (
    amount_of,
    asking,
    board_of,
    choice_of,
    integer_of,
    text_of,
)
from consumer.dashboard.changes import make_change
from consumer.dashboard.index import SHOWN, SORTS
from consumer.dashboard.openapi import described
from consumer.dashboard.what_if import NO_GATE, Instead, what_if

if TYPE_CHECKING:
    from starlette.requests import Request

    from consumer.dashboard.board import Board

MOST_ROWS: Final = 1000

Found = Callable[["Request"], documents.Document]


def answered(request: Request, body: bytes, media_type: str, *, status: int = 200) -> Response:
    """Return an answer with a tag of its content; without the content if who asks has it."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if status == 200 and request.headers.get("if-none-match") == tag:  # noqa: PLR2004
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, status, media_type=media_type, headers={"etag": tag})


def as_json(request: Request, found: Mapping[str, Any], *, status: int = 200) -> Response:
    """Return a document."""
    return answered(request, orjson.dumps(found), "application/json", status=status)


def page_of_domains(request: Request, *, limit: int) -> documents.Document:
    """Return the domains that an address asks for."""
    board = board_of(request)
    return documents.domains(
        board,
        search=request.query_params.get("search", "")[:200],
        show=choice_of(request, "show", SHOWN),
        sort=choice_of(request, "sort", SORTS),
        down=choice_of(request, "order", ("down", "up")) == "down",
        offset=integer_of(request, "offset", 0, least=0, most=10**9),
        limit=integer_of(request, "limit", limit, least=1, most=MOST_ROWS),
    )


def settings_to_try(request: Request) -> Instead:
    """Return the settings in an address, which are to be tried instead of the policy's."""
    gate = amount_of(request, "gate")
    return Instead(
        cost_weight=amount_of(request, "cost_weight"),
        tolerance=amount_of(request, "tolerance"),
        gate=0.0 if gate == NO_GATE else gate,
    )


def _heat_map(request: Request) -> documents.Document:
    return documents.heat_map(
        board_of(request),
        measure=choice_of(request, "measure", documents.MEASURES),
        offset=integer_of(request, "offset", 0, least=0, most=10**9),
        limit=integer_of(request, "limit", 30, least=1, most=200),
    )


def _of_domain(find: Callable[[Board, str], documents.Document]) -> Found:
    return lambda request: find(board_of(request), text_of(request, "name"))


def _limit(request: Request) -> int:
    return integer_of(request, "limit", 100, least=1, most=MOST_ROWS)


_FOUND: Final[Mapping[str, Found]] = {
    "openapi.json": lambda _: described(),
    "overview": lambda request: documents.overview(board_of(request)),
    "domains": lambda request: page_of_domains(request, limit=100),
    "domain": _of_domain(documents.domain),
    "explain": _of_domain(documents.explain),
    "history": lambda request: documents.history(
        board_of(request), text_of(request, "name"), limit=_limit(request)
    ),
    "what-if": lambda request: what_if(
        board_of(request), text_of(request, "name"), settings_to_try(request)
    ),
    "heat-map": _heat_map,
    "audit": lambda request: documents.audit(board_of(request), limit=_limit(request)),
    "workers": lambda request: documents.workers(board_of(request)),
    "routes": lambda request: documents.routes(board_of(request)),
    "topics": lambda request: board_of(request).kafka.topics(),
    "dead-letters": lambda request: board_of(request).kafka.dead_letters(),
}


def _answering(find: Found) -> Callable[[Request], Response]:
    return lambda request: as_json(request, find(request))


async def _changed(request: Request) -> Response:
    return as_json(request, await make_change(request, board_of(request), asking(request)))


ROUTES = [
    *(Route(f"/api/{name}", _answering(find)) for name, find in _FOUND.items()),
    Route("/api/change", _changed, methods=["POST"]),
]
