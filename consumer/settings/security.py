"""Settings of how a client proves to Kafka who it is, and whom it trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from consumer.unset import Unsettable

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


class KafkaSecurity(Unsettable):
    """Encryption and login. Secrets are files, never values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL: encrypted; SASL: with a login"
    )
    ca_file: Path | None = Field(None, description="certificates to trust; default: the system's")
    cert_file: Path | None = Field(None, description="certificate of this client, for mutual TLS")
    key_file: Path | None = Field(None, description="key of that certificate")
    key_password_file: Path | None = Field(None, description="password of that key, if it has one")
    check_hostname: bool = Field(True, description="the certificate must be for the broker's name")
    mechanism: Mechanism | None = Field(None, description="how SASL logs in")
    username: str | None = Field(None, description="for PLAIN and SCRAM")
    password_file: Path | None = Field(None, description="for PLAIN and SCRAM")
    token_file: Path | None = Field(None, description="for OAUTHBEARER; read at every login")
    token_url: Annotated[str, Field(pattern=r"^https?://[^@]+$")] | None = Field(
        None, description="for OAUTHBEARER: where client credentials are exchanged for tokens"
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
        """Refuse what would be ignored, and what would fail at the first connection."""
        wanted, allowed = self._wanted()
        fields = type(self).model_fields.items()
        given = {name for name, field in fields if getattr(self, name) != field.default}
        given.discard("protocol")
        kind = self.protocol if self.mechanism is None else f"{self.protocol} {self.mechanism}"
        if missing := sorted(wanted - given):
            msg = f"{kind} needs {', '.join(missing)}"
            raise ValueError(msg)
        if extra := sorted(given - wanted - allowed):
            msg = f"{kind} has no use for {', '.join(extra)}"
            raise ValueError(msg)
        return self

    def _wanted(self) -> tuple[set[str], set[str]]:
        """Return the settings that must be there, and those that may."""
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
