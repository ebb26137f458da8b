"""What a model takes on one machine, as `offramp model bench` measures it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, Field, ValidationError

from consumer.errors import InvalidSettings
from consumer.section import Section, complaints
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

KIND: Final = "model-bench"  # of the document
_TOKENS_APART: Final = 2.0
_SHARES_OFF: Final = 0.01


@dataclass(frozen=True, slots=True)
class Times:
    """How long texts take that stop at one exit, or at a mixture of exits."""

    batch_s: float  # a batch, whatever its size
    text_s: float  # each text
    cpu_s: float  # each text, all cores together

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float], *, cpu_s: float) -> Times:
        """Return times that fit two batches, each a number of texts and its seconds.

        At least half of the larger batch is taken to grow with its texts. So a disturbed
        measurement does not promise that larger batches cost nothing.

        >>> round(Times.through((32, 0.018), (256, 0.13), cpu_s=0.001).batch_s, 6)
        0.002
        """
        texts, seconds = many
        text_s = even_s = seconds / texts
        if few[0] < texts:
            text_s = max(even_s / 2, min(even_s, (seconds - few[1]) / (texts - few[0])))
        return cls(max(0.0, seconds - texts * text_s), text_s, cpu_s)

    def of(self, texts: float) -> float:
        """Return the seconds of a batch."""
        return self.batch_s + texts * self.text_s


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on one machine; the machines that a plan asks for are like it."""

    machine: str
    device: str
    cores: int
    precision: str
    fingerprint: str  # of the model
    layers: tuple[int, ...]  # where its exits are
    tokens: float  # of a text
    tokenise_s: float  # a text
    tokenise_cpu_s: float
    exits: tuple[Times, ...]

    def with_tokens(self, tokens: float) -> Measured:
        """Return the times of longer or shorter texts, in proportion.

        Raises:
            InvalidSettings: the texts differ so much that this would be a guess.
        """
        ratio = tokens / self.tokens
        if not 1 / _TOKENS_APART <= ratio <= _TOKENS_APART:
            raise InvalidSettings(
                f"texts of {tokens:g} tokens are asked for, but texts of {self.tokens:g} were "
                f"measured, which says little about these; measure again with "
                f"`offramp model bench --tokens {tokens:g}`"
            )
        return replace(
            self,
            tokens=tokens,
            tokenise_s=self.tokenise_s * ratio,
            tokenise_cpu_s=self.tokenise_cpu_s * ratio,
            exits=tuple(
                Times(each.batch_s, each.text_s * ratio, each.cpu_s * ratio) for each in self.exits
            ),
        )

    def mixed(self, shares: Sequence[float]) -> Times:
        """Return the times of texts of which these shares stop at each exit."""
        used = [(share, each) for share, each in zip(shares, self.exits, strict=True) if share]
        return Times(
            max(each.batch_s for _, each in used),
            sum(share * each.text_s for share, each in used),
            sum(share * each.cpu_s for share, each in used),
        )


def shares_of(counts: Sequence[float], *, exits: int) -> tuple[float, ...]:
    """Return shares that add up to 1.

    >>> shares_of([3, 1], exits=2)
    (0.75, 0.25)

    Raises:
        InvalidSettings: not one for each exit, or nothing in them.
    """
    if len(counts) != exits:
        raise InvalidSettings(
            f"{counted(len(counts), 'share')} of texts, but the model has {counted(exits, 'exit')}"
        )
    whole = sum(counts)
    if whole <= 0 or min(counts) < 0:
        raise InvalidSettings("the shares of texts are all 0 or less; there is nothing to plan for")
    return tuple(count / whole for count in counts)


def checked_shares(values: Sequence[float], *, exits: int) -> tuple[float, ...]:
    """Return shares that somebody wrote down.

    Raises:
        InvalidSettings: as `shares_of`, or they do not add up to 1.
    """
    shares = shares_of(values, exits=exits)
    if abs(sum(values) - 1) > _SHARES_OFF:
        raise InvalidSettings(f"the shares add up to {sum(values):g}, expected 1")
    return shares


class _Row(Section):
    """One exit in one precision."""

    model_config = ConfigDict(extra="ignore")
    precision: str
    layer: int = Field(ge=1)
    batch_ms: float = Field(gt=0)
    few_ms: float = Field(gt=0)
    cpu_us: float = Field(ge=0)
    tokenise_us: float = Field(ge=0)
    tokenise_cpu_us: float = Field(ge=0)


class _Document(Section):
    """What `offramp model bench -o json` writes."""

    model_config = ConfigDict(extra="ignore")
    version: int
    kind: str
    fingerprint: str
    machine: str
    device: str
    cores: int = Field(ge=1, le=100_000)
    texts: int = Field(ge=1)
    few_texts: int = Field(ge=1)
    tokens_per_text: float = Field(gt=0)
    exits: tuple[_Row, ...] = Field(min_length=1)


def measured_from(document: Any, *, source: str) -> Measured:  # noqa: ANN401  (any JSON)
    """Return the fastest precision that a document of `offramp model bench -o json` holds.

    Args:
        document: the contents of the file.
        source: where it comes from, for errors.

    Raises:
        InvalidSettings: names what is wrong in it.
    """
    cure = "make it with `offramp model bench FOLDER -o json`"
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InvalidSettings(f"{source}: is no measurement of a model; {cure}")
    try:
        found = _Document.model_validate(document)
    except ValidationError as error:
        first = complaints(error, _Document)[0]
        name = ".".join(first.path)
        raise InvalidSettings(f"{source}: {name}: {first.said}; {cure}") from error
    by_precision: dict[str, list[_Row]] = {}
    for row in found.exits:
        by_precision.setdefault(row.precision, []).append(row)
    precision, rows = min(by_precision.items(), key=lambda each: each[1][-1].batch_ms)
    return Measured(
        machine=found.machine,
        device=found.device,
        cores=found.cores,
        precision=precision,
        fingerprint=found.fingerprint,
        layers=tuple(row.layer for row in rows),
        tokens=found.tokens_per_text,
        tokenise_s=rows[0].tokenise_us / 1e6,
        tokenise_cpu_s=rows[0].tokenise_cpu_us / 1e6,
        exits=tuple(
            Times.through(
                (found.few_texts, row.few_ms / 1e3),
                (found.texts, row.batch_ms / 1e3),
                cpu_s=row.cpu_us / 1e6,
            )
            for row in rows
        ),
    )
