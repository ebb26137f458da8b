"""Tokens for Kafka's OAUTHBEARER login: from a file, or for client credentials."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kafka.net.sasl.oauth import AbstractTokenProvider

from consumer.errors import InvalidSettings, ServiceUnavailable
from consumer.http import fetch_json, read_secret

if TYPE_CHECKING:
    from consumer.settings.security import KafkaSecurity

_TIMEOUT_S = 5.0
_LIFE_S = 300.0  # where the endpoint does not say
_USED_LIFE = 0.8  # of a token's life, then a new one is fetched


def token_provider(security: KafkaSecurity) -> AbstractTokenProvider:
    """Return what gives tokens at every login, as the settings say."""
    return FileToken(security) if security.token_url is None else ExchangedToken(security)


class FileToken(AbstractTokenProvider):
    """A token that something else keeps fresh in a file: read at every login."""

    def __init__(self, security: KafkaSecurity) -> None:
        super().__init__()
        if security.token_file is None:
            raise InvalidSettings("kafka.security.token_file: is not set")
        self._path = security.token_file

    def token(self) -> str:
        """Return what is in the file now."""
        return read_secret(self._path)


class ExchangedToken(AbstractTokenProvider):
    """A token for client credentials (RFC 6749, 4.4): kept while it lives, then fetched anew."""

    def __init__(self, security: KafkaSecurity) -> None:
        super().__init__()
        if not (security.token_url and security.client_id and security.client_secret_file):
            raise InvalidSettings("kafka.security: token_url needs client_id, client_secret_file")
        self._url = security.token_url
        self._client_id = security.client_id
        self._secret_file = security.client_secret_file
        self._form = {"grant_type": "client_credentials"}
        if security.scope is not None:
            self._form["scope"] = security.scope
        self._ca_file = security.ca_file
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """Return a token that lives.

        Raises:
            ServiceRefused: the endpoint does not accept the credentials.
            ServiceUnavailable: it does not answer.
        """
        if time.monotonic() < self._until:
            return self._token
        found = fetch_json(
            self._url,
            expected=dict,
            timeout_s=_TIMEOUT_S,
            form=self._form,
            login=(self._client_id, read_secret(self._secret_file)),
            ca_file=self._ca_file,
        )
        token, life_s = found.get("access_token"), found.get("expires_in", _LIFE_S)
        if not isinstance(token, str) or not isinstance(life_s, int | float):
            raise ServiceUnavailable(f"{self._url}: the answer has no access_token")
        self._token, self._until = token, time.monotonic() + life_s * _USED_LIFE
        return token
