"""`offramp dashboard`: serves pages that show what the workers have learnt."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import typer

from consumer.cli.options import Bootstrap
from consumer.cli.route.in_force import known_routes
from consumer.cli.session import KAFKA, POLICY, ROUTES, OnPolicy, open_named

if TYPE_CHECKING:
    from socket import socket

    from policy_state.errors import StoreError

EXAMPLES = """Examples:

`offramp dashboard --redis-url redis://localhost:6379/0`

`offramp dashboard --bootstrap-servers localhost:9092 --port 8080`

`offramp dashboard --host 0.0.0.0 --allow-host ops.example.com --token-file token --allow-writes`
"""

_SHOWN_PORT: Final = 8200


@dataclass(frozen=True, kw_only=True)
class OfDashboard(OnPolicy):
    """A dashboard's options for settings."""

    uses: ClassVar[tuple[str, ...]] = (*POLICY, *KAFKA, *ROUTES)
    bootstrap_servers: Bootstrap = None


def dashboard(
    given: OfDashboard,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; others need a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = _SHOWN_PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="A name that browsers call it by; may be repeated."
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="File with the token to ask for."),
    ] = None,
    allow_writes: Annotated[
        bool,
        typer.Option(
            "--allow-writes", help="Let those who know the token pin, freeze and reset domains."
        ),
    ] = False,
    allow_texts: Annotated[
        bool, typer.Option("--allow-texts", help="Show the texts of dead letters, too.")
    ] = False,
) -> None:
    """Serve pages that show what the workers have learnt, until Ctrl-C.

    It reads Redis with the rights of a viewer. With --bootstrap-servers it also shows lag and dead
    letters.
    """
    from consumer.dashboard.board import Board
    from consumer.dashboard.guard import LOOPBACK, Access
    from consumer.dashboard.index import DomainIndex
    from consumer.dashboard.kafka_view import KafkaView
    from consumer.dashboard.server import serve
    from consumer.errors import InvalidSettings
    from policy_state.errors import PolicyNotFound, StoreUnavailable

    token = None if token_file is None else _token(token_file)
    if token is None and not _is_loopback(host):
        raise InvalidSettings(
            f"--host {host}: others can reach this address; set --token-file, or use 127.0.0.1"
        )
    if token is None and allow_writes:
        raise InvalidSettings(
            "--allow-writes needs --token-file, so that only those you trust use it"
        )
    named = [name.lower() for name in (host, *(allow_host or ()))]
    access = Access(hosts=LOOPBACK | {*named}, token=token, writes=allow_writes)
    with given.store() as (settings, store), _listening(host, port) as listening:
        board = Board(
            settings=settings,
            store=store,
            opening=lambda: open_named(store, settings.policy.name),
            index=DomainIndex(store, lambda: known_routes(settings, store)),
            access=access,
            kafka=KafkaView(
                settings, store, asked=given.bootstrap_servers is not None, texts=allow_texts
            ),
        )
        missing: StoreError | None = None
        try:
            board.open()
        except (PolicyNotFound, StoreUnavailable) as error:  # may yet come
            missing = error
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"serving http://{shown}:{listening.getsockname()[1]}/", err=True)
        if missing is not None:
            typer.echo(f"nothing to show yet: {missing}", err=True)
        serve(board, listening)


def _token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        InvalidSettings: it cannot be read, or is too short to keep anybody out.
    """
    from consumer.dashboard.guard import TOKEN_LEAST
    from consumer.errors import InvalidSettings
    from consumer.http import read_secret

    token = read_secret(file)
    if len(token) < TOKEN_LEAST:
        raise InvalidSettings(
            f"--token-file {file}: the token has {len(token)} characters, at least {TOKEN_LEAST} "
            "are needed; `openssl rand -hex 32` makes one"
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket:
    """Return a socket that listens.

    Raises:
        InvalidSettings: the address is taken, or not one of this machine.
    """
    import socket

    from consumer.errors import InvalidSettings

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InvalidSettings(f"cannot listen on {host}, port {port}: {said}") from error
