"""Runs a notebook and returns it as a page, without Jupyter."""

import ast
import base64
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def page_of(notebook: Path) -> str:
    """Return the notebook in Markdown, with what its cells print, return and draw.

    Raises:
        Exception: What a cell raises.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    return "\n\n".join(part for cell in cells for part in _parts(cell, names)) + "\n"


def _parts(cell: dict[str, Any], names: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    said, value = _run(source, names)
    if said:
        yield f"```text\n{said.rstrip()}\n```"
    if hasattr(value, "savefig"):
        drawn = io.BytesIO()
        value.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
        data = base64.b64encode(drawn.getvalue()).decode()
        yield f'<img alt="The plot" src="data:image/svg+xml;base64,{data}">'
    elif value is not None:
        yield f"```text\n{value}\n```"


def _run(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Return what a cell prints, and the value of its last line if that is an expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.parse("_ = None").body[0]
        tree.body[-1].value = last.value  # type: ignore[attr-defined]  # `_ = ` the last line
    names["_"] = None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102  (our own notebook)
    return printed.getvalue(), names["_"]
