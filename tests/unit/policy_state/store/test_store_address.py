"""Addresses of Redis: every form is read whole, and what is none is told without its password."""

import pytest

from policy_state.errors import InvalidInput
from policy_state.store.redis.address import Address, parse_address


def address(**parts: object) -> Address:
    """Return an address that differs from `redis://h` in some parts."""
    plain: dict[str, object] = {
        "kind": "server",
        "tls": False,
        "hosts": (("h", 6379),),
        "path": "",
        "master": "",
        "database": 0,
        "username": None,
        "password": None,
    }
    return Address(**(plain | parts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://h", {}),
        ("redis://h:1/3", {"hosts": (("h", 1),), "database": 3}),
        ("rediss://me:p%40ss@h", {"tls": True, "username": "me", "password": "p@ss"}),
        ("redis://:pw@h", {"password": "pw"}),
        ("redis://[::1]:5/", {"hosts": (("::1", 5),)}),
        ("unix:///run/redis.sock", {"hosts": (), "path": "/run/redis.sock"}),
        (
            "redis+sentinel://me:pw@a,b:5/fleet/2",
            {
                "kind": "sentinel",
                "hosts": (("a", 26379), ("b", 5)),
                "master": "fleet",
                "database": 2,
                "username": "me",
                "password": "pw",
            },
        ),
        (
            "rediss+cluster://a,b:5",
            {"kind": "cluster", "tls": True, "hosts": (("a", 6379), ("b", 5))},
        ),
    ],
)
def test_every_form_is_read(url: str, parts: dict[str, object]) -> None:
    """One server, a socket, a Sentinel group, a cluster; with and without TLS and login."""
    assert parse_address(url) == address(**parts)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:1",
        "http://:secret@h",
        "redis://",
        "redis://:secret@h:x",
        "redis://:a@b:secret",
        "redis://h/secret",
        "redis://h/1/2",
        "redis://a,b",
        "redis://h?password=secret",
        "redis://h#secret",
        "redis+sentinel://secret:1",
        "redis+cluster://h/1",
        "redis+secret://h",
        "unix://h/x",
        "unix://",
        "unix+cluster:///x",
        "redis://h:99999",
    ],
)
def test_what_is_no_address_is_told_without_its_password(url: str) -> None:
    """The message names the forms and repeats nothing of the address."""
    with pytest.raises(InvalidInput, match="redis address: expected redis://") as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_does_not_show_its_password() -> None:
    """Neither in a log nor in a traceback."""
    assert "secret" not in repr(parse_address("redis://:secret@h"))
