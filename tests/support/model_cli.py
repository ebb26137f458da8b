"""`offramp train`, `pretrain` and `model`, run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from typer.testing import CliRunner

from consumer.cli.model import inspect as commands
from model.errors import ModelError

if TYPE_CHECKING:
    from typer.testing import Result

app = typer.Typer()
app.command("train")(commands.train)
app.command("pretrain")(commands.pretrain)
app.add_typer(commands.app, name="model")


def offramp(*arguments: object, code: int = 0) -> Result:
    """Run the command line; our own errors come through as they are."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, ModelError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result
