"""`offramp policy`, `explain`, `pin` and `unpin` on a Redis, run in this process."""

import json
from collections.abc import Callable
from typing import Any

from typer.testing import CliRunner, Result

from consumer.cli.app import app

Offramp = Callable[..., Result]


def offramp_policy(redis_url: str) -> Offramp:
    """Return a function that runs a command about policies and returns what came of it."""
    environ = {"OFFRAMP_REDIS__URL": redis_url, "OFFRAMP_USER": "anna", "COLUMNS": "250"}

    def run(*args: str, code: int = 0, stdin: str | None = None) -> Result:
        group = [] if args[0] in {"explain", "pin", "unpin"} else ["policy"]
        result = CliRunner().invoke(app, [*group, *args], env=environ, input=stdin)
        failed = 1 if result.exception and not isinstance(result.exception, SystemExit) else None
        assert (failed or result.exit_code) == code, (result.output, result.exception)
        return result

    return run


def data(result: Result) -> Any:
    """Return the JSON on stdout."""
    return json.loads(result.stdout)
