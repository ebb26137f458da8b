"""Settings: where they come from, which wins, and what errors say."""

import pytest

from consumer.errors import InvalidSettings
from consumer.settings import load_settings, redacted_url


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("OFFRAMP_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.toml", '[kafka]\ngroup = "file"\nformat = "json"\n[batch]\nmax_events = 7\n'),
        ("s.yaml", "kafka: {group: file, format: json}\nbatch: {max_events: 7}\n"),
    ],
)
def test_options_win_over_environment_over_file_over_defaults(tmp_path, monkeypatch, name, text):
    """Each source wins over the next, field by field."""
    path = tmp_path / name
    path.write_text(text)
    monkeypatch.setenv("OFFRAMP_KAFKA__GROUP", "env")
    monkeypatch.setenv("OFFRAMP_KAFKA__FORMAT", "text")
    settings = load_settings(path, options={"kafka.format": "auto"})
    assert settings.kafka.format == "auto"
    assert settings.kafka.group == "env"
    assert settings.batch.max_events == 7
    assert settings.batch.max_wait_ms == 50


def test_the_environment_may_name_the_file_and_hold_lists(tmp_path, monkeypatch):
    """OFFRAMP_CONFIG names a file; lists are given as JSON."""
    path = tmp_path / "s.toml"
    path.write_text('[kafka]\ngroup = "g"\n')
    monkeypatch.setenv("OFFRAMP_CONFIG", str(path))
    monkeypatch.setenv("OFFRAMP_ROUTES", '[{"topics": "a"}, {"topics": "b"}]')
    settings = load_settings()
    assert settings.kafka.group == "g"
    assert [route.topics for route in settings.routes] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"batch.max_events": "0"}, "batch.max_events", "0"),
        ({"batch.max_event": "1"}, "batch.max_event", "1"),
        ({"policy.cost_weight": "much"}, "policy.cost_weight", "much"),
        ({"routes": [{"topics": "("}]}, "routes.0.topics", "("),
        ({"instance": "a b"}, "instance", "a b"),
        ({"kafka.format": "xml"}, "kafka.format", "xml"),
    ],
)
def test_errors_name_the_field_and_the_value(options, field, value):
    """A wrong or unknown setting is an error that names it and shows its value."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(options=options)
    assert f"{field}: " in str(caught.value)
    assert repr(value) in str(caught.value)


def test_errors_name_the_variable(monkeypatch):
    """A wrong value from the environment is traced to its variable."""
    monkeypatch.setenv("OFFRAMP_BATCH__MAX_EVENTS", "no")
    with pytest.raises(InvalidSettings, match="OFFRAMP_BATCH__MAX_EVENTS"):
        load_settings()


@pytest.mark.parametrize("name", ["OFFRAMP_KAFAK__GROUP", "offramp_kafak__group"])
def test_a_variable_of_an_unknown_section_is_an_error(monkeypatch, name):
    """It is named; variables without a section may be somebody else's."""
    monkeypatch.setenv("OFFRAMP_SHARED", "x")
    monkeypatch.setenv("_OFFRAMP_COMPLETE", "x")
    assert load_settings().kafka.group == "offramp"
    monkeypatch.setenv(name, "x")
    with pytest.raises(InvalidSettings, match=f"{name}: no section .* there is: kafka, redis, "):
        load_settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [("s.toml", "[kafka"), ("s.yaml", "a: [1"), ("s.ini", ""), ("absent.toml", None)],
)
def test_unreadable_files_are_named(tmp_path, name, text):
    """A broken, missing or unknown kind of file is one clear error."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidSettings, match=name):
        load_settings(path)


def test_passwords_are_not_shown():
    """The dump and the error hide the password of the Redis address."""
    settings = load_settings(options={"redis.url": "redis://me:secret@host:1/0"})
    assert settings.redis.url == "redis://me:secret@host:1/0"
    assert settings.model_dump(mode="json")["redis"]["url"] == "redis://me:***@host:1/0"
    assert redacted_url("redis://host/0") == "redis://host/0"
    with pytest.raises(InvalidSettings) as caught:
        load_settings(options={"redis.timeout_s": "0", "redis.urls": "redis://a:secret@b"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({"protocol": "SASL_SSL"}, "SASL_SSL needs mechanism"),
        (
            {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "a"},
            "SASL_SSL PLAIN needs password_file",
        ),
        ({"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}, "needs token_file"),
        (
            {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "token_url": "https://a"},
            "needs client_id, client_secret_file",
        ),
        ({"protocol": "SSL", "cert_file": "c"}, "SSL needs key_file"),
        ({"ca_file": "c"}, "PLAINTEXT has no use for ca_file"),
        ({"protocol": "SSL", "username": "a"}, "SSL has no use for username"),
        ({"protocol": "SASL_SSL", "mechanism": "SCRAM"}, "kafka.security.mechanism: "),
        ({"token_url": "ftp://a"}, "kafka.security.token_url: "),
    ],
)
def test_security_settings_that_do_not_fit_together_are_told(security, expected):
    """What is missing, and what would be ignored, is an error that names the setting."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(options={"kafka.security": security})
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["password", "client_secret", "key_password", "token"])
def test_a_secret_is_no_setting_and_is_not_shown(name):
    """Secrets are refused in settings, where only a file's name may be, and not repeated."""
    with pytest.raises(InvalidSettings, match="'\\*\\*\\*'") as caught:
        load_settings(options={f"kafka.security.{name}": "horse"})
    assert "horse" not in str(caught.value)
