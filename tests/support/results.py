"""What a model returns for a text, made up: for tests of the step without a model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Labels and scores of exits 0..k."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    truncated: bool
    credits: tuple[int, ...] = ()
