"""The description of the JSON API, as an OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from consumer import __version__
from consumer.cli.output import VERSION
from consumer.dashboard.changes import ACTIONS
from consumer.dashboard.documents import MEASURES
from consumer.dashboard.index import SHOWN, SORTS

Schema = dict[str, Any]

_NUMBER: Final[Schema] = {"type": "number"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_WORD: Final[Schema] = {"type": "string"}
_LIST: Final[Schema] = {"type": "array"}
_OBJECT: Final[Schema] = {"type": "object"}
_SHARE: Final[Schema] = {
    "description": "A share with its 95 % interval; null: nothing is known.",
    "type": ["object", "null"],
    "required": ["share", "low", "high", "texts"],
    "properties": {"share": _NUMBER, "low": _NUMBER, "high": _NUMBER, "texts": _COUNT},
}
_DOMAIN: Final[Schema] = {
    "domain": _WORD,
    "texts": _COUNT,
    "exit": _COUNT,
    "layer": _COUNT,
    "learnt": _COUNT,
    "layers_saved": {"type": ["number", "null"]},
    "holdout": {
        "type": ["object", "null"],
        "properties": {"agreement": _SHARE, "layers_saved": _SHARE},
    },
    "warnings": {"type": "array", "items": _WORD},
    "pin": {"type": ["integer", "null"]},
    "frozen": {"type": "boolean"},
}
_EXIT: Final[Schema] = {
    "exit": _COUNT,
    "layer": _COUNT,
    "cost": _NUMBER,
    "played": _COUNT,
    "observed": _COUNT,
    "disagreement": {"type": ["number", "null"]},
    "reward": {"type": ["number", "null"]},
    "index": {"type": ["number", "null"]},
    "flags": {"type": "array", "items": _WORD},
}
_CHANGE: Final[Schema] = {"time_ms": _COUNT, "action": _WORD, "by": _WORD, "reason": _WORD}


def _unless_damaged(kind: str) -> Schema:
    return {"type": [kind, "null"], "description": "null: the policy is damaged."}


def described() -> Schema:
    """Return the OpenAPI document."""
    name = _asked("name", _WORD, "Name of the domain.", needed=True)
    limit = _asked("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "Most rows.")
    offset = _asked("offset", _COUNT, "Rows to skip.")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Offramp dashboard",
            "version": __version__,
            "description": (
                "What the dashboard shows, as JSON. Documents of a `kind` that begins with policy- "
                "or route- are those that the commands print with `-o json`."
            ),
        },
        "paths": {
            "/api/overview": _reads(
                "How the fleet is doing, and what `offramp status` finds, the worst first.",
                _document(
                    "dashboard-overview",
                    "findings",
                    {"severity": _WORD, "check": _WORD, "text": _WORD, "fix": _WORD},
                    policy=_WORD,
                    workers=_COUNT,
                    texts=_unless_damaged("integer"),
                    domains=_unless_damaged("integer"),
                    states=_unless_damaged("object"),
                    texts_per_s=_unless_damaged("number"),
                ),
            ),
            "/api/domains": _reads(
                "Some of the domains, as `offramp policy list`.",
                _document("policy-list", "domains", _DOMAIN, found=_COUNT, offset=_COUNT),
                _asked("search", _WORD, "What the names contain."),
                _asked("show", {"enum": list(map(str, SHOWN))}, "Only domains of this state."),
                _asked("sort", {"enum": list(SORTS)}, "What they are sorted by."),
                _asked("order", {"enum": ["down", "up"]}, "The largest first, or the smallest."),
                offset,
                limit,
            ),
            "/api/domain": _reads(
                "The exits of one domain, as `offramp policy show`.",
                _document("policy-show", "exits", _EXIT, **_DOMAIN),
                name,
            ),
            "/api/explain": _reads(
                "Why a domain uses its exit, as `offramp explain`.",
                _document("policy-explain", "explanations", {"domain": _WORD, "text": _WORD}),
                name,
            ),
            "/api/history": _reads(
                "Samples and changes of a domain, as `offramp policy history`.",
                _document("policy-history", "entries", {"time_ms": _COUNT, "what": _WORD}),
                name,
                limit,
            ),
            "/api/what-if": _reads(
                "What a domain's counters would choose with other settings. Changes nothing.",
                _document(
                    "dashboard-what-if",
                    "exits",
                    {"exit": _COUNT},
                    exit=_COUNT,
                    layer=_COUNT,
                    agreement=_SHARE,
                    text=_WORD,
                ),
                name,
                _asked("cost_weight", {"type": "number", "minimum": 0}, "Instead of the policy's."),
                _asked("tolerance", {"type": "number", "minimum": 0}, "The same; 0 for none."),
                _asked("gate", {"type": "number", "minimum": 0}, "The same; 0 for none."),
            ),
            "/api/heat-map": _reads(
                "A measure of every exit, of the domains with most texts. null: not known.",
                _document(
                    "dashboard-heat-map",
                    "domains",
                    {"domain": _WORD, "exit": _COUNT, "values": _LIST},
                    layers=_LIST,
                    measure=_WORD,
                ),
                _asked("measure", {"enum": list(MEASURES)}, "Which one."),
                offset,
                _asked("limit", {"type": "integer", "minimum": 1, "maximum": 200}, "Most rows."),
            ),
            "/api/audit": _reads(
                "Who changed what, as `offramp policy audit`.",
                _document("policy-audit", "changes", _CHANGE),
                limit,
            ),
            "/api/workers": _reads(
                "The workers that are alive, as `offramp policy workers`.",
                _document("policy-workers", "workers", {"instance": _WORD}),
            ),
            "/api/routes": _reads(
                "The routes in force, as `offramp route list`.",
                _document("route-list", "routes", {"topics": _WORD}, group=_WORD, source=_WORD),
            ),
            "/api/topics": _reads(
                "The topics of the group and their lag, as `offramp topics list`.",
                _document("topics-list", "topics", {"topic": _WORD, "role": _WORD}, group=_WORD),
            ),
            "/api/dead-letters": _reads(
                "Dead letters by stage and class; the latest ones, without texts unless allowed.",
                _document(
                    "dashboard-dead-letters",
                    "classes",
                    {"stage": _WORD, "class": _WORD, "letters": _COUNT},
                    topic=_WORD,
                    letters=_COUNT,
                    latest=_LIST,
                ),
            ),
            "/api/change": {"post": _changes()},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _changes() -> Schema:
    said = "Pins, unpins, freezes, unfreezes or resets a domain, if the dashboard allows it."
    form = {
        "domain": _WORD,
        "action": {"enum": list(ACTIONS)},
        "exit": _COUNT,
        "for": {"type": "string", "description": "How long a pin lasts, such as 2h."},
        "keep": {"type": "number", "description": "Share of the counters that a reset keeps."},
        "reason": _WORD,
        "by": {"type": "string", "description": "Who makes the change."},
    }
    schema = {
        "type": "object",
        "required": ["domain", "action", "reason", "by"],
        "properties": form,
    }
    rows = {"domain": _WORD, "action": _WORD, "when": _WORD}
    return _operation(said, _document("policy-change", "records", rows)) | {
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": schema}},
        }
    }


def _reads(said: str, answer: Schema, *parameters: Schema) -> Schema:
    return {"get": _operation(said, answer) | {"parameters": list(parameters)}}


def _operation(said: str, answer: Schema) -> Schema:
    problem = {"type": "object", "required": ["error"], "properties": {"error": _WORD}}
    return {
        "summary": said,
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": answer}}},
            "default": {
                "description": "Why it was not done.",
                "content": {"application/json": {"schema": problem}},
            },
        },
    }


def _asked(name: str, schema: Schema, said: str, *, needed: bool = False) -> Schema:
    return {"name": name, "in": "query", "required": needed, "description": said, "schema": schema}


def _document(kind: str, rows_name: str, columns: Schema, **head: Schema) -> Schema:
    row = {"type": "object", "required": list(columns), "properties": columns}
    return {
        "type": "object",
        "required": ["version", "kind", *head, rows_name],
        "properties": {
            "version": {"const": VERSION},
            "kind": {"const": kind},
            **head,
            rows_name: {"type": "array", "items": row},
        },
    }
