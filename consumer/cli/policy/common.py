"""What the policy commands share: the open policy, formats, confirmation, completion."""

from __future__ import annotations

import csv
import getpass
import io
import json
import os
import re
import socket
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.common import POLICY, print_table, printable, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from policy_state.store.port import DomainSnapshot
    from policy_state.store.redis.store import RedisStore

VERSION = 1
"""Of the JSON and YAML documents; rises when a field changes its meaning or goes."""

EXIT_NOT_CONFIRMED = 3
EXIT_FOUND = 4

_WATCH_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"
_COMPLETIONS = 200
_COMPARED = 2_000  # known domains, with one that is not known
_DURATION = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


FormatOption = Annotated[
    Format, typer.Option("--output", "-o", help="A table for people, the others for programs.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again every two seconds.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Change it without asking.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="WHO", envvar="OFFRAMP_USER", help="Who, for the audit."),
]
Reason = Annotated[str, typer.Option("--reason", "-r", metavar="WHY", help="Why, for the audit.")]


def complete_domain(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return known domains that begin so; those that a shell would take for more are left out."""
    from consumer.errors import ConsumerError
    from policy_state.errors import PolicyStateError

    given = ctx.params
    try:
        with opened_policy(
            given.get("config"), given.get("redis_url"), given.get("policy"), given.get("set_")
        ) as store:
            names = store.domains(limit=store.totals().domains)
    except (ConsumerError, PolicyStateError):
        return []
    plain = [name for name in names if all(c.isalnum() or c in "._-/@:+=," for c in name)]
    return [name for name in plain if name.startswith(incomplete)][:_COMPLETIONS]


Domain = Annotated[
    str,
    typer.Argument(help="The domain, as `policy list` names it.", autocompletion=complete_domain),
]


@contextmanager
def connected(
    config: Path | None,
    redis_url: str | None,
    policy: str | None,
    set_: Sequence[str] | None,
    *,
    uses: Sequence[str] = POLICY,
) -> Iterator[tuple[RedisStore, str]]:
    """Yield a store and the name of the policy that is meant; `uses` as in `read_settings`."""
    settings = read_settings(config, set_, uses=uses, redis__url=redis_url, policy__name=policy)
    from consumer.opening import open_store

    with open_store(settings) as store:
        yield store, settings.policy.name


@contextmanager
def opened_policy(
    config: Path | None,
    redis_url: str | None,
    policy: str | None,
    set_: Sequence[str] | None,
    *,
    uses: Sequence[str] = POLICY,
) -> Iterator[RedisStore]:
    """Yield a store with the policy open; `uses` as in `read_settings`.

    Raises:
        PolicyNotFound: there is none of that name.
    """
    with connected(config, redis_url, policy, set_, uses=uses) as (store, name):
        open_named(store, name)
        yield store


def open_named(store: RedisStore, name: str) -> None:
    """Open a policy that exists, or raise `PolicyNotFound` with those that do.

    Raises:
        StoreCorrupt: what it belongs to went missing.
    """
    from policy_state.errors import PolicyNotFound, StoreCorrupt
    from policy_state.suggesting import no_such_policy

    meta = store.find(name)
    if meta is None:
        if (why := store.unreadable_policies().get(name)) is not None:
            raise StoreCorrupt(why)
        known = [printable(other.name) for other in store.policies()]
        raise PolicyNotFound(no_such_policy(printable(name), known))
    store.open(meta)


def own_snapshot(store: RedisStore, domain: str) -> DomainSnapshot | None:
    """Return what the open policy has of a domain; None if it has no record of its own.

    Where there is no room for more, a store answers for an unknown domain with the record that
    those domains share.
    """
    from policy_state.store.port import OVERFLOW_DOMAIN, DomainSnapshot

    found = store.read([domain, OVERFLOW_DOMAIN])
    unseen = DomainSnapshot.unseen(store.describe().meta.exits)
    shared = unseen if domain == OVERFLOW_DOMAIN else found[OVERFLOW_DOMAIN]
    return None if found[domain] in (unseen, shared) else found[domain]


def known_snapshot(store: RedisStore, domain: str) -> DomainSnapshot:
    """Return what the open policy has of a domain, or raise `DomainNotFound`."""
    from policy_state.errors import DomainNotFound
    from policy_state.suggesting import did_you_mean

    if (snapshot := own_snapshot(store, domain)) is None:
        known = map(printable, store.domains(limit=_COMPARED))
        meant = did_you_mean(printable(domain), known) or "; see `offramp policy list`"
        raise DomainNotFound(f"domain {printable(domain)} is not known{meant}")
    return snapshot


@contextmanager
def changing() -> Iterator[None]:
    """Say of a change that got no answer that it may have been done all the same."""
    from policy_state.errors import StoreUnavailable

    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{error}; it may have been done all the same: look at `offramp policy audit` before "
            "doing it again",
            cause=error.cause,
        ) from error


def emit(
    output: Format,
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    rows_name: str,
    table: Sequence[Mapping[str, object]] | None = None,
    empty: str = "nothing",
    columns: Sequence[str] = (),
    spare: Sequence[str] = (),
    **head: object,
) -> None:
    """Print rows as asked for.

    Args:
        output: How.
        kind: What they are, for programs.
        rows: For programs; into a table only without `table`.
        rows_name: What they are called in JSON and YAML.
        table: For people.
        empty: What people are told where there are no rows.
        columns: Of the CSV where there are no rows.
        spare: Columns of the table to leave out on a narrow terminal, in this order.
        head: What goes before the rows in JSON and YAML.
    """
    document = {"version": VERSION, "kind": kind, **head, rows_name: list(rows)}
    if output is Format.TABLE:
        print_table(table if table is not None else rows, empty=empty, spare=spare)
    elif output is Format.CSV:
        typer.echo(as_csv(rows, columns), nl=False)
    else:
        print_document(output, document)


def print_document(output: Format, document: Mapping[str, Any]) -> None:
    """Print a document as JSON or YAML."""
    if output is Format.YAML:
        import yaml

        # Through JSON: tuples and enumerations become what any reader of YAML knows.
        plain = json.loads(json.dumps(document))
        typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=False), nl=False)
    else:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=True))


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return rows as CSV, `columns` being those of no rows; what is nested is JSON in a cell."""
    text = io.StringIO()
    if names := list(rows[0]) if rows else columns:
        writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    if not isinstance(value, str):
        return value
    # A spreadsheet runs what begins like a formula; a quote keeps it text.
    quote = "'" if value[:1] in {"=", "+", "-", "@"} else ""
    return quote + printable(value)


def repeat(watch: bool, draw: Callable[[], None]) -> None:
    """Draw once, or again and again until Ctrl-C; then an outage is told and waited for."""
    draw()
    if not watch:
        return
    from policy_state.errors import StoreUnavailable

    try:
        while True:
            sys.stdout.flush()
            time.sleep(_WATCH_S)
            if sys.stdout.isatty():
                typer.echo(_CLEAR, nl=False)
            try:
                draw()
            except StoreUnavailable as error:
                typer.echo(f"{printable(error)}; asked again every {_WATCH_S:.0f} s", err=True)
    except KeyboardInterrupt:
        return


def confirm(preview: str, *, yes: bool) -> None:
    """Say what would change; return if it is wanted, else end with code 3 and nothing changed."""
    typer.echo(preview, err=True)
    if yes:
        return
    if sys.stdin.isatty() and typer.confirm("Change it?", err=True):
        return
    typer.echo("nothing was changed; run it again with --yes to apply it", err=True)
    raise typer.Exit(EXIT_NOT_CONFIRMED)


def who(by: str | None) -> str:
    """Return who makes a change: as given, else user and host."""
    if by:
        return by
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:200]


def duration_ms(text: str) -> int:
    """Read a duration such as `2h`, `30min`, `1.5d`.

    Raises:
        InvalidSettings: it is none.
    """
    from consumer.errors import InvalidSettings

    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidSettings(f"duration {printable(text)!r}, expected like 30s, 45min, 2h or 7d")
    return int(float(match[1]) * _UNIT_MS[match[2]])


def said(value: object) -> str:
    """Return the value of a setting for people."""
    return "none" if value is None else str(value)


def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    return "-" if share is None else f"{share:z.1%}"


def since(time_ms: int | None) -> str:
    """Return how long ago a time was."""
    if time_ms is None:
        return "never"
    return f"{span(datetime.now(UTC).timestamp() * 1000 - time_ms)} ago"


def span(length_ms: float) -> str:
    """Return a length of time in its largest unit."""
    seconds = max(0, int(length_ms / 1000))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def clock(time_ms: int) -> str:
    """Return a time for people, in UTC; as it is stored where no calendar has it."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
