"""`offramp status`: one screen that says whether all is well, or what is not."""

from __future__ import annotations

from dataclasses import asdict, fields
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from consumer.cli.options import Watch
from consumer.cli.output import (
    Output,
    OutputOption,
    duration_ms,
    emit,
    print_table,
    printable,
    repeat,
)
from consumer.cli.session import EXIT_FOUND, OnRoutes
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumer.status.looking import Looked
    from consumer.status.workers import WorkerRow
    from policy_state.health.findings import Finding
    from policy_state.reports.states import DomainStates

_USES: Final = (*OnRoutes.uses, "kafka.start", "policy.name")
_ROWS: Final = 10  # workers, and topics, that a screen has room for
_LABEL: Final = 14  # columns

MAX_BACKLOG: Final = "5min"
EXAMPLES = """Examples:

`offramp status`

`offramp status --watch`

`offramp status -o json | jq -r '.findings[] | select(.severity == "problem").text'`
"""


def status(
    given: OnRoutes,
    max_backlog: Annotated[
        str,
        typer.Option(metavar="TIME", help="Longest time that workers may need for what waits."),
    ] = MAX_BACKLOG,
    output: OutputOption = Output.TABLE,
    watch: Watch = False,
) -> None:
    """Say whether all is well, or what needs you.

    Each thing that needs you comes with the command that fixes it or shows more.
    It looks at the workers of a group, what waits in its topics, routes, domains, dead letters of
    the last hour, Redis and Kafka. What is unreachable is reported, and the rest is shown.

    The exit code is 4 if something needs you. `offramp policy doctor` checks the counters
    themselves.
    """
    max_backlog_s = duration_ms(max_backlog) / 1000
    needed = False
    with given.store(*_USES) as (settings, store):
        from consumer.status.findings import findings
        from consumer.status.looking import Looker

        looker = Looker(settings, store)

        def draw() -> None:
            nonlocal needed
            looked = looker.look()
            found = findings(looked, settings.kafka, max_backlog_s=max_backlog_s)
            needed = any(each.severity == "problem" for each in found)
            _show(looked, found, output)

        repeat(watch, draw)
    if needed and not watch:
        raise typer.Exit(EXIT_FOUND)


def _show(looked: Looked, found: Sequence[Finding], output: Output) -> None:
    from consumer.status.workers import backlog_s, worker_rows
    from policy_state.health.findings import Finding

    rows = worker_rows(looked)
    lag = None
    if looked.kafka is not None:
        lag = sum(each.behind for each in looked.kafka.lag.values())
    needs = [each for each in found if each.severity == "problem"]
    verdict = _verdict(looked, needs, rows, lag)
    if output is Output.TABLE:
        _print(looked, found, rows, verdict)
        return
    emit(
        output,
        "status",
        [asdict(finding) for finding in found],
        rows_name="findings",
        columns=[each.name for each in fields(Finding)],
        well=not needs,
        verdict=verdict,
        group=looked.group,
        unreachable=sorted(looked.errors),
        workers=[asdict(row) for row in rows],
        lag=lag,
        backlog_s=backlog_s(rows, lag),
        topics=_topics(looked),
        domains={name: _states(states) for name, states in looked.policies.items()},
        dead_letters=looked.letters and asdict(looked.letters),
    )


def _verdict(
    looked: Looked, needs: Sequence[Finding], rows: Sequence[WorkerRow], lag: int | None
) -> str:
    """Return the first line, in plain words."""
    if needs:
        return f"{counted(len(needs), 'thing needs', 'things need')} you:"
    domains = sum(states.domains for states in looked.policies.values())
    waiting = f"{counted(lag, 'record')} waiting" if lag else "nothing waiting"
    return f"All is well: {counted(len(rows), 'worker')}, {counted(domains, 'domain')}, {waiting}."


