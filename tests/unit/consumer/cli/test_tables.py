"""Tables and changes as people read them."""

import pytest

from consumer.cli.output import print_table
from consumer.cli.policy.history import change_detail
from policy_state.stats import ExitStats
from policy_state.store.admin import AuditEntry
from policy_state.store.values import DomainSnapshot

ROW = {
    "domain": "a domain with a name of eleven words that are all short",
    "saved": "83.3% ±2.9",
    "texts": 12_345_678,
    "exit": "2 / 11",
    "flags": "pinned frozen labelled gate-broken",
    "last text": "23 min ago",
}


def test_no_word_is_broken_while_all_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A long name wraps between its words, and takes no room from the flags."""
    words = {word for name, value in ROW.items() for word in f"{name} {value}".split()}
    for width in range(53, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table([ROW], empty="")
        shown = capsys.readouterr().out
        assert set(shown.split()) == words, width
        assert max(map(len, shown.splitlines())) <= width


def test_a_change_is_told_in_words() -> None:
    """What a reset keeps, what was there, and which exit a pin names; odd values as they are."""
    before = DomainSnapshot(ExitStats.from_texts([(0, 1)] * 30, exits=2), 0, 5)
    reset = AuditEntry(0, "reset", "a", "anna", "why", {"keep": 0.0}, before)
    assert change_detail(reset) == "keeps none of its counts, it had counted 30 texts"
    half = AuditEntry(0, "reset", "a", "anna", "why", {"keep": 0.5}, before)
    assert change_detail(half) == "keeps 50% of its counts, it had counted 30 texts"
    pin = AuditEntry(0, "pin", "a", "anna", "why", {"exit": 2, "for_ms": 7_200_000})
    assert change_detail(pin) == "exit 2, for 2 h"
    odd = AuditEntry(0, "reset", "a", "anna", "why", {"keep": "x"})
    assert change_detail(odd) == "keep=x"
