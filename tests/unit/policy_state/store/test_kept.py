"""Records of the policy topic: what is none is refused, whatever stands in it."""

import pytest

from policy_state.store.kept import checked_record

ENTRY = "1700000000000-0"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (["g", "routes"], {"revision": "3", "routes": "[]"}),
        (["g", "domain", "default", "hotels/{x}"], {"pin": "1", "pin_reason": "why"}),
        (["g", "domain", "default", "a"], {"labels": "60 0 0 0 40 30 10"}),
        (["g", "audit", "default", ENTRY], {"action": "pin", "revision": "not ours to read"}),
        (["g", "route-audit", ENTRY], None),
    ],
)
def test_what_workers_write_is_read(key, value):
    """Group, key and value come back, also of a record that takes a key away."""
    assert checked_record(key, value) == (key[0], tuple(key[1:]), value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, {}),
        ("routes", {}),
        ([], {}),
        (["g"], {}),
        (["g", 1], {}),
        (["g", "else"], {}),
        (["g", "routes", "x"], {}),
        (["g", "domain", "default"], {}),
        (["g", "audit", "default", "abc"], {}),
        (["g", "audit", "default", "1-" + "9" * 30], {}),
        (["g", "routes"], {}),
        (["g", "routes"], {"revision": "-1", "routes": "[]"}),
        (["g", "routes"], {"revision": 1, "routes": "[]"}),
        (["g", "routes"], []),
        (["g", "policy", "default"], {"revision": "1"}),
        (["g", "domain", "default", "a"], {"pin": "1e3"}),
        (["g", "domain", "default", "a"], {"pin_until": "9" * 40}),
        (["g", "domain", "default", "a"], {"labels": "60 0 0 0 40 30 11"}),
    ],
)
def test_what_no_worker_wrote_is_refused_in_one_line(key, value):
    """A hand-made record is an error that says what was expected, before anything uses it."""
    with pytest.raises(ValueError, match=r"expected|without") as refused:
        checked_record(key, value)
    assert len(str(refused.value)) < 300
