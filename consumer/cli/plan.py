"""`offramp plan`: how many machines, workers and partitions a stream needs, and what they cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.commands import without_effect
from consumer.cli.options import PricePerHour
from consumer.cli.output import VERSION, Output, OutputOption, duration_ms, percent, print_data
from consumer.cli.session import POLICY, OnPolicy
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.settings.load import Settings
    from consumer.sizing.measured import Measured
    from consumer.sizing.plan import Plan, Wanted

EXAMPLES = """Examples:

`offramp plan --events-per-second 50000 --tokens 64 --latency 200ms --model ./model`

`offramp plan --events-per-second 50000 --measured h200.json --price-per-hour 2.5`

`offramp plan --events-per-second 50000 --measured h200.json --policy default -o json`
"""
_REPEAT: Final = 3
_ENOUGH_TEXTS: Final = 64  # on a CPU, where larger batches are not faster
_BUSY_REDIS: Final = 0.7  # of one core


@dataclass(frozen=True, kw_only=True)
class OfPlan(OnPolicy):
    """Options of a plan: those of the policy, and of the model that it measures."""

    uses = (*POLICY, "model", "batch")
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", metavar="FOLDER", help="Model folder to measure here."),
    ] = None


def plan(
    ctx: typer.Context,
    given: OfPlan,
    events_per_second: Annotated[
        float, typer.Option(min=0.001, max=1e9, metavar="N", help="Events a second at the peak.")
    ],
    tokens: Annotated[
        int | None,
        typer.Option(
            min=3, max=1_000_000, help="Tokens of a text, on average; default: 32, or as measured."
        ),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time within which 99 texts in 100 are answered."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What `offramp model bench -o json` wrote on such a machine; "
            "default: measure the model here.",
        ),
    ] = None,
    price_per_hour: PricePerHour = None,
    exit_shares: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="Shares of texts that stop at each exit, e.g. 0.6,0.3,0.1. Default: those of "
            "--policy, or all texts at the last exit.",
        ),
    ] = None,
    domains: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of domains.")] = 10,
    utilisation: Annotated[
        float,
        typer.Option(min=0.05, max=1, help="Share of what the machines can do that may be used."),
    ] = 0.7,
    commit_ms: Annotated[
        float, typer.Option(min=0.1, max=60_000, help="Time that Kafka takes for a commit.")
    ] = 15.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how many machines a stream needs, and what they cost.

    The model is measured on this machine, or was measured with `offramp model bench -o json` on the
    machine that you plan for. Everything else is worked out from that, from the batch settings, and
    from costs of Kafka and Redis that were measured once. The output names what is measured and
    what is assumed.
    """
    from policy_state.options import parse_numbers

    if exit_shares is not None and given.policy is not None:
        raise typer.BadParameter("--exit-shares and --policy both say where texts stop; give one")
    if measured is not None:
        without_effect(ctx, {"model"}, "with --measured")
    shares = None if exit_shares is None else parse_numbers(exit_shares, "--exit-shares", float)
    limit_ms = None if latency is None else duration_ms(latency)
    settings = given.settings()
    learnt = None if given.policy is None else _learnt(given)
    if measured is None:
        times, source = _measured_here(settings, tokens), "measured here"
    else:
        times, source = _read(measured, tokens), f"measured in {measured.name}"

    from consumer.sizing import plan as sizing
    from consumer.sizing.measured import checked_shares, shares_of

    exits = len(times.exits)
    if learnt is not None:
        _check_same_model(learnt[1], times, given.policy)
        mix, mix_from = shares_of(learnt[0], exits=exits), f"learnt in policy {given.policy}"
    elif shares is not None:
        mix, mix_from = checked_shares(shares, exits=exits), "given"
    else:
        mix, mix_from = (0.0,) * (exits - 1) + (1.0,), "nothing else is known"
    wanted = sizing.Wanted(
        events_per_s=events_per_second,
        shares=mix,
        latency_s=None if limit_ms is None else limit_ms / 1000,
        utilisation=utilisation,
        price_per_hour=price_per_hour,
        domains=domains,
        max_events=settings.batch.max_events,
        max_wait_s=settings.batch.max_wait_ms / 1000,
        commit_s=commit_ms / 1000,
    )
    found = sizing.plan(times, wanted)
    _show(found, wanted, times, (source, mix_from), output)


def _measured_here(settings: Settings, tokens: int | None) -> Measured:
    """Measure the model of the settings in batches such as its worker would run."""
    from consumer.cli.model.bench import measured
    from consumer.opening import load_engine
    from consumer.sizing.measured import measured_from
    from model.engine.speed import generated_texts

    engine = load_engine(settings)
    count = settings.batch.max_events
    if engine.device.type == "cpu":
        count = min(count, _ENOUGH_TEXTS)
    texts = generated_texts(engine, count, tokens=tokens or 32)
    found = measured(engine, texts, repeat=_REPEAT)
    times = measured_from(found, source=str(settings.model.path))
    return times if tokens is None else times.with_tokens(min(tokens, engine.max_tokens))


