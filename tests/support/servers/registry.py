"""A double of a schema registry: its answers, over loopback. A real one needs a cluster."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


class SchemaRegistry:
    """Answers GET /schemas/ids/NUMBER with what is in `schemas`, or with `status`.

    Numbers in `failing` are answered with a status each.

    GET /schemas/types says what is in `kinds`. With `tls` it speaks that.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.schemas: dict[int, dict[str, str]] = {}
        self.kinds = ["JSON", "PROTOBUF", "AVRO"]
        self.status = 200
        self.failing: dict[int, int] = {}
        self.asked: list[tuple[str, str | None]] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                double.asked.append((self.path, self.headers["Authorization"]))
                folder, _, name = self.path.rpartition("/")
                found: object = double.schemas.get(int(name)) if folder == "/schemas/ids" else None
                if self.path == "/schemas/types":
                    found = double.kinds
                status = double.status if double.status != 200 else 200 if found else 404
                if folder == "/schemas/ids":
                    status = double.failing.get(int(name), status)
                body = found if status == 200 else {"error_code": 40403, "message": "none"}
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self.url = self.url.replace("http", "https")

    @contextmanager
    def running(self) -> Iterator["SchemaRegistry"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()
        thread.join()

    def add(self, number: int, schema: Any, *, kind: str | None = None) -> None:
        text = schema if kind == "PROTOBUF" else json.dumps(schema)
        self.schemas[number] = {"schema": text}
        if kind is not None:
            self.schemas[number]["schemaType"] = kind


def framed(number: int, data: bytes) -> bytes:
    """Return data as registry clients write it."""
    return b"\0" + number.to_bytes(4) + data


def protobuf_class(schema: str, name: str) -> type:
    """Return the class of a message, by its full name in a .proto text."""
    with TemporaryDirectory() as folder:
        Path(folder, "of_test.proto").write_text(schema)
        command = [sys.executable, "-m", "grpc_tools.protoc", "--include_imports"]
        files = [f"-I{folder}", f"--descriptor_set_out={folder}/out", "of_test.proto"]
        subprocess.run([*command, *files], check=True, timeout=60)
        found = descriptor_pb2.FileDescriptorSet.FromString(Path(folder, "out").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
