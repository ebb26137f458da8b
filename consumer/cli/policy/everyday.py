"""`offramp explain, pin, unpin`: why a domain is at its exit, and another one for it."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer.cli.common import Config, PolicyName, RedisUrl, SetRedis, printable
from consumer.cli.policy.change import change_domain
from consumer.cli.policy.common import (
    By,
    Domain,
    Format,
    FormatOption,
    Reason,
    Yes,
    connected,
    duration_ms,
    emit,
    opened_policy,
)
from consumer.cli.policy.look import report_of
from consumer.cli.route.weights import WEIGHED, exits_by_route, in_words, known_routes

EXPLAIN_EXAMPLES = """Examples:

`offramp explain hotels`

`offramp explain hotels -o json | jq -r '.explanations[].text'`
"""
PIN_EXAMPLES = """Examples:

`offramp pin hotels --exit 3 --for 2h --reason "incident 12"`

`offramp pin hotels --exit 3 --reason "contract" --yes`
"""
UNPIN_EXAMPLES = """Examples:

`offramp unpin hotels --yes`
"""


def explain(
    domain: Domain,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say why a domain is at its exit, and what would change that."""
    with connected(config, redis_url, policy, set_, uses=WEIGHED) as (store, name):
        from policy_state.reports.explain import explain as explained

        report, snapshot, opened, pool = report_of(store, name, domain)
        text = printable(explained(report, snapshot, settings=opened.meta.settings))
        in_force = known_routes(store, config, set_)
        if routes := exits_by_route(in_force, domain, snapshot, opened, pool):
            text += f"\n{in_words(routes)}"
        if output is not Format.TABLE:
            row = {"domain": domain, "exit": report.exit, "layer": report.layer, "text": text}
            emit(
                output,
                "policy-explain",
                [row],
                rows_name="explanations",
                policy=name,
                revision=opened.revision,
                by_route=routes,
            )
            return
        typer.echo(f"{printable(domain)}: {text}")


def _not_blank(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("is blank, expected why")
    return reason


def pin(
    domain: Domain,
    exit_: Annotated[
        int, typer.Option("--exit", "-e", min=0, max=1000, help="The exit, 0 is shallowest.")
    ],
    reason: Annotated[
        str,
        typer.Option("--reason", "-r", metavar="WHY", help="For the audit.", callback=_not_blank),
    ],
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="How long, e.g. 2h; default: until it is unpinned."
        ),
    ] = None,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Send every text of a domain to one exit; the domain learns on.

    Workers follow with their next answer from Redis. The domain need not have been seen yet.
    """
    from policy_state.store.admin import Pin

    for_ms = None if for_ is None else duration_ms(for_)
    with opened_policy(config, redis_url, policy, set_) as store:
        change_domain(store, domain, Pin(exit_, for_ms), by, reason, yes=yes, output=output)


def unpin(
    domain: Domain,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Let the policy choose the exit of a domain again."""
    from policy_state.store.admin import Unpin

    with opened_policy(config, redis_url, policy, set_) as store:
        change_domain(store, domain, Unpin(), by, reason, yes=yes, output=output)
