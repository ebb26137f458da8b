"""A double of a schema registry: its two answers, over loopback. A real one needs a cluster."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class SchemaRegistry:
    """Answers GET /schemas/ids/NUMBER with what is in `schemas`, or with `status`."""

    def __init__(self) -> None:
        self.schemas: dict[int, dict[str, str]] = {}
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                double.asked.append((self.path, self.headers["Authorization"]))
                folder, _, number = self.path.rpartition("/")
                found = double.schemas.get(int(number)) if folder == "/schemas/ids" else None
                status = double.status if double.status != 200 else 200 if found else 404
                body = found if status == 200 else {"error_code": 40403, "message": "none"}
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["SchemaRegistry"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()
        thread.join()

    def add(self, number: int, schema: object, *, kind: str | None = None) -> None:
        self.schemas[number] = {"schema": json.dumps(schema)}
        if kind is not None:
            self.schemas[number]["schemaType"] = kind


def framed(number: int, data: bytes) -> bytes:
    """Return data as registry clients write it."""
    return b"\0" + number.to_bytes(4) + data
