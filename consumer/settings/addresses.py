"""Addresses of brokers, checked before a library takes them apart."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_HOST: Final = r"[^\s\[\]:/@,{}\"'\x00-\x1f]+"
_SERVER: Final = re.compile(
    rf"(?:\[(?P<v6>[^\]]+)\]|(?P<host>{_HOST}))(?::(?P<port>[0-9]{{1,9}}))?"
)
_PORT_MAX: Final = 65_535


def check_servers(text: str) -> str:
    """Return addresses of brokers, HOST:PORT with commas between, if they can be asked.

    Raises:
        ValueError: naming the one that cannot, and why.
    """
    for part in text.split(","):
        try:
            _check_server(part.strip())
        except ValueError as error:
            which = f" of {part.strip()[:100]!r}" if "," in text else ""
            msg = f"expected HOST:PORT, with commas between several; {error}{which}"
            raise ValueError(msg) from error
    return text


def _check_server(server: str) -> None:
    """Raise a ValueError with what is wrong."""
    if server.count(":") > 1 and not server.startswith("["):
        ipaddress.IPv6Address(server.partition("%")[0])
        return
    found = _SERVER.fullmatch(server)
    if found is None:
        msg = "it is empty" if not server else "it is not a host and a port"
        raise ValueError(msg)
    if found["v6"]:
        ipaddress.IPv6Address(found["v6"].partition("%")[0])
    else:
        _check_host(found["host"])
    if found["port"] and not 1 <= int(found["port"]) <= _PORT_MAX:
        msg = f"port {found['port']}, limit 1..{_PORT_MAX}"
        raise ValueError(msg)


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        msg = "it is no host's name"
        raise ValueError(msg) from error
