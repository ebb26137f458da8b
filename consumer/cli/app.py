"""Puts the commands together and turns our errors into one line and an exit code."""

from __future__ import annotations

import gc
import sys

import typer

from consumer import __version__
from consumer.cli import config, dlq, model, policy, produce, route, topics, training, worker

app = typer.Typer(
    name="offramp",
    help="Run a multi-exit BERT over Kafka text streams and learn one exit per domain.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("worker", epilog=worker.EXAMPLES)(worker.worker)
app.command("produce", epilog=produce.EXAMPLES)(produce.produce)
app.add_typer(policy.app, name="policy")
app.add_typer(route.app, name="route")
app.add_typer(topics.app, name="topics")
app.command("train", epilog=training.TRAIN_EXAMPLES)(model.train)
app.command("pretrain", epilog=training.PRETRAIN_EXAMPLES)(model.pretrain)
app.add_typer(model.app, name="model")
app.add_typer(dlq.app, name="dlq")
app.add_typer(config.app, name="config")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"offramp {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; our own errors end it with one line on stderr and exit code 1."""
    gc.set_threshold(50_000)  # importing makes much that stays: a sixth less time to start
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _ours(error):
            raise
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(1)


def _ours(error: Exception) -> bool:
    """Say whether a package of ours raised it: those messages are written for people."""
    roots = {"ConsumerError", "PolicyStateError", "ModelError"}
    return any(base.__name__ in roots for base in type(error).__mro__)
