"""A model that costs nothing: what is left is the plumbing. The chaos tests use it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FreeResult:
    """Labels of exits 0..k."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    truncated: bool = False
    credits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FreeShape:
    """Three exits, two classes."""

    exit_layers: tuple[int, ...] = (1, 3, 12)
    labels: tuple[str, ...] = ("negative", "positive")


class FreeModel:
    """Says of a text whether its length is odd; exit 0 is wrong on every third length."""

    fingerprint = "free-model"
    calibrated = False
    config = FreeShape()

    def tokenise(self, texts: Sequence[str]) -> Sequence[str]:
        """Return the texts: there is nothing to do."""
        return texts

    def run_tokens(self, texts: Sequence[str], exits: Sequence[int]) -> list[FreeResult]:
        """Classify texts up to an exit each."""
        results = []
        for text, last in zip(texts, exits, strict=True):
            odd = len(text) % 2
            first = 1 - odd if len(text) % 3 == 0 else odd
            labels = (first, odd, odd)[: last + 1]
            results.append(FreeResult(labels, (0.9,) * len(labels)))
        return results
