"""Puts the commands together, and turns our errors into one line and an exit code."""

from __future__ import annotations

import errno
import gc
import sys
from typing import TYPE_CHECKING

import typer

from consumer import __version__
from consumer.cli import (
    config,
    dashboard,
    dlq,
    lab,
    plan,
    produce,
    status,
    topics,
    version,
    worker,
)
from consumer.cli.commands import DAILY, LAB, MODELS, RUN, TOPICS, Commands, InPanels
from consumer.cli.model import bench, inspect, prepare, rewrite, shadow, train
from consumer.cli.output import printable
from consumer.cli.policy import change, correct, doctor, evaluate, history, look, move, rebuild
from consumer.cli.policy import set as set_
from consumer.cli.route import change as route_change
from consumer.cli.route import look as route_look
from consumer.extras import needs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN_CHARACTERS = 200  # of a file's name

_POLICY_HELP = """Show, change, move and repair what the workers have learnt.

Exit codes: 0 done; 1 an error, with one line on stderr; 2 wrong usage; 3 previewed but not
confirmed; 4 `doctor` or `diff` found something, or `rebuild` must run again."""
_ROUTE_HELP = """Choose which topics are read and where predictions go.

Exit codes: 0 done; 1 an error, with one line on stderr; 2 wrong usage; 3 previewed but not
confirmed; 4 `test` found that the texts of the topic are not predicted."""

policy = Commands(cls=InPanels, help=_POLICY_HELP, no_args_is_help=True)
for module in (look, history, evaluate, set_, change, correct, move, doctor, rebuild):
    policy.add_typer(module.app)
route = Commands(help=_ROUTE_HELP, no_args_is_help=True)
route.add_typer(route_look.app)
route.add_typer(route_change.app)
model = Commands(help="Check, convert, run and measure models.", no_args_is_help=True)
model.add_typer(rewrite.app)
model.add_typer(prepare.app)
model.add_typer(inspect.app)
model.add_typer(bench.app)

app = Commands(
    name="offramp",
    cls=InPanels,
    help="Classify Kafka text streams with a BERT that learns how deep each domain must go.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("worker", epilog=worker.EXAMPLES, rich_help_panel=RUN)(worker.worker)
app.command("produce", epilog=produce.EXAMPLES, rich_help_panel=RUN)(produce.produce)
app.command("plan", epilog=plan.EXAMPLES, rich_help_panel=RUN)(plan.plan)
app.command("shadow", epilog=shadow.EXAMPLES, rich_help_panel=RUN)(shadow.shadow)
app.add_typer(config.app, name="config", rich_help_panel=RUN)
app.command("version", epilog=version.EXAMPLES, rich_help_panel=RUN)(version.version)
app.command("status", epilog=status.EXAMPLES, rich_help_panel=DAILY)(status.status)
app.command("explain", epilog=look.EXPLAIN_EXAMPLES, rich_help_panel=DAILY)(look.explain)
app.command("pin", epilog=change.PIN_EXAMPLES, rich_help_panel=DAILY)(change.pin)
app.command("unpin", epilog=change.UNPIN_EXAMPLES, rich_help_panel=DAILY)(change.unpin)
app.command("dashboard", epilog=dashboard.EXAMPLES, rich_help_panel=DAILY)(dashboard.dashboard)
app.add_typer(policy, name="policy", rich_help_panel=DAILY)
app.add_typer(topics.app, name="topics", rich_help_panel=TOPICS)
app.add_typer(route, name="route", rich_help_panel=TOPICS)
app.add_typer(dlq.app, name="dlq", rich_help_panel=TOPICS)
app.command("train", epilog=train.TRAIN_EXAMPLES, rich_help_panel=MODELS)(train.train)
app.command("pretrain", epilog=train.PRETRAIN_EXAMPLES, rich_help_panel=MODELS)(train.pretrain)
app.add_typer(model, name="model", rich_help_panel=MODELS)
app.add_typer(lab.app, name="lab", rich_help_panel=LAB)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"offramp {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; our own errors end it with one line on stderr and exit code 1.

    If a package is missing that `pip install offramp` leaves out, the line says which extra brings
    it, and the exit code is 2, as for wrong usage.

    Args:
        arguments: what follows the program's name; by default that of this process.
    """
    gc.set_threshold(50_000)  # what imports create stays: starting takes a sixth less time
    try:
        app(args=arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        typer.echo(f"error: {_needs(error, arguments or sys.argv[1:])}", err=True)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001  (a bug of ours is raised again)
        for line in _said(error):
            typer.echo(f"error: {printable(line)}", err=True)
        sys.exit(1)


def _needs(error: ModuleNotFoundError, arguments: Sequence[str]) -> str:
    """Return which extra a command needs, or raise the error if no extra brings the package."""
    words: list[str] = ["offramp"]
    commands: Mapping[str, object] = vars(typer.main.get_command(app))["commands"]
    for word in arguments:
        if word not in commands:
            break
        words.append(word)
        commands = getattr(commands[word], "commands", {})
    extra = "train" if words[-1] in {"train", "pretrain"} else None  # they need the whole extra
    if (said := needs(" ".join(words), error, extra=extra)) is None:
        raise error
    return said


def _said(error: Exception) -> list[str]:
    """Return an error as lines for people, or raise it if it is a bug of ours.

    An error of the operating system about a named file is not a bug, whoever opens the file.
    """
    if _ours(error):
        return str(error).splitlines()
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        name = str(error.filename)
        shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}.."
        return [f"{shown}: {error.strerror}"]
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return [str(error.strerror)]
    raise error


def _ours(error: Exception) -> bool:
    """Return whether one of our packages raised the error: its message is written for people."""
    roots = {"ConsumerError", "PolicyStateError", "ModelError"}
    return any(base.__name__ in roots for base in type(error).__mro__)
