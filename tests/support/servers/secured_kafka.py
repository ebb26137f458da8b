"""A real broker with TLS, every kind of login, and access rules, for tests."""

import base64
import json
import time
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.admin import ACLResourcePatternType as PatternType
from kafka.errors import NoError

from consumer.settings.sections import KafkaSettings
from deploy.local.services import start_kafka

USER = "worker"
PASSWORD = "right horse"  # noqa: S105  (of a broker that lives as long as the test)
_MODULES = "org.apache.kafka.common.security"


class SecuredKafka:
    """The broker, its certificates, and settings that let a client in.

    The plain listener is for whoever manages it; on the others everything that no rule allows is
    refused. `worker` may log in with PLAIN, SCRAM and tokens, `CN=worker` with a certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority, stranger = trustme.CA(), trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        client = authority.issue_cert("worker@offramp.test", common_name=USER)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        stranger.cert_pem.write_to_path(folder / "other-ca.pem")
        client.private_key_pem.write_to_path(folder / "client.key")
        client.cert_chain_pems[0].write_to_path(folder / "client.pem")
        keys = _pkcs8(server.private_key_pem.bytes())
        keys += b"".join(pem.bytes() for pem in server.cert_chain_pems)
        (folder / "server.pem").write_bytes(keys)
        sasl = "listener.name.sasl_ssl"
        self.server = start_kafka(
            secured=("SASL_SSL", "SSL"),
            settings={
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(folder / "server.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(folder / "ca.pem"),
                "listener.name.ssl.ssl.client.auth": "required",
                "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
                f"{sasl}.plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required "
                f'user_{USER}="{PASSWORD}" user_stranger="{PASSWORD}";',
                **{
                    f"{sasl}.scram-sha-{bits}.sasl.jaas.config": (
                        f"{_MODULES}.scram.ScramLoginModule required;"
                    )
                    for bits in (256, 512)
                },
                f"{sasl}.oauthbearer.sasl.jaas.config": (
                    f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required "
                    'unsecuredLoginStringClaim_sub="broker";'
                ),
                "authorizer.class.name": (
                    "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
                ),
                "super.users": "User:ANONYMOUS",
            },
        )
        self.plain = self.server.address
        (folder / "password").write_text(PASSWORD + "\n")
        (folder / "wrong").write_text("wrong horse\n")
        (folder / "token").write_text(token())
        with self.admin() as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                said = admin.alter_user_scram_credentials(
                    [UserScramCredentialUpsertion(USER, mechanism, PASSWORD)]
                )
                assert said == {USER: None}

    def file(self, name: str) -> Path:
        return self._folder / name

    def admin(self) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.plain)

    def settings(self, mechanism: str, **security: object) -> KafkaSettings:
        """Return settings of the user, but for `security`; TLS is a certificate's login."""
        given: dict[str, object] = {"protocol": "SASL_SSL", "mechanism": mechanism}
        given |= {"ca_file": self.file("ca.pem")}
        if mechanism == "TLS":
            given |= {"protocol": "SSL", "mechanism": None}
            given |= {"cert_file": self.file("client.pem"), "key_file": self.file("client.key")}
        elif mechanism == "OAUTHBEARER":
            given |= {"token_file": self.file("token")}
        else:
            given |= {"username": USER, "password_file": self.file("password")}
        given |= security
        port = self.server.secured[str(given["protocol"])]
        return KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{port}",
            request_timeout_s=20,
            security={name: value for name, value in given.items() if value is not None},
        )

    def allow(self, kind: str, name: str, *operations: str) -> None:
        """Let the user do this to all of a kind whose names begin with `name`."""
        pattern = ResourcePattern(ResourceType[kind], name, PatternType.PREFIXED)
        with self.admin() as admin:
            said = admin.create_acls(
                [
                    ACL(f"User:{USER}", "*", ACLOperation[op], ACLPermissionType.ALLOW, pattern)
                    for op in operations
                ]
            )
        assert not said["failed"], said

    def forbid(self, kind: str, name: str) -> None:
        """Take back what `allow` gave."""
        pattern = ResourcePatternFilter(ResourceType[kind], name, PatternType.PREFIXED)
        every = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
        with self.admin() as admin:
            ((_, _, error),) = admin.delete_acls([every])
        assert error is NoError, error

    def forget(self, kind: str, prefix: str) -> None:
        """Take back every rule about a kind whose names begin so, whoever gave it."""
        pattern = ResourcePatternFilter(ResourceType[kind], None, PatternType.ANY)
        every = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
        with self.admin() as admin:
            found, _ = admin.describe_acls(every)
            names = {acl.resource_pattern.resource_name for acl in found}
            for name in names:
                if name.startswith(prefix):
                    pattern = ResourcePatternFilter(ResourceType[kind], name, PatternType.ANY)
                    one = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
                    ((_, _, error),) = admin.delete_acls([one])
                    assert error is NoError, error

    def allow_all(self, prefix: str) -> None:
        """Let the user do what a worker does, with names that begin so."""
        self.allow("TOPIC", prefix, "READ", "WRITE", "DESCRIBE")
        self.allow("GROUP", prefix, "READ", "DESCRIBE")
        self.allow("TRANSACTIONAL_ID", prefix, "WRITE", "DESCRIBE")

    def stop(self) -> None:
        self.server.stop()


def token(*, life_s: float = 3600, user: str = USER) -> str:
    """Return a token without a signature, which this broker accepts."""
    now = time.time()
    parts = [{"alg": "none"}, {"sub": user, "iat": now - 1, "exp": now + life_s}]
    raw = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join(part.rstrip("=") for part in raw) + "."


def _pkcs8(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
