"""From settings to kafka-python's connection settings: the one place, for every client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kafka import errors as kafka_errors
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from consumer.errors import (
    InvalidSettings,
    ServiceRefused,
    ServiceUnavailable,
    StreamRefused,
    StreamUnavailable,
    UntrustedService,
)
from consumer.http import read_secret
from consumer.kafka.tokens import token_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.settings.sections import KafkaSettings

Client = dict[str, Any]

_PAUSE_S = 0.5
# Logins that end without an answer before they count as refused: kafka-python throws away what the
# broker says where the connection ends right behind it, which is how brokers refuse.
_CUTS = 3
_TLS_MEANINGS = {  # what OpenSSL says: what it means, and the settings to look at
    "CERTIFICATE_VERIFY_FAILED": ("its certificate is not trusted", "ca_file, check_hostname"),
    "ALERT": ("it does not accept our certificate", "cert_file, key_file"),
    "WRONG_VERSION_NUMBER": ("it does not speak TLS there", "protocol"),
    "UNEXPECTED_EOF": ("it ends the TLS handshake", "protocol"),
    "RECORD_LAYER_FAILURE": ("it does not speak TLS there", "protocol"),
}
_REFUSED = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    InvalidSettings,
    ServiceRefused,
    UntrustedService,
    FileNotFoundError,
    PermissionError,
)


def connect(settings: KafkaSettings, *, name: str = "offramp") -> Client:
    """Return kafka-python's connection settings, once a broker has let us in with them.

    Raises:
        StreamUnavailable: see `check_login`.
        InvalidSettings: a secret cannot be read.
    """
    client = connection(settings, name=name)
    check_login(client, timeout_s=settings.request_timeout_s)
    return client


def connection(settings: KafkaSettings, *, name: str = "offramp") -> Client:
    """Return the connection settings of consumers, producers and admins.

    Args:
        settings: addresses and security.
        name: under which brokers log this client.

    Raises:
        InvalidSettings: a secret cannot be read.
    """
    security = settings.security
    client: Client = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "client_id": name,
        "security_protocol": security.protocol,
        "bootstrap_timeout_ms": int(settings.request_timeout_s * 1000),
    }
    if security.tls:
        client |= {
            "ssl_check_hostname": security.check_hostname,
            "ssl_cafile": _text(security.ca_file),
            "ssl_certfile": _text(security.cert_file),
            "ssl_keyfile": _text(security.key_file),
        }
        if security.key_password_file is not None:
            client["ssl_password"] = read_secret(security.key_password_file)
    if security.sasl:
        client["sasl_mechanism"] = security.mechanism
        if security.mechanism == "OAUTHBEARER":
            client["sasl_oauth_token_provider"] = token_provider(security)
        elif security.password_file is not None:
            client["sasl_plain_username"] = security.username
            client["sasl_plain_password"] = read_secret(security.password_file)
    return client


def check_login(client: Mapping[str, Any], *, timeout_s: float) -> None:
    """Return when a broker has let us in; end at once where waiting cannot help.

    kafka-python itself tries a wrong password again until its time is over, and then only says
    that there was no broker.

    Raises:
        StreamUnavailable, StreamRefused: naming the broker and what it said.
    """
    deadline = time.monotonic() + timeout_s
    net = NetworkSelector(**client)
    manager = KafkaConnectionManager(net, reconnect_backoff_ms=0, **client)
    cuts = 0
    try:
        while True:
            said: list[str] = []
            for broker in manager.cluster.bootstrap_brokers():
                left_ms = max(1.0, (deadline - time.monotonic()) * 1000)
                connected = manager.get_connection(
                    broker.node_id, timeout_ms=left_ms, refresh_metadata_on_err=False
                )
                try:
                    net.run(manager.wait_for, connected.init_future, left_ms)
                except (kafka_errors.KafkaError, *_REFUSED, ServiceUnavailable, OSError) as error:
                    at_login = connected.sasl_enabled and connected.broker_version_data is not None
                    cuts += at_login
                    said.append(
                        f"{broker.host}:{broker.port}: {_explained(error, at_login=at_login)}"
                    )
                    if _is_final(error) or cuts == _CUTS:
                        raise StreamRefused(f"Kafka refuses: {said[-1]}") from error
                else:
                    return
            if time.monotonic() + _PAUSE_S > deadline:
                raise StreamUnavailable(
                    f"no broker answers after {timeout_s:g} s: {'; '.join(said)}"
                )
            time.sleep(_PAUSE_S)
    finally:
        manager.close()
        net.close()


def _text(path: object | None) -> str | None:
    return None if path is None else str(path)


def _is_final(error: Exception) -> bool:
    """Say whether asking again cannot help: who we are, or whom we trust, is at fault."""
    said = str(error)
    return isinstance(error, _REFUSED) or ("[SSL" in said and "EOF" not in said)


def _explained(error: Exception, *, at_login: bool) -> str:
    said = str(error)
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"a file of kafka.security cannot be read ({said})"
    lost = at_login and isinstance(error, kafka_errors.KafkaConnectionError)
    if lost or isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return f"the login is wrong ({said}); see username, password_file, token_file"
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return f"the broker does not take this kafka.security.mechanism ({said})"
    meaning = next((text for word, text in _TLS_MEANINGS.items() if word in said), None)
    return f"{meaning[0]} ({said}); see {meaning[1]}" if meaning else said or type(error).__name__
