"""`offramp train`, `pretrain` and `model`, run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from consumer.cli.app import app
from model.errors import ModelError
from policy_state.errors import InvalidInput

if TYPE_CHECKING:
    from typer.testing import Result


def offramp(*arguments: object, code: int = 0) -> Result:
    """Run the command line; our own errors come through as they are."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, ModelError | InvalidInput):
        raise result.exception
    assert result.exit_code == code, result.output
    return result
