"""The card of a model that was made of another one: the former card, and what has changed."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import InvalidCheckpoint
from model.folder_files import CARD, CURVES, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from model.checkpoint.rewrite import Effect, Rewritten


@dataclass(frozen=True, slots=True)
class Section:
    """What a card says of a change."""

    title: str
    said: str  # what was done, in whole sentences
    command: Sequence[str]  # the words of the command line


def carry_card(source: Path, to: Path, made: Rewritten, section: Section) -> None:
    """Write the card of `to`: that of `source`, if it has one, and a section about the change."""
    former = f"# {to.name}\n"
    if (source / CARD).exists():
        former = read_text(source / CARD, error=InvalidCheckpoint)
    if (source / CURVES).exists():
        shutil.copyfile(source / CURVES, to / CURVES)
    sizes = f"Weights and tokenizer have {made.mb:g} MB, {made.mb_before:g} MB before."
    figures = f"Figures above this section are those of the model {made.fingerprint_before}."
    lines = [
        former.rstrip("\n"),
        "",
        f"## {section.title}",
        "",
        f"{section.said} {sizes} {figures}",
        "",
        "```sh",
        shlex.join(section.command),
        "```",
        *(["", *_table(made.effects)] if made.effects else []),
    ]
    (to / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(effects: Sequence[Effect]) -> list[str]:
    exits = range(len(effects[0].differ))
    lines = [
        "| texts | figure | " + " | ".join(f"exit {i}" for i in exits) + " |",
        "|---|---|" + "---:|" * len(exits),
    ]
    for effect in effects:
        rows: dict[str, list[str]] = {"labels that differ": [f"{n:,}" for n in effect.differ]}
        if effect.accuracy_before is not None and effect.accuracy is not None:
            rows["accuracy % before"] = [f"{100 * share:.2f}" for share in effect.accuracy_before]
            rows["accuracy %"] = [f"{100 * share:.2f}" for share in effect.accuracy]
        name = f"{effect.name} ({effect.texts:,})"
        lines += [f"| {name} | {figure} | {' | '.join(row)} |" for figure, row in rows.items()]
    return lines
