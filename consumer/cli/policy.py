"""`offramp policy`: what the workers have learnt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.common import (
    Config,
    Output,
    OutputOption,
    PolicyName,
    RedisUrl,
    Set,
    print_json,
    print_table,
    printable,
    read_settings,
)

if TYPE_CHECKING:
    from policy_state.report import DomainReport

app = typer.Typer(help="The learnt exits: list the domains, look into one.", no_args_is_help=True)

LIST_EXAMPLES = """Examples:

`offramp policy list`

`offramp policy list --limit 20 --redis-url redis://localhost:6379/0`

`offramp policy list -o json | jq '.[] | select(.exit > 2).domain'`
"""
SHOW_EXAMPLES = """Examples:

`offramp policy show hotels`

`offramp policy show hotels -o json`
"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many domains.")] = 1000,
    set_: Set = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the domains, the most recently active first, with the exit each has learnt."""
    reports = _reports(config, redis_url, policy, set_, None, limit)
    if output is Output.JSON:
        print_json([report.to_dict() for report in reports])
        return
    print_table(
        [
            {
                "domain": r.domain,
                "texts": r.texts,
                "exit": r.exit,
                "layer": r.layer,
                "layers saved": percent(r.layers_saved),
                "disagreement": percent(r.disagreement),
                "texts per exit": " ".join(str(e.played) for e in r.exits),
                "last text": since(r.last_seen_ms),
            }
            for r in reports
        ],
        empty="no domains yet",
    )


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    domain: Annotated[str, typer.Argument(help="The domain, as `policy list` names it.")],
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    set_: Set = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one domain: what each exit was seen to do, and which one is best by that."""
    (report,) = _reports(config, redis_url, policy, set_, [domain], 1)
    if report.last_seen_ms is None:
        from policy_state.errors import InvalidDomain

        raise InvalidDomain(f"domain {printable(domain)!r} is not known; see `offramp policy list`")
    if output is Output.JSON:
        print_json(report.to_dict())
        return
    typer.echo(
        f"{printable(report.domain)}: exit {report.exit} (layer {report.layer}) "
        f"after {report.texts} texts, {percent(report.layers_saved)} of layers saved, "
        f"last text {since(report.last_seen_ms)}"
    )
    print_table(
        [
            {
                "": "*" if e.exit == report.exit else "",
                "exit": e.exit,
                "layer": e.layer,
                "cost": e.cost,
                "played": e.played,
                "share": percent(e.share),
                "observed": e.observed,
                "disagreement": percent(e.disagreement),
                "reward": e.reward,
                "index": e.index,
            }
            for e in report.exits
        ],
        empty="",
    )


def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    return "-" if share is None else f"{share:.1%}"


def since(time_ms: int | None) -> str:
    """Return how long ago a time was."""
    if time_ms is None:
        return "never"
    seconds = max(0, int(datetime.now(UTC).timestamp() - time_ms / 1000))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _reports(
    config: Config,
    redis_url: str | None,
    policy: str | None,
    set_: list[str] | None,
    domains: list[str] | None,
    limit: int,
) -> list[DomainReport]:
    settings = read_settings(config, set_, redis__url=redis_url, policy__name=policy)
    from policy_state.backends.redis import RedisStore
    from policy_state.report import read_reports

    with RedisStore(settings.redis.url, timeout_s=settings.redis.timeout_s) as store:
        return read_reports(store, settings.policy.name, domains=domains, limit=limit)
