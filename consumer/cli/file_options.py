"""Options that commands share which read files of texts: format and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from model.texts.formats import Format

if TYPE_CHECKING:
    from model.texts.rows import Layout

FILES = "TSV, CSV, JSONL or plain lines; may be .gz or .zst; - is stdin."

FormatOption = Annotated[
    Format, typer.Option("--format", help="What the file is; auto: what its name tells.")
]
TextColumn = Annotated[
    str, typer.Option("--text-column", metavar="NAME", help="Column or field with the text.")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        metavar="NAME",
        help="Column or field with the label; default: `label`, where there is one.",
    ),
]


def layout_of(form: Format, text: str, label: str | None = None) -> Layout:
    """Return how a file is read; a column of labels that was named must be there."""
    from model.texts.rows import Layout

    return Layout(format=form, text=text, label=label or "label", labelled=label is not None)
