"""The pages: each is made on the server from the same documents as the answers of the API."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.routing import Route

from consumer import __version__
from consumer.cli.output import clock, percent, printable, since, span
from consumer.cli.policy.history import change_detail, partitions_in_ranges
from consumer.dashboard import documents
from consumer.dashboard.api import answered, page_of_domains
from consumer.dashboard.board import asking, board_of, choice_of
from consumer.dashboard.index import SHOWN, SORTS
from consumer.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from consumer.dashboard.board import Board

FOLDER: Final = Path(__file__).parent
_ROWS: Final = 50
_HEAT_ROWS: Final = 24
_SHADES: Final = 9
_LEAST: Final = 20  # texts of the holdout, with fewer a share says nothing
_AUDIT: Final = 200
_COMMAND: Final = re.compile("`([^`]+)`")
_LOOKS: Final = {
    "domains": "/domains?show=alarmed",
    "policy": "/domains",
    "kafka": "/routes",
    "lag": "/routes",
    "routes": "/routes",
    "standstill": "/workers",
    "topics": "/routes",
    "dead letters": "/dead-letters",
}
"""The page that shows more of a finding, by its check."""

_MEASURES: Final = {
    "share": "Share of texts that stopped there",
    "disagreement": "Labels that differ from exit 0",
    "error": "Estimated error",
    "texts": "Texts that ran to it",
}


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "clock": clock,
        "number": lambda value: "-" if value is None else f"{value:,}",
        "percent": percent,
        "points": lambda share: (
            f"±{100 * max(share['high'] - share['share'], share['share'] - share['low']):.1f}"
        ),
        "printable": printable,
        "shell": shlex.quote,
        "since": since,
        "span": span,
        "address": urlencode,
        "worded": _worded,
        "unique_address": lambda pairs: urlencode(dict(pairs)),  # the latter of two wins
    }
    return found


def _worded(text: str) -> Markup:
    """Return a sentence in which commands between backticks are set as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(printable(text)))))  # noqa: S704


def rendered(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """Return a page."""
    board: Board = request.app.state.board
    who, page = asking(request), _templates().get_template(template)
    body = page.render(
        path=request.url.path,
        query=dict(request.query_params),
        policy=board.settings.policy.name,
        version=__version__,
        token=board.access.token is not None,
        person=who.person,
        writes=board.access.writes,
        form_key=board.access.form_key(who.session) if who.person is not None else "",
        kafka=board.kafka.asked,
        **values,
    )
    return answered(request, body.encode(), "text/html", status=status)


def overview(request: Request) -> Response:
    """Return the first page: what needs attention, what is saved, and the heat map."""
    board = board_of(request)
    measure = choice_of(request, "measure", documents.MEASURES)
    overview = documents.overview(board)
    calibrated, heat = overview["calibrated"], None
    if calibrated is not None:
        heat = _shaded(documents.heat_map(board, measure=measure, offset=0, limit=_HEAT_ROWS))
    return rendered(
        request,
        "overview.html",
        overview=overview,
        looks=_LOOKS,
        heat=heat,
        measures={k: v for k, v in _MEASURES.items() if k != "error" or calibrated},
        changes=[(e, change_detail(e)) for e in board.store.audit(limit=6)],
    )


def _shaded(heat: documents.Document) -> documents.Document:
    """Add to each value of the heat map its shade, 0 to 9, and how it is written."""
    known = [v for row in heat["domains"] for v in row["values"] if v is not None]
    most = max(known, default=0) or 1
    most = most if heat["measure"] in {"error", "texts", "disagreement"} else 1
    for row in heat["domains"]:
        row["cells"] = [
            (None, "") if v is None else (round(_SHADES * v / most), _written(v, heat["measure"]))
            for v in row["values"]
        ]
    return heat


def _written(value: float, measure: str) -> str:
    if measure != "texts":
        return f"{value:.0%}" if value >= 0.1 or not value else f"{value:.1%}"  # noqa: PLR2004
    return f"{value:,}"


def domains(request: Request) -> Response:
    """Return the list of domains."""
    board = board_of(request)
    found = page_of_domains(request, limit=_ROWS)
    limit = int(request.query_params.get("limit", _ROWS))
    asked = {
        k: v
        for k, v in request.query_params.items()
        if k in {"search", "show", "sort", "order"} and v
    }
    return rendered(
        request,
        "domains.html",
        found=found,
        states={row["domain"]: board.index.rows.get(row["domain"]) for row in found["domains"]},
        asked=asked,
        sort=asked.get("sort", SORTS[0]),
        order=asked.get("order", "down"),
        shown=SHOWN,
        least=_LEAST,
        limit=limit,
        read=len(board.index.rows),
        total=len(board.index.names),
        complete=board.index.complete,
    )


def routes(request: Request) -> Response:
    """Return the routes in force, and how far the group is behind in their topics."""
    board = board_of(request)
    topics, trouble = _of_kafka(board, board.kafka.topics)
    found = documents.routes(board)
    return rendered(request, "routes.html", found=found, topics=topics, trouble=trouble)


def dead_letters(request: Request) -> Response:
    """Return how many records could not be used, and why."""
    board = board_of(request)
    found, trouble = _of_kafka(board, board.kafka.dead_letters)
    return rendered(request, "dead_letters.html", found=found, trouble=trouble)


def _of_kafka(
    board: Board, find: Callable[[], documents.Document]
) -> tuple[documents.Document | None, str]:
    """Return what Kafka has, or why there is nothing: the rest of the page does not need it."""
    if not board.kafka.asked:
        return None, ""
    try:
        return find(), ""
    except StreamUnavailable as error:
        return None, str(error)


def workers(request: Request) -> Response:
    """Return the workers that are alive."""
    rows = documents.workers(board_of(request))["workers"]
    shown = [row | partitions_in_ranges(row.get("partitions")) for row in rows]
    return rendered(request, "workers.html", workers=shown)


def audit(request: Request) -> Response:
    """Return who changed what."""
    changes = board_of(request).store.audit(limit=_AUDIT)
    return rendered(request, "audit.html", changes=[(e, change_detail(e)) for e in changes])


ROUTES = [
    Route("/", overview),
    Route("/domains", domains),
    Route("/routes", routes),
    Route("/workers", workers),
    Route("/dead-letters", dead_letters),
    Route("/audit", audit),
]
