"""How a client reaches Kafka: the addresses of brokers, its login, and whom it trusts."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from consumer.section import Section

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
_HOST: Final = r"[^\s\[\]:/@,{}\"'\x00-\x1f]+"
_SERVER: Final = re.compile(
    rf"(?:\[(?P<v6>[^\]]+)\]|(?P<host>{_HOST}))(?::(?P<port>[0-9]{{1,9}}))?"
)
_PORT_MAX: Final = 65_535


class KafkaSecurity(Section):
    """Encryption and login. Secrets are files, never values."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL: encrypted; SASL: with a login"
    )
    ca_file: Path | None = Field(
        None, description="certificates to trust; default: those of the system"
    )
    cert_file: Path | None = Field(None, description="certificate of this client, for mutual TLS")
    key_file: Path | None = Field(None, description="key of that certificate")
    key_password_file: Path | None = Field(None, description="password of that key, if it has one")
    check_hostname: bool = Field(
        True, description="whether the certificate must have the name of the broker"
    )
    mechanism: Mechanism | None = Field(None, description="how SASL logs in")
    username: str | None = Field(None, description="for PLAIN and SCRAM")
    password_file: Path | None = Field(None, description="for PLAIN and SCRAM")
    token_file: Path | None = Field(None, description="for OAUTHBEARER; read at every login")
    token_url: Annotated[str, Field(pattern=r"^https?://[^@]+$")] | None = Field(
        None, description="for OAUTHBEARER: address that exchanges client credentials for tokens"
    )
    client_id: str | None = Field(None, description="for token_url")
    client_secret_file: Path | None = Field(None, description="for token_url")
    scope: str | None = Field(None, description="for token_url")

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def sasl(self) -> bool:
        """Whether the client logs in."""
        return self.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse settings that would be ignored, or would fail at the first connection."""
        wanted, allowed = self._wanted()
        fields = type(self).model_fields.items()
        given = {name for name, field in fields if getattr(self, name) != field.default}
        given.discard("protocol")
        kind = self.protocol if self.mechanism is None else f"{self.protocol} {self.mechanism}"
        if missing := sorted(wanted - given):
            msg = f"{kind} needs {', '.join(missing)}"
            raise ValueError(msg)
        if extra := sorted(given - wanted - allowed):
            msg = f"{kind} has no use for {', '.join(extra)}; remove it, or change the protocol"
            raise ValueError(msg)
        return self

    def _wanted(self) -> tuple[set[str], set[str]]:
        """Return the settings that are required, and those that are allowed."""
        wanted: set[str] = set()
        allowed: set[str] = set()
        if self.tls:
            allowed |= {"ca_file", "check_hostname"}
            if self.cert_file or self.key_file or self.key_password_file:
                wanted |= {"cert_file", "key_file"}
                allowed.add("key_password_file")
        if self.sasl:
            wanted.add("mechanism")
            if self.mechanism == "OAUTHBEARER" and self.token_url is None:
                wanted.add("token_file")
            elif self.mechanism == "OAUTHBEARER":
                wanted |= {"token_url", "client_id", "client_secret_file"}
                allowed |= {"scope", "ca_file"}
            else:
                wanted |= {"username", "password_file"}
        return wanted, allowed


def check_servers(text: str) -> str:
    """Return the addresses of brokers, HOST:PORT with commas between, if all are valid.

    Raises:
        ValueError: names the address that is not, and says why.
    """
    for part in text.split(","):
        try:
            _check_server(part.strip())
        except ValueError as error:
            which = f"{part.strip()[:100]!r}" if "," in text and part.strip() else "it"
            msg = f"expected HOST:PORT, with commas between several; {which} {error}"
            raise ValueError(msg) from error
    return text


def _check_server(server: str) -> None:
    """Raise a ValueError with what is wrong."""
    if server.count(":") > 1 and not server.startswith("["):
        ipaddress.IPv6Address(server.partition("%")[0])
        return
    found = _SERVER.fullmatch(server)
    if found is None:
        msg = "is not a host and a port" if server else "has an empty address"
        raise ValueError(msg)
    if found["v6"]:
        ipaddress.IPv6Address(found["v6"].partition("%")[0])
    else:
        _check_host(found["host"])
    if found["port"] and not 1 <= int(found["port"]) <= _PORT_MAX:
        msg = f"has the port {found['port']}, limit 1..{_PORT_MAX}"
        raise ValueError(msg)


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        msg = "is not a valid host name"
        raise ValueError(msg) from error