def _print(
    looked: Looked, found: Sequence[Finding], rows: Sequence[WorkerRow], verdict: str
) -> None:
    """Print the verdict, what needs a person, and then what there is to see."""
    typer.echo(verdict)
    for number, finding in enumerate((f for f in found if f.severity == "problem"), 1):
        typer.echo(_wrapped(f"{number}. {printable(finding.text)}", "  ", "     "))
        typer.echo(f"     {printable(finding.fix)}")
    typer.echo("")
    for label, text in _lines(looked, rows):
        typer.echo(_wrapped(printable(text), f"{label:<{_LABEL}}", " " * _LABEL))
    notes = [each for each in found if each.severity != "problem"]
    for label, finding in zip(["Notes", *[""] * len(notes)], notes, strict=False):
        text = printable(": ".join(filter(None, (finding.text, finding.fix))))
        typer.echo(_wrapped(text, f"{label:<{_LABEL}}", " " * _LABEL))
    tables = ([_worker_cells(row) for row in rows], [_topic_cells(row) for row in _topics(looked)])
    for cells in tables:
        if cells:
            typer.echo("")
            print_table(cells[:_ROWS], empty="", spare=("held texts", "last commit", "deleted"))
        if len(cells) > _ROWS:
            typer.echo(f"and {len(cells) - _ROWS} more")


def _lines(looked: Looked, rows: Sequence[WorkerRow]) -> Iterator[tuple[str, str]]:
    """Yield what there is to see: a word, and a sentence about it."""
    from consumer.status.workers import backlog_s

    if looked.workers is not None:
        pace = sum(row.texts_per_s or 0 for row in rows)
        yield "Workers", f"{len(rows)} in group {looked.group}, up to {pace:.3g} texts/s together"
    if looked.kafka is not None:
        waiting = sum(each.behind for each in looked.kafka.lag.values())
        time_s = backlog_s(rows, waiting)
        takes = "no worker says how long that takes" if time_s is None else f"{time_s:.0f} s"
        yield "Waiting", f"{counted(waiting, 'record')}, {takes}"
    if looked.routes is not None:
        yield "Routes", f"{', '.join(looked.routes.names) or 'none'} ({looked.routes.version})"
    for name, states in looked.policies.items():
        yield (
            "Domains",
            _domains_said(states) + (f", policy {name}" if len(looked.policies) > 1 else ""),
        )
    if looked.letters is not None:
        more = " or more" if looked.letters.more else ""
        yield "Dead letters", f"{looked.letters.letters}{more} in the last hour"
    yield "Redis", "unreachable" if looked.workers is None else "answers"
    if looked.kafka is None:
        yield "Kafka", "unreachable"
    else:
        yield "Kafka", f"answers, with {counted(looked.kafka.brokers, 'broker')}"


def _domains_said(states: DomainStates) -> str:
    """Return how many domains there are of each state, and the names of those that are held."""
    parts = []
    for state, group in states.states.items():
        few = 0 < group.domains <= len(group.names) and state.value in {"pinned", "frozen"}
        names = f" ({', '.join(group.names)})" if few else ""
        parts.append(f"{group.domains} {state.value}{names}")
    return f"{states.domains}: {', '.join(parts)}; {states.alarmed.domains} with a warning"


def _states(states: DomainStates) -> dict[str, Any]:
    return {
        "domains": states.domains,
        **{state.value: group.domains for state, group in states.states.items()},
        "alarmed": states.alarmed.domains,
        "damaged": states.damaged.domains,
    }


def _topics(looked: Looked) -> list[dict[str, Any]]:
    """Return the inputs, for programs."""
    if looked.kafka is None:
        return []
    rows: dict[str, dict[str, Any]] = {}
    for (topic, _), lag in sorted(looked.kafka.lag.items()):
        row = rows.setdefault(topic, {"topic": topic, "partitions": 0, "lag": 0, "deleted": 0})
        row["partitions"] += 1
        row["lag"] += lag.behind
        row["deleted"] += lag.deleted
    return list(rows.values())


def _worker_cells(row: WorkerRow) -> dict[str, object]:
    return {
        "worker": row.instance,
        "partitions": row.partitions,
        "waiting": row.lag,
        "backlog": None if row.backlog_s is None else f"{row.backlog_s:.0f} s",
        "texts/s": None if row.texts_per_s is None else f"{row.texts_per_s:.3g}",
        "last commit": None if row.last_commit_s is None else f"{row.last_commit_s} s",
        "held texts": row.held_texts,
    }


def _topic_cells(row: dict[str, Any]) -> dict[str, object]:
    return {
        "topic": row["topic"],
        "partitions": row["partitions"],
        "waiting": row["lag"],
        "deleted": row["deleted"],
    }


def _wrapped(text: str, first: str, others: str) -> str:
    """Return a text wrapped to the terminal, not within words such as commands."""
    return fill(
        text,
        get_terminal_size().columns,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
