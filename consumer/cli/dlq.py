"""`offramp dlq`: lists, shows and resends the records that could not be used."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from consumer.cli.commands import Commands
from consumer.cli.options import Limit, Yes
from consumer.cli.output import Output, OutputOption, clock, print_data, printable
from consumer.cli.session import KAFKA, OnKafka, confirm
from consumer.events.record import shown_name
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Generator

    from consumer.kafka.dead_letters import ReadLetter

app = Commands(
    help="List, inspect and resend records that could not be used.\n\n"
    "Exit codes: 0 done; 1 an error, with one line on stderr; 2 wrong usage; 3 previewed but not "
    "confirmed.",
    no_args_is_help=True,
)

LIST_EXAMPLES = """Examples:

`offramp dlq list`

`offramp dlq list --class invalid-json --limit 20`

`offramp dlq list -o json | jq -r '.[].class' | sort | uniq -c`
"""
SHOW_EXAMPLES = """Examples:

`offramp dlq show 0@17`

`offramp dlq show 0@17 -o json`
"""
REPLAY_EXAMPLES = """Examples:

`offramp dlq replay --class no-route`

`offramp dlq replay --stage infer --to texts.hotels --yes`
"""


class Stage(StrEnum):
    """The step that could not use a record, as in the settings `errors.*`."""

    READ = "read"
    PARSE = "parse"
    ROUTE = "route"
    INFER = "infer"
    PRODUCE = "produce"


@dataclass(frozen=True, kw_only=True)
class OnDeadLetters(OnKafka):
    """Options of a command that reads the dead-letter topic."""

    uses: ClassVar[tuple[str, ...]] = (*KAFKA, "kafka.dead_letters")
    dead_letters: Annotated[
        str | None,
        typer.Option("--dead-letters", help="The dead-letter topic; default: kafka.dead_letters."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Options that choose some dead letters."""

    stage: Annotated[
        Stage | None,
        typer.Option(
            metavar="STAGE",
            help="Only dead letters of this step: read, parse, route, infer or produce.",
        ),
    ] = None
    class_: Annotated[
        str | None, typer.Option("--class", help="Only this class of error, e.g. invalid-json.")
    ] = None


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    given: OnDeadLetters,
    chosen: Chosen,
    limit: Limit = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the dead letters, oldest first: where each came from and what was wrong with it."""
    found = list(islice(_letters(given, chosen), limit))
    _check_class(chosen.class_, found=bool(found))
    print_data(
        output,
        [letter_facts(letter) for letter in found],
        [
            {
                "position": letter.position,
                "source": letter.source,
                "stage": letter.error.get("stage"),
                "class": letter.error.get("class"),
                "bytes": len(letter.value or b""),
                "replays": letter.replays,
                "message": letter.error.get("message") or "",
            }
            for letter in found
        ],
        empty="no dead letters",
        spare=("replays", "bytes", "stage"),
        prose="message",
    )


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    position: Annotated[str, typer.Argument(help="PARTITION@OFFSET, as `dlq list` prints it.")],
    given: OnDeadLetters,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the error, headers and value of one dead letter, escaped for the terminal."""
    found = (each for each in _letters(given, Chosen()) if each.position == position)
    letter = next(found, None)
    if letter is None:
        from consumer.errors import InvalidSettings

        raise InvalidSettings(f"no dead letter at {printable(position)}; see `offramp dlq list`")
    if output is not Output.TABLE:
        print_data(output, letter_facts(letter), [letter_facts(letter)])
        return
    for name, value in letter.error.items():
        shown = printable(value)
        if name == "timestamp" and value.isdigit():
            shown += f" ({clock(int(value))} UTC)"
        typer.echo(f"{name}: {shown}")
    typer.echo(f"key: {_text(letter.key)}")
    for name, raw in letter.headers:
        typer.echo(f"header {printable(shown_name(name))}: {_text(raw)}")
    typer.echo(f"\n{_text(letter.value)}")


@app.command("replay", epilog=REPLAY_EXAMPLES)
def replay(
    given: OnDeadLetters,
    chosen: Chosen,
    topic: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TOPIC", help="Send them to this topic; default: where each came from."
        ),
    ] = None,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send dead letters, unchanged, back to the topics they came from.

    The letters also stay in the dead-letter topic. Two kinds are skipped: letters that were too
    large to be kept whole, and letters of the stage `read`, which hold a damaged batch instead of a
    record. A letter that fails again comes back with its number of replays.
    """
    settings = given.settings()
    from consumer.kafka import dead_letters as letters

    last: dict[
        int, int
    ] = {}  # by partition; letters are read twice, as all of them may not fit in memory
    hindrances: Counter[str | None] = Counter()
    for letter in _letters(given, chosen):
        last[letter.partition] = letter.offset
        hindrances[letter.hindrance(topic)] += 1
    _check_class(chosen.class_, found=bool(hindrances))
    count = hindrances.pop(None, 0)
    for hindrance, left_out in sorted(hindrances.items(), key=str):
        typer.echo(f"{counted(left_out, 'letter')} left out: {hindrance}", err=True)
    if count:
        where = "where they came from" if topic is None else printable(topic)
        confirm(f"letters to be sent to {where}: {count}", yes=yes)
    sent: Counter[str] = Counter()
    try:
        with closing(_letters(given, chosen)) as again:
            sendable = (
                letter
                for letter in again
                if not letter.hindrance(topic) and letter.offset <= last.get(letter.partition, -1)
            )
            letters.replay(settings.kafka, sendable if count else (), topic=topic, sent=sent)
    except BaseException as error:  # also an interrupt: what was sent stays sent
        if sent or not isinstance(error, Exception):
            of_all = f"{sent.total()} of {counted(count, 'letter')}"
            typer.echo(f"stopped after sending {of_all}", err=True)
        raise
    if output is not Output.TABLE:
        print_data(
            output, dict(sent), [{"topic": name, "sent": sent[name]} for name in sorted(sent)]
        )
        return
    for name, count in sorted(sent.items()):
        typer.echo(f"{counted(count, 'letter')} sent to {printable(name)}", err=True)
    if not sent:
        typer.echo("no dead letters", err=True)


def _letters(given: OnDeadLetters, chosen: Chosen) -> Generator[ReadLetter]:
    settings = given.settings()
    from consumer.kafka.dead_letters import read_letters

    return read_letters(settings.kafka, stage=chosen.stage, error_class=chosen.class_)


def _check_class(name: str | None, *, found: bool) -> None:
    """Refuse a class that no dead letter ever has."""
    from consumer.errors import InvalidSettings
    from consumer.kafka.dead_letters import CLASSES
    from policy_state.suggesting import did_you_mean

    if not found and name is not None and name not in CLASSES:
        meant = did_you_mean(printable(name), CLASSES)
        raise InvalidSettings(
            f"--class {printable(name)}: no dead letter has this class{meant}"
            f"{'' if meant else '; the classes are: ' + ', '.join(sorted(CLASSES))}"
        )


def letter_facts(letter: ReadLetter) -> dict[str, object]:
    """Return a dead letter, for programs."""
    return {
        "position": letter.position,
        **letter.error,
        "replays": letter.replays,
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "value": None if letter.value is None else letter.value.decode(errors="backslashreplace"),
        "headers": {
            shown_name(name): value.decode(errors="backslashreplace")
            for name, value in letter.headers
        },
    }


def _text(raw: bytes | None) -> str:
    return "-" if raw is None else printable(raw.decode(errors="backslashreplace"))
