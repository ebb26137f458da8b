"""Who may ask the dashboard: names of hosts, origins, the token, sessions and their forms.

A page in another tab may send requests to a server on this machine, and a name under a stranger's
control may resolve to it. So a request is answered only if it names this server (`Host`), and one
that changes something only if a page of this server sent it (`Origin`) or it carries the token.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from secrets import token_bytes
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "offramp_session"
SESSION_S: Final = 12 * 3600
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
TOKEN_LEAST: Final = 16
_OPEN: Final = ("/login", "/static/")  # without a token
_READING: Final = ("GET", "HEAD")
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask, and who may change something."""

    hosts: frozenset[str] = LOOPBACK  # names that requests may call this server by
    token: str | None = None  # what everybody must know; None: whoever reaches the port may look
    writes: bool = False  # whether those who know it may change anything
    key: bytes = field(default_factory=lambda: token_bytes(32), repr=False)  # signs sessions
    clock: Callable[[], float] = time.time

    def knows(self, token: str) -> bool:
        """Return whether this is the token; takes as long whatever is wrong with it."""
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def session(self, name: str) -> str:
        """Return a new session of a person, as a cookie's value."""
        said = f"{int(self.clock()) + SESSION_S}.{quote(name, safe='')}"
        return f"{said}.{self._signed('session', said)}"

    def person(self, session: str) -> str | None:
        """Return whose session it is; None if it is over, or not one of ours."""
        said, _, signature = session.rpartition(".")
        until, _, name = said.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signed("session", said).encode()):
            return None
        return unquote(name) if int(until) > self.clock() else None

    def form_key(self, session: str) -> str:
        """Return what the forms of a session carry: a page elsewhere cannot know it."""
        return self._signed("form", session)

    def _signed(self, use: str, text: str) -> str:
        return hmac.new(self.key, f"{use} {text}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, as far as that is known; `scope["state"]["asking"]` of each request."""

    session: str = ""
    person: str | None = None  # of a session
    bearer: bool = False  # knows the token, and said so in this request

    @property
    def known(self) -> bool:
        """Whether the token is known to who asks."""
        return self.bearer or self.person is not None


class Guard:
    """Answers what may not be asked, and adds the headers that keep pages to themselves."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before an application."""
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        asking = self._asking(headers)
        scope.setdefault("state", {})["asking"] = asking
        refusal = self._refusal(scope, headers, asking)
        await (refusal or self._app)(scope, receive, headed)

    def _asking(self, headers: Headers) -> Asking:
        kind, _, token = headers.get("authorization", "").partition(" ")
        bearer = kind.lower() == "bearer" and self._access.knows(token.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        session = cookie.value if cookie else ""
        return Asking(session, self._access.person(session) if session else None, bearer)

    def _refusal(self, scope: Scope, headers: Headers, asking: Asking) -> Response | None:
        path, method, named = scope["path"], scope["method"], headers.getlist("host")
        if len(named) != 1 or _name_of(named[0]) not in self._access.hosts:
            return PlainTextResponse(
                "this server does not answer to that name; start it with `--allow-host NAME`\n",
                status_code=421,
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != named[0]:
            return PlainTextResponse("a page of another site sent this\n", status_code=403)
        if method not in _READING and origin is None and not asking.bearer:
            return PlainTextResponse(
                "a change needs an Origin, or the token: `Authorization: Bearer TOKEN`\n",
                status_code=403,
            )
        if self._access.token is None or asking.known or path.startswith(_OPEN):
            return None
        if path.startswith("/api/"):
            return JSONResponse(
                {"error": "the token is missing or wrong: `Authorization: Bearer TOKEN`"},
                status_code=401,
                headers={"www-authenticate": "Bearer"},
            )
        wanted = path + (
            f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        )
        query = f"?{urlencode({'next': wanted})}" if method in _READING and wanted != "/" else ""
        return RedirectResponse(f"/login{query}", status_code=303)


def _name_of(host: str) -> str:
    """Return the name in a `Host` header, without the port.

    >>> _name_of("LOCALHOST:8200"), _name_of("[::1]:8200"), _name_of("::1")
    ('localhost', '::1', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return (host if host.count(":") > 1 else host.partition(":")[0]).lower()


def within(path: str) -> str:
    """Return the path to go to after a login: one of this server, whatever was asked for.

    >>> within("/domains?search=a"), within("//evil.example/"), within("https://evil.example")
    ('/domains?search=a', '/', '/')
    """
    ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if ours else "/"
