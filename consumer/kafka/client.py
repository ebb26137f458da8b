"""Connections to Kafka: from settings to kafka-python's, logins, time limits, and our errors."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kafka import errors as kafka_errors

from consumer.errors import (
    InvalidSettings,
    ServiceRefused,
    ServiceUnavailable,
    StreamRefused,
    StreamUnavailable,
    UntrustedService,
    WorkerFenced,
)
from consumer.http import fetch_json, read_secret
from consumer.kafka.private import ConnectionManager, Selector, TokenProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from consumer.settings.kafka import KafkaSecurity
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
_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.FencedInstanceIdError,
)
_TOKEN_TIMEOUT_S = 5.0
_TOKEN_LIFE_S = 300.0  # where the endpoint does not say
_TOKEN_USED = 0.8  # of a token's life, then a new one is fetched


def connect(settings: KafkaSettings, *, name: str = "offramp") -> Client:
    """Return the settings of consumers, producers and admins, once a broker lets us in with them.

    Brokers log this client under `name`.

    Raises:
        StreamUnavailable: see `check_login`.
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
            "ssl_cafile": security.ca_file and str(security.ca_file),
            "ssl_certfile": security.cert_file and str(security.cert_file),
            "ssl_keyfile": security.key_file and str(security.key_file),
        }
        if security.key_password_file is not None:
            client["ssl_password"] = read_secret(security.key_password_file)
    if security.sasl:
        client["sasl_mechanism"] = security.mechanism
        if security.mechanism == "OAUTHBEARER":
            client["sasl_oauth_token_provider"] = Tokens(security)
        elif security.password_file is not None:
            client["sasl_plain_username"] = security.username
            client["sasl_plain_password"] = read_secret(security.password_file)
    check_login(client, timeout_s=settings.request_timeout_s)
    return client


def check_login(client: Mapping[str, Any], *, timeout_s: float) -> None:
    """Return when a broker has let us in; end at once where waiting cannot help.

    kafka-python itself tries a wrong password again until its time is over, and then only says
    that there was no broker.

    Raises:
        StreamUnavailable, StreamRefused: naming the broker and what it said.
    """
    deadline = time.monotonic() + timeout_s
    net = Selector(**client)
    manager = ConnectionManager(net, reconnect_backoff_ms=0, **client)
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
                    f"no broker answered within {timeout_s:g} s: {'; '.join(said)}"
                )
            time.sleep(_PAUSE_S)
    finally:
        manager.close()
        net.close()


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
        return f"the login is wrong ({said}); check username, password_file, token_file"
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return f"the broker does not take this kafka.security.mechanism ({said})"
    meaning = next((text for word, text in _TLS_MEANINGS.items() if word in said), None)
    return f"{meaning[0]} ({said}); check {meaning[1]}" if meaning else said or type(error).__name__


def bounded(call: Callable[..., object], *args: object, timeout_s: float) -> None:
    """Run a call that has no time limit, and give up on it when the time is over.

    Raises:
        StreamUnavailable: it took longer; its thread is left behind.
        Exception: what the call raised.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            call(*args)
        except BaseException as error:  # noqa: BLE001  (handed to the caller)
            failure.append(error)

    thread = threading.Thread(target=run, name=f"offramp-{call.__name__}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise StreamUnavailable(f"{call.__name__} took longer than {timeout_s:.1f} s")
    if failure:
        raise failure[0]


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn kafka-python's errors into ours; `doing` begins the message.

    Raises:
        WorkerFenced: another worker has this name.
        StreamRefused: this user may not do that.
        StreamUnavailable: any other error of Kafka.
    """
    try:
        yield
    except _FENCED as error:
        raise WorkerFenced(f"{doing}: another worker has this name: {error!r}") from error
    except kafka_errors.AuthorizationError as error:
        raise StreamRefused(f"{doing}: {error!r}") from error
    except kafka_errors.KafkaError as error:
        raise StreamUnavailable(f"{doing}: {error!r}") from error


class Tokens(TokenProvider):
    """Gives a token at every login: from a file that something else keeps fresh, or exchanged.

    One for client credentials (RFC 6749, 4.4) is kept while it lives, then fetched anew.
    """

    def __init__(self, security: KafkaSecurity) -> None:
        super().__init__()
        self._security = security
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """Return a token that lives.

        Raises:
            InvalidSettings: nothing says where it comes from.
            ServiceRefused: the endpoint does not accept the credentials.
            ServiceUnavailable: it does not answer.
        """
        security = self._security
        if security.token_file is not None:
            return read_secret(security.token_file)
        if time.monotonic() < self._until:
            return self._token
        if not (security.token_url and security.client_id and security.client_secret_file):
            raise InvalidSettings("kafka.security: token_url needs client_id, client_secret_file")
        scope = {} if security.scope is None else {"scope": security.scope}
        found = fetch_json(
            security.token_url,
            expected=dict,
            timeout_s=_TOKEN_TIMEOUT_S,
            form={"grant_type": "client_credentials", **scope},
            login=(security.client_id, read_secret(security.client_secret_file)),
            ca_file=security.ca_file,
        )
        token, life_s = found.get("access_token"), found.get("expires_in", _TOKEN_LIFE_S)
        if not isinstance(token, str) or not isinstance(life_s, int | float):
            raise ServiceUnavailable(f"{security.token_url}: the answer has no access_token")
        self._token, self._until = token, time.monotonic() + life_s * _TOKEN_USED
        return token
