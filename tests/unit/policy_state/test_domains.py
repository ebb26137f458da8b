"""Domain names from outside: what is let in, and how it is written into keys."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_state.domains import decode_domain, domain_key, encode_domain, text_domain
from policy_state.errors import InvalidDomain


@given(name=st.text())
def test_any_text_is_let_in_whole_or_refused(name: str) -> None:
    """A name comes back unchanged or is refused; never cut, cleaned or crashed on."""
    try:
        accepted = domain_key(name)
    except InvalidDomain:
        return
    assert accepted == name
    assert 1 <= len(name.encode()) <= 128
    assert all(unicodedata.category(character) != "Cc" for character in name)


@given(name=st.text(st.characters(codec="utf-8")))
def test_encoding_is_reversible_and_plain(name: str) -> None:
    """Encoded names are plain ASCII without anything that means something in a key."""
    encoded = encode_domain(name)
    assert decode_domain(encoded) == name
    assert encoded.isascii()
    assert not set(encoded) & set("{}:*?[]/\\ \n\"'")


def test_no_text_is_of_the_domain_that_others_share() -> None:
    """A name from outside cannot mix its texts into those of domains beyond the limit."""
    with pytest.raises(InvalidDomain, match="__overflow__ is where"):
        text_domain("__overflow__")
    assert (text_domain("hotels"), text_domain(None)) == ("hotels", "default")
    with pytest.raises(InvalidDomain):
        text_domain("a\nb")


def test_no_name_is_the_default_domain() -> None:
    """Events without a domain share one."""
    assert domain_key(None) == "default"


@pytest.mark.parametrize(
    "name", ["hotels", "Hôtels / été", "مطاعم", "旅館", "{a}:b*", " ", "ä" * 64]
)
def test_ordinary_names_of_any_language_are_let_in(name: str) -> None:
    """Letters of any script, spaces and punctuation are fine, up to 128 bytes."""
    assert domain_key(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "0 bytes, limit 1..128"),
        ("x" * 129, "129 bytes"),
        ("ä" * 65, "130 bytes"),
        ("a\nb", r"U\+000A at 1"),
        ("a\0", r"U\+0000 at 1"),
        ("\x7f", r"U\+007F at 0"),
        ("a\x9b31m", r"U\+009B at 1"),
        ("abc\u202egnp", r"U\+202E at 3"),
        ("\u2066a", r"U\+2066 at 0"),
        ("a\u200f", r"U\+200F at 1"),
        ("a\u2028b", r"U\+2028 at 1"),
        ("a\ud800", r"U\+D800 at 1"),
    ],
)
def test_names_that_deceive_or_break_lines_are_refused(name: str, message: str) -> None:
    """Control, line and direction characters, lone surrogates and bad sizes are named."""
    with pytest.raises(InvalidDomain, match=message) as caught:
        domain_key(name)
    assert str(caught.value).isascii()
