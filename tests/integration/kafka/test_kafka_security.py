"""TLS, logins and their errors, on a real broker that asks for them."""

import gc
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kafka import KafkaConsumer, KafkaProducer

from consumer.errors import StreamUnavailable
from consumer.events.outgoing import Outgoing
from consumer.kafka.client import connect
from consumer.kafka.stream import KafkaStream
from consumer.settings.sections import BatchSettings
from tests.support.memory.positions import MemoryPositions
from tests.support.servers.secured_kafka import token
from tests.support.topics import create_topics

# kafka-python leaves the socket of a failed TLS handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
WAYS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "TLS")


@pytest.fixture(autouse=True)
def _leave_no_socket():
    yield
    gc.collect()


@pytest.fixture
def prefix(secured):
    """A name of this test's own; the user may do everything with what begins so."""
    prefix = f"s{time.time_ns()}"
    create_topics(secured.plain, {f"{prefix}-in": 1, f"{prefix}-out": 1})
    secured.allow_all(prefix)
    return prefix


def copy_one(settings, prefix):
    """Put one record through a worker's stream and return what a reader finds."""
    settings = settings.model_copy(update={"group": f"{prefix}-group"})
    client = connect(settings)
    producer = KafkaProducer(**client)
    producer.send(f"{prefix}-in", value=b"text").get(20)
    producer.close()
    stream = KafkaStream(settings, instance="a", topics=f"{prefix}-in", store=MemoryPositions())
    deadline, batch = time.monotonic() + 30, None
    while batch is None and time.monotonic() < deadline:
        batch = stream.collect(BatchSettings(max_wait_ms=0))
    assert batch is not None
    out = [Outgoing(f"{prefix}-out", b"k", r.value, (), r.partition) for r in batch.records]
    stream.commit(batch, out, before_commit=lambda: None)
    stream.close()
    reader = KafkaConsumer(
        f"{prefix}-out",
        **client,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        consumer_timeout_ms=5_000,
    )
    value = next(iter(reader)).value
    reader.close()
    return value


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_reads_and_commits_over_every_kind_of_login(secured, prefix, way):
    """Produce, join a group, commit a transaction and read it, encrypted and logged in."""
    assert copy_one(secured.settings(way), prefix) == b"text"


@pytest.mark.parametrize(
    ("way", "change", "expected"),
    [
        ("PLAIN", {"password_file": "wrong"}, "the login is wrong .*check username, password_file"),
        ("SCRAM-SHA-512", {"password_file": "wrong"}, "the login is wrong"),
        ("OAUTHBEARER", {"token_file": "wrong"}, "the login is wrong"),
        ("PLAIN", {"ca_file": "other-ca.pem"}, "certificate is not trusted .*check ca_file"),
        ("TLS", {"cert_file": None, "key_file": None}, "does not accept our certificate"),
        ("TLS", {"key_file": "absent"}, "a file of kafka.security cannot be read"),
    ],
)
def test_a_refused_client_is_told_why_at_once(secured, way, change, expected):
    """A wrong secret or certificate is one clear error within seconds, not tried on and on."""
    files = {name: file and secured.file(file) for name, file in change.items()}
    begun = time.monotonic()
    with pytest.raises(StreamUnavailable, match=f"127.0.0.1:\\d+: .*{expected}"):
        connect(secured.settings(way, **files))
    assert time.monotonic() - begun < 5


def test_the_wrong_protocol_is_told(secured):
    """Neither side of a mix-up of TLS and plain text waits for ever."""
    tls = secured.settings("PLAIN").model_copy(update={"bootstrap_servers": secured.plain})
    with pytest.raises(StreamUnavailable, match=r"ends the TLS handshake .*check protocol"):
        connect(tls.model_copy(update={"request_timeout_s": 3.0}))


def test_a_broker_that_is_away_is_waited_for_and_named(secured):
    """Where nobody listens the wait has an end, and the error names the address."""
    away = secured.settings("PLAIN").model_copy(
        update={"bootstrap_servers": "127.0.0.1:1", "request_timeout_s": 1.0}
    )
    with pytest.raises(StreamUnavailable, match=r"no broker answered within 1 s: 127.0.0.1:1: "):
        connect(away)


def test_the_host_name_is_checked_unless_told_otherwise(secured):
    """A certificate for another name is refused; `check_hostname = false` accepts it."""
    port = secured.server.secured["SASL_SSL"]
    named = {"bootstrap_servers": f"localhost:{port}"}  # the certificate is for 127.0.0.1
    with pytest.raises(
        StreamUnavailable, match=r"Hostname mismatch.*check ca_file, check_hostname"
    ):
        connect(secured.settings("PLAIN").model_copy(update=named))
    unchecked = secured.settings("PLAIN", check_hostname=False)
    assert connect(unchecked.model_copy(update=named))["ssl_check_hostname"] is False


def test_a_token_file_is_read_at_every_login(secured, prefix, tmp_path):
    """A token that was renewed in its file is used for the next connection."""
    file = tmp_path / "token"
    settings = secured.settings("OAUTHBEARER", token_file=file)
    file.write_text(token(life_s=-10))
    with pytest.raises(StreamUnavailable, match="the login is wrong"):
        connect(settings)
    file.write_text(token())
    assert copy_one(settings, prefix) == b"text"


@pytest.fixture
def token_endpoint():
    """A double of an identity provider: gives tokens to one client; no real one is to be had."""
    asked = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.headers["Authorization"], form))
            known = self.headers["Authorization"] == "Basic b2ZmcmFtcDpob3JzZQ=="
            self.send_response(200 if known else 401)
            self.end_headers()
            if known:
                self.wfile.write(json.dumps({"access_token": token(), "expires_in": 60}).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_client_credentials_are_exchanged_for_tokens(secured, prefix, tmp_path, token_endpoint):
    """The endpoint is asked once for many connections, and its refusal is told at once."""
    url, asked = token_endpoint
    secret = tmp_path / "secret"
    secret.write_text("horse")
    settings = secured.settings(
        "OAUTHBEARER",
        token_file=None,
        token_url=url,
        client_id="offramp",
        client_secret_file=secret,
        scope="kafka",
    )
    assert copy_one(settings, prefix) == b"text"
    assert {form for _, form in asked} == {"grant_type=client_credentials&scope=kafka"}
    assert len(asked) == 2  # one for each `connect`
    secret.write_text("cow")
    with pytest.raises(StreamUnavailable, match=r"/token answers 401"):
        connect(settings)