def _read(path: Path, tokens: int | None) -> Measured:
    """Read the times of a model from a file."""
    from consumer.sizing.measured import measured_from
    from model.errors import InvalidData
    from model.folder_files import read_object

    times = measured_from(read_object(path, error=InvalidData), source=str(path))
    return times if tokens is None else times.with_tokens(tokens)


def _learnt(given: OfPlan) -> tuple[Sequence[int], tuple[int, ...]]:
    """Return how many texts stopped at each exit, and the layers of the policy's model."""
    with given.opened() as (_, store):
        _, meta = store.bound()
        stats = store.totals().stats
    return [a + b for a, b in zip(stats.played, stats.gated, strict=True)], meta.layers


def _check_same_model(layers: tuple[int, ...], measured: Measured, policy: str | None) -> None:
    from consumer.errors import InvalidSettings

    if layers != measured.layers:
        raise InvalidSettings(
            f"policy {policy} is of a model with exits after layers {_listed(layers)}, but the "
            f"measured model has them after {_listed(measured.layers)}; measure the policy's model"
        )


def _listed(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers))


def _show(
    found: Plan, wanted: Wanted, measured: Measured, sources: tuple[str, str], output: Output
) -> None:
    source, mix_from = sources
    assumed = _assumed(wanted, measured, mix_from)
    data = {
        "version": VERSION,
        "kind": "plan",
        "wanted": asdict(wanted),
        "measured": {**asdict(measured), "source": source},
        "plan": {**asdict(found), "workers": found.workers},
        "assumed": assumed,
    }
    rows = _rows(found, wanted, measured, source)
    print_data(output, data, rows, spare=("how",), prose="how")
    if output is Output.TABLE:
        for each in assumed:
            typer.echo(f"assumed: {each}", err=True)
    if found.redis.busy > _BUSY_REDIS:
        typer.echo(
            f"one Redis is not enough: it would be busy {percent(found.redis.busy)} of the time; "
            "raise batch.max_wait_ms and batch.max_events, or give groups of topics policies in "
            "different shards",
            err=True,
        )


def _rows(found: Plan, wanted: Wanted, measured: Measured, source: str) -> list[dict[str, object]]:
    redis = found.redis
    rows = [
        (
            "machines",
            f"{found.machines:,} x {measured.machine}",
            f"{percent(found.utilisation)} of what they can do is used",
        ),
        ("GPUs", f"{found.gpus:,}", f"the model runs on {measured.device}, {measured.precision}"),
        ("workers", f"{found.workers:,}", f"--processes {found.processes} on each machine"),
        ("partitions", f"{found.partitions:,}", "of all input topics, two for each worker"),
        (
            "texts/s a machine",
            f"{found.texts_per_s:,.0f}",
            f"at most, limited by {found.limited_by}; {source}",
        ),
        ("texts a batch", f"{found.batch:,.0f}", f"{found.batches_per_s:,.0f} batches a second"),
        ("latency", f"{1000 * found.latency_s:,.0f} ms", "of 99 texts in 100"),
        (
            "Redis commands/s",
            f"{redis.commands_per_s:,.0f}",
            f"{percent(redis.busy)} of one core",
        ),
        (
            "Redis traffic",
            f"{redis.bytes_per_s / 1e6:,.2f} MB/s",
            f"counters of {counted(wanted.domains, 'domain')}",
        ),
        ("Redis memory", f"{redis.memory_bytes / 1e6:,.2f} MB", "the same counters"),
    ]
    if found.price_per_hour is not None and found.price_per_million is not None:
        rows += [
            ("price per hour", f"{found.price_per_hour:,.2f}", "of all machines"),
            ("price of 1M texts", f"{found.price_per_million:,.4f}", "at this number of events"),
        ]
    return [{"what": what, "needed": needed, "how": how} for what, needed, how in rows]


def _assumed(wanted: Wanted, measured: Measured, mix_from: str) -> list[str]:
    """Return what the plan rests on that was not measured on the stream itself."""
    shares = ", ".join(percent(share) for share in wanted.shares)
    commit_ms = 1000 * wanted.commit_s
    return [
        f"texts stop at the exits in the shares {shares}: {mix_from}",
        f"texts have {measured.tokens:g} tokens, and time grows in proportion to them",
        f"a commit takes {commit_ms:g} ms (--commit-ms); a worker's log says what yours takes",
        "Python and Redis are as fast as on the machine where Offramp was measured (EPYC, Zen 5)",
        "domains and partitions get about the same number of texts",
    ]
