"""`offramp topics`: the topics that workers need, and how far they are behind."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import Commands
from consumer.cli.options import Watch, Yes
from consumer.cli.output import Output, OutputOption, duration_ms, emit, repeat
from consumer.cli.route.in_force import (
    OUTPUT_RETENTION,
    PARTITIONS,
    creation_said,
    domain_said,
    shown_routes,
)
from consumer.cli.session import OnRoutes, confirm

if TYPE_CHECKING:
    from consumer.kafka.topic_plan import Planned
    from consumer.routes.table import RouteTable
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.groups import PositionStore

_LAG = (*OnRoutes.uses, "kafka.start")

app = Commands(
    help="Create the topics that workers need, and show the lag.\n\n"
    "Exit codes: 0 done; 1 an error, with one line on stderr; 2 wrong usage; 3 previewed but not "
    "confirmed.",
    no_args_is_help=True,
)

INIT_EXAMPLES = """Examples:

`offramp topics init texts.hotels texts.films`

`offramp topics init texts.hotels --partitions 12 --retention 3d --yes`
"""
LIST_EXAMPLES = """Examples:

`offramp topics list --watch`

`offramp topics list -o json | jq '[.topics[].lag] | add'`
"""


@app.command("init", epilog=INIT_EXAMPLES)
def init(
    given: OnRoutes,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC", help="Input topics.")
    ] = None,
    partitions: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="Partitions of each input and output; more workers than this are idle.",
        ),
    ] = PARTITIONS,
    dlq_partitions: Annotated[
        int, typer.Option(min=1, max=10_000, help="Partitions of the dead-letter topic.")
    ] = 1,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Copies of each topic; default: 3, or one per broker if there are fewer brokers.",
        ),
    ] = None,
    retention: Annotated[
        str, typer.Option(metavar="TIME", help="How long inputs keep texts.")
    ] = "7d",
    output_retention: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="How long outputs keep predictions, from which `policy rebuild` counts.",
        ),
    ] = OUTPUT_RETENTION,
    dlq_retention: Annotated[
        str, typer.Option(metavar="TIME", help="How long dead letters are kept.")
    ] = "30d",
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create the missing topics of a group: inputs, outputs, dead letters and the policy topic.

    The routes name the outputs, and the settings name the dead-letter topic and the policy topic.
    If a route has a pattern for its inputs, name the inputs here. A topic that exists is left
    unchanged.
    """
    from consumer.kafka.topic_plan import Sizes, needed_topics
    from consumer.kafka.topics import create_new_topics, describe_cluster
    from consumer.keeping.check import check_known

    sizes = Sizes(
        partitions=partitions,
        dead_letter_partitions=dlq_partitions,
        replication_factor=replication_factor,
        input_retention_ms=duration_ms(retention),
        output_retention_ms=duration_ms(output_retention),
        dead_letter_retention_ms=duration_ms(dlq_retention),
    )
    with given.store() as (settings, store):
        table = settings.group_routes.in_force(store)
    cluster = describe_cluster(settings.kafka)
    check_known(settings, table)
    planned = needed_topics(
        table,
        inputs or [],
        dead_letters=settings.kafka.dead_letters,
        policy_topic=settings.kafka.policy_topic,
        cluster=cluster,
        sizes=sizes,
    )
    missing = [plan for plan in planned if plan.partitions_now is None]
    if missing:
        lines = ["topics to be created:", *map(creation_said, missing), *_warnings(planned)]
        confirm("\n".join(lines), yes=yes)
        create_new_topics(settings.kafka, [plan.topic for plan in missing])
    emit(
        output,
        "topics-init",
        [_planned_row(plan) for plan in planned],
        rows_name="topics",
        created=len(missing),
    )
    if not any(plan.role == "input" for plan in planned):
        typer.echo(
            "no input topic was named; name them with `offramp topics init TOPIC...`", err=True
        )


@app.command("list", epilog=LIST_EXAMPLES)
def list_(given: OnRoutes, output: OutputOption = Output.TABLE, watch: Watch = False) -> None:
    """List the topics that a group reads and writes, and how far it is behind.

    Lag is the number of records that the group has not committed yet and can still read. Deleted is
    the number that retention deleted before the group read them. Both include transaction markers.
    A topic that does not exist is `missing`; `offramp topics init` creates it.
    """
    with given.store(*_LAG) as (settings, store):

        def draw() -> None:
            rows = listed_topics(settings.kafka, shown_routes(settings, store), store)
            table = [row | {"partitions": row["partitions"] or row["state"]} for row in rows]
            unsaid = {"state"}
            if not any(row["deleted"] for row in rows):  # it is rare: programs have it always
                unsaid.add("deleted")
            table = [{k: v for k, v in row.items() if k not in unsaid} for row in table]
            group = settings.kafka.group
            emit(output, "topics-list", rows, rows_name="topics", table=table, group=group)

        repeat(watch, draw)


def listed_topics(
    kafka: KafkaSettings, table: RouteTable, store: PositionStore
) -> list[dict[str, Any]]:
    """Return the topics of a group, and how far it is behind in each.

    Raises:
        StreamUnavailable: no broker answers.
    """
    from consumer.kafka.group.overview import group_overview
    from consumer.routes.route import route_for
    from consumer.status.topics import input_routes, topic_rows

    overview = group_overview(
        kafka, lambda topic: route_for(table.routes, topic) is not None, store.positions
    )
    routes = input_routes(table, overview)
    domains = {topic: domain_said(route, topic) for topic, route in routes.items()}
    return [
        asdict(row) | {"domain": domains[row.topic] if row.role == "input" else None}
        for row in topic_rows(kafka, table, overview)
    ]


def _warnings(planned: list[Planned]) -> list[str]:
    """Return what is odd about topics that exist already."""
    counts = {
        role: [p.partitions_now or p.topic.partitions for p in planned if p.role == role]
        for role in ("input", "output")
    }
    if counts["input"] and counts["output"] and min(counts["output"]) < max(counts["input"]):
        return ["  beware: an output has fewer partitions than an input"]
    return []


def _planned_row(plan: Planned) -> dict[str, Any]:
    there = plan.partitions_now
    return {
        "topic": plan.topic.name,
        "role": plan.role,
        "state": "created" if there is None else "existed",
        "partitions": plan.topic.partitions if there is None else there,
    }
