"""Wrong settings: what errors say, and what they hide."""

import pytest
from pydantic_core._pydantic_core import list_all_errors

from consumer.errors import InvalidSettings
from consumer.section import sentence
from consumer.settings.load import load_settings
from consumer.settings.problems import redacted_url


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


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OFFRAMP_BATCH__MAX_EVENTS", "no", "expected a whole number"),
        ("OFFRAMP_ROUTES", '[{"topics": "a"', "expected a list"),
    ],
)
def test_errors_name_the_variable(monkeypatch, name, value, expected):
    """A wrong value from the environment, or broken JSON there, is traced to its variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=rf"\(from {name}\), {expected}"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OFFRAMP_KAFAK__GROUP", "; did you mean OFFRAMP_KAFKA__GROUP?"),
        ("offramp_kafak__group", "; did you mean OFFRAMP_KAFKA__GROUP?"),
        ("OFFRAMP_KAFKA_GROUP", "; did you mean OFFRAMP_KAFKA__GROUP?"),
        ("OFFRAMP_KAFKA_PORT", ""),
        ("OFFRAMP_CONFG", "; did you mean OFFRAMP_CONFIG?"),
        ("OFFRAMP_INSTANCE__X", "; did you mean OFFRAMP_INSTANCE?"),
        ("OFFRAMP_KAFKA__", ""),
        ("OFFRAMP_", ""),
    ],
)
def test_a_variable_that_names_nothing_is_an_error(monkeypatch, name, meant):
    """It is named, with the one that was meant, rather than passed over in silence."""
    monkeypatch.setenv(name, "9092")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: there is no such setting{meant}")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.toml", "[kafka]\ngrup = 1", "kafka.grup: 1 (from {}), no such setting; did you mean"),
        ("s.toml", "[kafak]\ngroup = 1", "kafak (from {}): no such setting; did you mean kafka?"),
        ("s.yaml", "batch: {max_events: 0}", "max_events: 0 (from {}), expected 1 or more"),
        ("s.yaml", "batch: 5", "batch: 5 (from {}), expected a section of names with values"),
        (
            "s.yaml",
            "batch: {max_events: 1, max_events: 2}",
            "{}: not YAML: max_events appears twice",
        ),
        ("s.yaml", "5: 5", "5: 5 (from {}), no such setting"),
        ("s.yaml", "[1]", "{}: holds a list, expected sections of settings"),
        ("s.yaml", "{[1]: 2}", "{}: not YAML: "),
        ("s.yaml", "a: 2026-99-99", "{}: not YAML: "),
        ("s.toml", "a = " + "[" * 5000, "{}: not TOML: "),
        ("s.yaml", "a: " + "[" * 5000, "{}: not YAML: "),
        ("s.toml", 'routes = [{topics = "a", outputs = "b"}]', "did you mean routes.0.output?"),
    ],
)
def test_a_wrong_file_is_named_with_the_value_and_what_was_meant(tmp_path, name, text, said):
    """Nothing in a file is passed over in silence, nor is it told in a library's words."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(path)
    assert said.format(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """A directory, a name that cannot be, and bytes that are no text are one line each."""
    (tmp_path / "d.toml").mkdir()
    (tmp_path / "b.toml").write_bytes(b"a = '\xff'")
    for name, said in (
        ("d.toml", "cannot be read: Is a directory"),
        ("a\0.toml", "cannot be read: embedded null byte"),
        ("b.toml", "not UTF-8, at byte 5"),
    ):
        with pytest.raises(InvalidSettings, match=said):
            load_settings(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"routes": "[{}]"}, "routes.0.topics: is missing"),
        ({"policy.cost": "[0.1, -2]"}, "policy.cost.1: -2, expected 0 or more"),
        (
            {"policy.cost": "[0.1"},
            "policy.cost: '[0.1', expected 'layers', 'split' or 'measured' or a list",
        ),
        ({"kafka": "1", "kafka.group": "2"}, "kafka.group: kafka is also given as a whole"),
        ({"kafka.group": "2", "kafka": "1"}, "kafka: one of its settings is also given"),
        ({"a..b": "1"}, "a: no such setting"),
        ({"worker.drain_s": "inf"}, "worker.drain_s: 'inf', expected a finite number"),
        ({"kafka.group": "\udcff"}, r"kafka.group: '\udcff', expected text in UTF-8"),
        ({"instance": "a" * 5000}, ".. (5002 characters), expected 1..100 letters, digits, dots,"),
        ({"redis.timeout_s": "1e30"}, "redis.timeout_s: '1e30', expected at most 86400"),
        ({"redis.urls": "redis://[a:horse@b"}, "did you mean redis.url?"),
    ],
)
def test_a_wrong_option_is_told_in_our_words(options, said):
    """One line for each field: its name, its value, and what is expected there."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(options=options)
    assert said in str(caught.value)
    assert "horse" not in str(caught.value)


def test_nosentence_of_pydantic_is_repeated():
    """Every kind of error that pydantic knows has words of ours, filled in."""
    for kind in list_all_errors():
        said = sentence(
            {"type": kind["type"], "ctx": kind["example_context"] or {}, "msg": "x", "input": 0}
        )
        example = kind["example_message_python"]
        assert said not in {"", example}, kind["type"]
        assert not {"Input", "{"} & set(said.replace("{", " { ").split()), kind["type"]


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
    with pytest.raises(InvalidSettings, match=r": \*\*\*, no such setting") as caught:
        load_settings(options={f"kafka.security.{name}": "horse"})
    assert "horse" not in str(caught.value)
