"""What an examination of a store can find, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

COUNT_ANEW: Final = "offramp policy rebuild --fresh"


class Severity(StrEnum):
    """How bad a finding is."""

    PROBLEM = "problem"  # what is stored cannot be trusted
    NOTE = "note"  # may well be as it should
    UNKNOWN = "unknown"  # could not be looked at


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as expected."""

    severity: Severity
    check: str  # a short stable word: counters, index, ledger, pin, labels, watermark, gaps, lost,
    # corrupt, gate, log, kept, meta, settings, audit, routes, memory
    subject: str  # a domain, a partition, a topic, "all domains", "index", "watermarks", ..
    text: str
    fix: str = ""  # the command that fixes it, where there is one


def problem(check: str, subject: str, text: str, fix: str = "") -> Finding:
    """Return a finding that means trouble."""
    return Finding(Severity.PROBLEM, check, subject, text, fix)


def note(check: str, subject: str, text: str, fix: str = "") -> Finding:
    """Return a finding that may be as it should."""
    return Finding(Severity.NOTE, check, subject, text, fix)
