"""A worker that ends itself, by SIGKILL, at a step of a commit; started by the storm.

Its model is a few lines: the storm is about the stream, and a worker that needs no torch starts
many times in a minute. CRASH_AT names the step, CRASH_AFTER how often it is passed before.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from consumer.settings import load_settings
from consumer.wiring import run_worker


@dataclass(frozen=True)
class Result:
    """Labels of exits 0..k."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    truncated: bool = False


@dataclass(frozen=True)
class Shape:
    """Three exits, two classes."""

    exit_layers: tuple[int, ...] = (1, 3, 12)
    labels: tuple[str, ...] = ("negative", "positive")


class LengthModel:
    """Says of a text whether its length is odd; exit 0 is wrong on every third length."""

    fingerprint = "length-model"
    config = Shape()

    def run(self, texts: Sequence[str], exits: Sequence[int]) -> list[Result]:
        """Classify texts up to an exit each."""
        results = []
        for text, last in zip(texts, exits, strict=True):
            odd = len(text) % 2
            first = 1 - odd if len(text) % 3 == 0 else odd
            labels = (first, odd, odd)[: last + 1]
            results.append(Result(labels, (0.9,) * len(labels)))
        return results


def main() -> None:
    """Run the worker."""
    step, left = os.environ.get("CRASH_AT", ""), int(os.environ.get("CRASH_AFTER", "0"))

    def reached(name: str) -> None:
        nonlocal left
        if name != step:
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    run_worker(load_settings(), log_level="info", engine=LengthModel(), reached=reached)


main()
