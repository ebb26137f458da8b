"""`offramp route add, remove`: changes for all workers of a group, previewed first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import Commands, without_effect
from consumer.cli.output import Output, OutputOption, emit
from consumer.cli.route.in_force import (
    RouteName,
    as_row,
    cluster_if_there,
    complete_route,
    listing,
    taken_by,
)
from consumer.cli.route.preview import (
    described,
    missing_output,
    output_said,
    title,
    topics_now,
)
from consumer.cli.session import OnRoutes, Signed, confirm
from policy_state.options import UNSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from policy_state.store.redis.store import RedisStore

ADD_EXAMPLES = r"""Examples:

`offramp route add 'reviews\.(?P<domain>.+)' --to predictions --create`

`offramp route add 'orders|returns' --domain field:meta.shop --to shops --cost-weight 0.3`

`offramp route add 'support\..+' --domain fixed:support --to predictions --before reviews`
"""
REMOVE_EXAMPLES = """Examples:

`offramp route remove reviews --reason "the shop is closed"`
"""

_MOST_WEIGHT = 1e6

app = Commands()


def _number_or_none(text: str) -> float | str:
    """Read a cost weight or a share, or the word that unsets it."""
    if text == UNSET:
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= _MOST_WEIGHT:  # NaN, too
        msg = f"expected a number in 0..{_MOST_WEIGHT:.0f}, or {UNSET}"
        raise ValueError(msg)
    return number


CostWeight = Annotated[
    Any,
    typer.Option(
        parser=_number_or_none,
        metavar=f"<float>|{UNSET}",
        help="Price of full depth for its texts; default: that of the policy.",
    ),
]

Gate = Annotated[
    Any,
    typer.Option(
        parser=_number_or_none,
        metavar=f"<float>|{UNSET}",
        help="Share of its texts that keep their label though sure ones stop sooner; 0: no gate; "
        "default: that of the policy.",
    ),
]


@app.command("add", epilog=ADD_EXAMPLES)
def add(
    ctx: typer.Context,
    topics: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN", help="Regular expression that matches whole topic names."
        ),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="TOPIC", help="Output topic for the predictions.")
    ],
    given: OnRoutes,
    signed: Signed,
    domain: Annotated[
        str,
        typer.Option(
            help="Where the domain comes from: topic, field:PATH, header:NAME or fixed:DOMAIN."
        ),
    ] = "topic",
    cost_weight: CostWeight = None,
    gate: Gate = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the route; default: the beginning of the pattern.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Insert it before this route.", autocompletion=complete_route
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the route of this --name.")
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Create the output topic if it does not exist.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a route: the workers of a group read more topics, without a restart.

    Workers follow within seconds. The first route that matches a topic applies, and a new route is
    added at the end. The output topic must exist: use --create to create it.
    """
    if replace:
        without_effect(ctx, {"before"}, "with --replace: the route keeps its place")
        if name is None:
            raise typer.BadParameter("--replace needs --name, which names the route to replace")
    with given.store() as (settings, store):
        from consumer.errors import StreamUnavailable
        from consumer.kafka.topics import create_new_topics
        from consumer.keeping.check import check_known
        from consumer.routes.table import route_from, table_to_change

        fields = {
            "name": name,
            "topics": topics,
            "domain": domain,
            "output": to,
            "cost_weight": cost_weight,
            "gate": gate,
        }
        route = route_from(fields)
        old = table_to_change(store.routes(settings.kafka.group))
        new = old.with_route(route, before=before, instead=replace)
        added = next(r for r in new.routes if r.name == name or r.name not in old.names)
        settings.group_routes.check(new.routes)
        cluster = cluster_if_there(settings.kafka)
        if cluster is not None:
            check_known(settings, old)
        lines = described(added, old.named(added.name or "") if replace else None)
        missing = None
        if cluster is not None:
            lines += topics_now(new, added, cluster)
            missing = missing_output(new, added, cluster, create=create)
            lines += output_said(settings.kafka, added, missing)
        elif create:
            raise StreamUnavailable(
                "the output topic cannot be created while Kafka does not answer"
            )
        same = new.routes == old.routes
        if same and missing is None:
            typer.echo(f"route {added.name}: there is nothing to change", err=True)
            _show(settings, old.routes, old.revision, output)
            return
        confirm("\n".join([title(settings, added, "add"), *lines]), yes=signed.yes)
        if missing is not None:
            create_new_topics(settings.kafka, [missing.topic])
        if same:
            _show(settings, old.routes, old.revision, output)
            return
        _write(settings, store, new, added, "route-add", signed, output)


@app.command("remove", epilog=REMOVE_EXAMPLES)
def remove(
    name: RouteName,
    given: OnRoutes,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a route: the workers of a group stop reading its topics.

    The topics and the offsets of the group stay, so that you can add the route again.
    """
    with given.store() as (settings, store):
        from consumer.keeping.check import check_known
        from consumer.routes.route import route_for
        from consumer.routes.table import table_to_change

        old = table_to_change(store.routes(settings.kafka.group))
        gone, new = old.named(name), old.without(name)
        settings.group_routes.check(new.routes)
        cluster = cluster_if_there(settings.kafka)
        if cluster is not None:
            check_known(settings, old)
        lines = described(gone, None)
        if cluster is not None:
            taken = taken_by(old, gone, list(cluster.partitions))
            unread = [topic for topic in taken if route_for(new.routes, topic) is None]
            lines.append(f"  no longer read: {listing(unread)}")
        confirm("\n".join([title(settings, gone, "remove"), *lines]), yes=signed.yes)
        _write(settings, store, new, gone, "route-remove", signed, output)


def _write(
    settings: Settings,
    store: RedisStore,
    table: RouteTable,
    route: Route,
    action: str,
    signed: Signed,
    output: Output,
) -> None:
    done = store.write_routes(
        settings.kafka.group,
        table.documents(),
        revision=table.revision,
        action=action,
        detail={"route": route.model_dump(exclude_none=True)},
        by=signed.who,
        reason=signed.reason,
    )
    _show(settings, table.routes, done.revision, output)


def _show(settings: Settings, routes: Sequence[Route], revision: int, output: Output) -> None:
    emit(
        output,
        "route-change",
        [as_row(route) for route in routes],
        rows_name="routes",
        empty="no routes are left, so nothing is read",
        group=settings.kafka.group,
        revision=revision,
    )
