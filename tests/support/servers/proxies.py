"""A TCP proxy on loopback: delays, loses, refuses, falls silent, cuts connections, speaks TLS."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 65_536


class Proxy:
    """Passes bytes between clients and a server; what goes wrong on the way is set from outside."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port for clients of the server at `port`."""
        self.delay_s = 0.0  # before every answer
        self.answers_to_lose = 0  # the server did it, the client's connection is cut instead
        self.refuses = False  # a new connection ends at once
        self.is_silent = False  # what is sent is lost, and its connection is never closed
        self.target = port
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection there is; new ones are accepted."""
        with self._lock:
            while self._open:
                _close(self._open.pop())

    def refuse(self) -> None:
        """Close every connection there is, and each new one."""
        self.refuses = True
        self.cut()

    def heal(self) -> None:
        """Pass on again what comes; a connection that has lost bytes stays silent."""
        self.refuses = self.is_silent = False
        self.delay_s = 0.0

    def close(self) -> None:
        """Stop listening and close everything."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            if self.refuses:
                _close(client)
                return
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            _close(client)
            return
        with self._lock:
            self._open += [client, server]
        lost = threading.Event()  # bytes, in either direction: nothing makes sense after them
        threading.Thread(target=self._copy, args=(client, server, lost), daemon=True).start()
        self._copy(server, client, lost, answers=True)

    def _copy(
        self,
        source: socket.socket,
        to: socket.socket,
        lost: threading.Event,
        *,
        answers: bool = False,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.is_silent or lost.is_set():
                    lost.set()
                    continue
                if answers and self.delay_s:
                    time.sleep(self.delay_s)
                if answers and self._loses():
                    break
                to.sendall(data)
        _close(source)
        _close(to)

    def _loses(self) -> bool:
        with self._lock:
            if self.answers_to_lose == 0:
                return False
            self.answers_to_lose -= 1
            return True


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()


@contextmanager
def proxy(port: int, *, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """Yield a proxy for the server at a port."""
    made = Proxy(port, tls)
    try:
        yield made
    finally:
        made.close()
