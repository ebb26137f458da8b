"""Settings: where they come from, and which source wins."""

import pytest

from consumer.errors import InvalidSettings
from consumer.section import is_optional
from consumer.settings.load import Settings, load_settings
from consumer.settings.variables import kind_of, setting_names, variable_of


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
    assert settings.routes is not None
    assert [route.topics for route in settings.routes] == ["a", "b"]


def test_variables_of_others_stop_no_worker(monkeypatch):
    """What Kubernetes sets for services whose names begin with offramp is no setting of ours."""
    for name, value in {
        "OFFRAMP_SERVICE_HOST": "10.0.0.1",
        "OFFRAMP_SERVICE_PORT": "9000",
        "OFFRAMP_SERVICE_PORT_METRICS": "9000",
        "OFFRAMP_PORT": "tcp://10.0.0.1:9000",
        "OFFRAMP_PORT_9000_TCP": "tcp://10.0.0.1:9000",
        "OFFRAMP_KAFKA_PORT": "tcp://10.0.0.1:9092",
        "OFFRAMP_KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1",
        "OFFRAMP_MY_REDIS_SERVICE_HOST": "10.0.0.1",
        "OFFRAMP_USER": "anna",
        "OFFRAMP_SHARED": "x",
        "_OFFRAMP_COMPLETE": "x",
    }.items():
        monkeypatch.setenv(name, value)
    assert load_settings().kafka.group == "offramp"


def test_a_section_in_a_variable_is_an_object(monkeypatch):
    """A whole section is JSON, and refined setting by setting; anything else is told how."""
    monkeypatch.setenv("OFFRAMP_KAFKA", '{"group": "a"}')
    monkeypatch.setenv("OFFRAMP_KAFKA__FORMAT", "json")
    kafka = load_settings().kafka
    assert (kafka.group, kafka.format) == ("a", "json")
    monkeypatch.setenv("OFFRAMP_KAFKA", "a")
    with pytest.raises(InvalidSettings, match="such as OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"):
        load_settings()


def test_every_optional_setting_is_unset_by_the_same_word(tmp_path, monkeypatch):
    """In an option, a variable and a file; it wins over what is set further down, as values do."""
    names = [n for n in setting_names(Settings) if is_optional(kind_of(Settings, n))]
    assert {"policy.tolerance", "routes", "redis.ca_file", "kafka.registry.url"} <= {*names}

    def got(settings, name):
        for part in name.split("."):
            settings = getattr(settings, part)
        return settings

    for name in names:
        assert got(load_settings(options={name: "none"}), name) is None
        with monkeypatch.context() as scoped:
            scoped.setenv(variable_of(name), "none")
            assert got(load_settings(), name) is None
        file = tmp_path / "settings.yaml"
        *sections, last = name.split(".")
        lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate((*sections, last))]
        file.write_text("\n".join(lines) + " none\n")
        assert got(load_settings(file), name) is None
    file.write_text("policy: {tolerance: 0.1}\nroutes: [{topics: a, cost_weight: none}]\n")
    assert load_settings(file).policy.tolerance == 0.1
    assert load_settings(file, options={"policy.tolerance": "none"}).policy.tolerance is None
    (route,) = load_settings(file).routes or ()
    assert route.cost_weight is None
    assert load_settings(options={"kafka.group": "none"}).kafka.group == "none"
