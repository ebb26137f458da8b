"""`offramp route list, show, test, history`: which topics the workers of a group read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import Commands
from consumer.cli.options import Limit
from consumer.cli.output import Output, OutputOption, emit, printable
from consumer.cli.policy.history import emit_audit
from consumer.cli.route.in_force import (
    RouteName,
    as_row,
    cluster_if_there,
    domain_said,
    shown_routes,
    taken_by,
)
from consumer.cli.session import EXIT_FOUND, OnGroup, OnRoutes

if TYPE_CHECKING:
    from consumer.routes.route import Route

LIST_EXAMPLES = """Examples:

`offramp route list`

`offramp route list -o json | jq '.routes[].topics'`
"""
SHOW_EXAMPLES = """Examples:

`offramp route show reviews`
"""
TEST_EXAMPLES = """Examples:

`offramp route test reviews.films`

`offramp route test reviews.films -o json | jq -r '.results[].route'`
"""
HISTORY_EXAMPLES = """Examples:

`offramp route history --limit 20`
"""


app = Commands()


@app.command("list", epilog=LIST_EXAMPLES)
def list_(given: OnRoutes, output: OutputOption = Output.TABLE) -> None:
    """List the routes in order; the first route that matches a topic applies."""
    with given.store() as (settings, store):
        from consumer.routes.route import Route

        table = shown_routes(settings, store)
        emit(
            output,
            "route-list",
            [as_row(route) for route in table.routes],
            rows_name="routes",
            empty="there are no routes, so nothing is read",
            columns=list(Route.model_fields),
            group=settings.kafka.group,
            source=table.source,
            revision=table.revision,
        )


@app.command("show", epilog=SHOW_EXAMPLES)
def show(name: RouteName, given: OnRoutes, output: OutputOption = Output.TABLE) -> None:
    """Show one route and the topics that it applies to now."""
    with given.store() as (settings, store):
        table = shown_routes(settings, store)
        route = table.named(name)
        cluster = cluster_if_there(settings.kafka)
        topics = [] if cluster is None else taken_by(table, route, list(cluster.partitions))
        if output is Output.TABLE:
            typer.echo("\n".join(f"{k}: {printable(v)}" for k, v in as_row(route).items()))
        emit(
            output,
            "route-show",
            [{"topic": topic, "domain": domain_said(route, topic)} for topic in topics],
            rows_name="topics_now",
            empty="no existing topic matches" if cluster else "",
            route=as_row(route),
            source=table.source,
            revision=table.revision,
        )


@app.command("test", epilog=TEST_EXAMPLES)
def try_(
    topic: Annotated[str, typer.Argument(help="Name of a topic, which need not exist.")],
    given: OnRoutes,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which route, domain and output the texts of a topic get."""
    with given.store() as (settings, store):
        from consumer.kafka.targets import missing

        matching = [r for r in shown_routes(settings, store).routes if r.matches(topic)]
        cluster = cluster_if_there(settings.kafka)
    route = matching[0] if matching else None
    there = None if cluster is None else cluster.partitions
    problem = _problem(route, topic)
    if problem is None and route is not None and there is not None and route.output not in there:
        problem = f"its texts stand still: {missing(route.output)}"
    found: dict[str, Any] = {
        "topic": topic,
        "route": None if route is None else route.name,
        "domain": None if route is None else domain_said(route, topic),
        "output": None if route is None else route.output,
        "cost_weight": None if route is None else route.cost_weight,
        "gate": None if route is None else route.gate,
        "also_matched_by": [other.name for other in matching[1:]],
        "topic_exists": None if there is None else topic in there,
        "output_exists": None if there is None or route is None else route.output in there,
        "problem": problem,
    }
    table = [{name: value for name, value in found.items() if value not in (None, [])}]
    emit(output, "route-test", [found], rows_name="results", table=table)
    if problem is not None:
        raise typer.Exit(EXIT_FOUND)


@app.command("history", epilog=HISTORY_EXAMPLES)
def history(
    given: OnGroup,
    limit: Limit = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who changed the routes, when and why, newest first."""
    with given.store() as (settings, store):
        emit_audit("route-history", store.route_history(settings.kafka.group, limit=limit), output)


def _problem(route: Route | None, topic: str) -> str | None:
    """Return why a topic's texts are not predicted, if so."""
    from consumer.routes.pattern import check_topic
    from policy_state.domains import text_domain
    from policy_state.errors import InvalidDomain

    try:
        check_topic(topic)
        if route is not None:
            text_domain(domain_said(route, topic))
    except InvalidDomain as error:
        return f"every text becomes a dead letter: {error}"
    except ValueError as error:
        return str(error)
    return "no route matches it, so it is not read" if route is None else None
