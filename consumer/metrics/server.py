"""The port of a worker or a supervisor: `/live`, `/ready` and `/metrics`."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from consumer.errors import InvalidSettings

if TYPE_CHECKING:
    from consumer.metrics.board import Board
    from consumer.settings.sections import MetricsSettings

log = logging.getLogger("offramp.metrics")

_TEXT: Final = "text/plain; charset=utf-8"
_PATHS: Final = "/live, /ready, /metrics\n"
_SILENCE_S: Final = 5.0  # of a client, after which its connection is closed
_WHOLE_S: Final = 10.0  # after which it is closed however it goes on
_MOST: Final = 32  # connections at once; the oldest one makes room


class MetricsPort:
    """Answers on a port, in its own threads, until it is closed."""

    def __init__(self, board: Board, settings: MetricsSettings) -> None:
        """Listen at once.

        Raises:
            InvalidSettings: the port cannot be had.
        """
        host, port = settings.host, settings.port
        own = type("_Requests", (_Requests,), {"board": board})
        try:
            self._server = _server_class(host)((host, port), own)
        except OSError as error:
            raise InvalidSettings(
                f"metrics.port {port} at metrics.host {host} cannot be used: {error.strerror}; "
                "choose another one, or 0 for none"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="offramp-metrics", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Has a thread for each connection, for a short time, and a limited number of them."""

    daemon_threads = True
    request_queue_size = 128  # the kernel keeps that many; Python's 5 let a burst wait for seconds
    block_on_close = False  # a slow reader does not hold up the end of a worker

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401  (the base class's)
        self._open: dict[socket.socket, float] = {}  # since when, the oldest first
        self._changes = threading.Lock()
        super().__init__(*args, **more)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer in a thread; if there are too many, the oldest connection is over."""
        with self._changes:
            for oldest in list(self._open)[: max(0, len(self._open) - _MOST + 1)]:
                self._end(oldest)
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Close a connection that is answered."""
        with self._changes:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that take too long; this is called twice a second."""
        now = time.monotonic()
        with self._changes:
            for request, since in list(self._open.items()):
                if now - since > _WHOLE_S:
                    self._end(request)

    def _end(self, request: socket.socket) -> None:
        """Have the thread of a connection find it at its end."""
        del self._open[request]
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, _request: object, client_address: object) -> None:
        """Log what failed, unless a reader has just left; the base class writes to stderr."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("request failed client=%s", client_address, exc_info=error)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_class(host: str) -> type[_Server]:
    return _Server6 if ":" in host else _Server


class _Requests(BaseHTTPRequestHandler):
    """Answers one request."""

    board: ClassVar[Board]
    timeout = _SILENCE_S

    def do_GET(self) -> None:
        """Answer with 200 if all is well and 503 if not, or with the metrics."""
        path = self.path.partition("?")[0]
        if path == "/live":
            self._health(self.board.not_alive())
        elif path == "/ready":
            self._health(self.board.not_ready())
        elif path == "/metrics":
            from consumer.metrics.exposition import exposed

            body, content_type = exposed(self.board, accept=self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, body, content_type)
        else:
            self._answer(HTTPStatus.NOT_FOUND, _PATHS.encode(), _TEXT)

    do_HEAD = do_GET  # noqa: N815  (the base class's name)

    def _health(self, troubles: list[str]) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if troubles else HTTPStatus.OK
        said = "".join(f"{line}\n" for line in troubles or ["ok"])
        self._answer(status, said.encode(), _TEXT)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return what a client is told of the server."""
        return "offramp"

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every few seconds."""
