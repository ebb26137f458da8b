"""`offramp lab replay` and `simulate`: what an algorithm would have done, without a stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import Commands
from consumer.cli.output import Output, OutputOption, print_data, printable
from policy_state.options import parse_numbers
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from policy_state.algorithms.settings import PolicySettings
    from policy_state.simulation.outcomes import ReplayResult, Scale
    from policy_state.simulation.replay import Fleet

REPLAY_EXAMPLES = """Examples:

`offramp lab replay imdb.tsv --exits 1,3,7,12`

`offramp lab replay imdb.tsv --exits 1,3,7,12 algorithm=default cost=split --plot regret.png`

`offramp lab replay imdb.tsv --exits 1,3,7,12 --workers 16 --batch 512 -o json`

`offramp lab replay imdb.tsv --exits 1,3,7,12 tolerance=0.02 scouts=0`
"""
SIMULATE_EXAMPLES = """Examples:

`offramp lab simulate`

`offramp lab simulate --errors 0.3,0.1,0.08,0.07 --violations 0.3`

`offramp lab simulate --then 0.05,0.05,0.05,0.05 --texts 20000 --plot drift.svg`
"""

Layers = Annotated[
    str, typer.Option("--exits", metavar="LAYERS", help="Layers that have an exit, e.g. 1,3,7,12.")
]
Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME=VALUE",
        help="Settings such as cost=split or tolerance=0.02. Both algorithms run unless you "
        "name one, as with algorithm=default.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Options for how often texts are replayed, by how many workers, and how results are shown."""

    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Number of random orders of the texts to try.")
    ] = 20
    batch: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Texts that a worker decides on together.")
    ] = 1
    workers: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="Number of workers that decide at the same time."),
    ] = 1
    delay: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Rounds until workers know what was learnt.")
    ] = 0
    plot: Annotated[
        Path | None, typer.Option(help="Plot regret and exit shares to this .png, .svg or .pdf.")
    ] = None
    output: OutputOption = Output.TABLE

    def settings(self, values: list[str] | None, base: PolicySettings) -> dict[str, PolicySettings]:
        """Return the settings of the algorithm that is named, or else of both."""
        from policy_state.algorithms.settings import ALGORITHMS
        from policy_state.options import parse_options, with_values

        if self.plot is not None:  # checked before a replay, which takes time
            from policy_state.simulation.plots import check_plot_path

            check_plot_path(self.plot)
        wanted = parse_options(values or ())
        for name in ("holdout", "gate"):
            if name in wanted:
                raise typer.BadParameter(f"{name} has no effect here: a replay measures all texts")
        changed = with_values(base, wanted)
        names = [changed.algorithm] if "algorithm" in wanted else ALGORITHMS
        return {name: replace(changed, algorithm=name) for name in names}

    @property
    def fleet(self) -> Fleet:
        """The workers that decide."""
        from policy_state.simulation.replay import Fleet

        return Fleet(workers=self.workers, batch=self.batch, delay=self.delay)


app = Commands(
    help="Try the algorithms on recorded or simulated texts.",
    no_args_is_help=True,
)


@app.command("replay", epilog=REPLAY_EXAMPLES)
def replay(
    matrix: Annotated[
        Path, typer.Argument(help="File of exit labels, separated by tabs or commas.")
    ],
    layers: Layers,
    trials: Trials,
    values: Values = None,
) -> None:
    """Replay recorded exit labels, and compare the algorithms with fixed choices.

    The file has one column per exit, named 0, 1, .., from shallow to deep. A column `op_labels`
    with the true label may follow, and for a calibrated model the credits c0, c1, .. and the scores
    s0, s1, ... With credits the default algorithm goes by them. Each trial shuffles the texts.

    The reward of an exit is the error it saves compared with exit 0, minus the cost it adds.
    Without true labels, disagreement with exit 0 stands for the error saved. Regret is the reward
    lost compared with the best fixed exit. The cost weight is 1, as in the paper; workers start
    with 0.1.
    """
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.simulation.matrix import read_matrix
    from policy_state.simulation.outcomes import Scale
    from policy_state.simulation.replay import shuffles

    found = trials.settings(values, PolicySettings(cost_weight=1.0))
    texts = read_matrix(matrix)
    layer_numbers = parse_numbers(layers, "--exits", int)
    costs = _costs(found, layer_numbers, texts.labels.shape[1])
    scale = Scale(texts.labels, texts.truth, costs, layer_numbers, credits=texts.credits)
    outcomes = _run(found, scale, shuffles(len(texts.labels), trials.trials), trials.fleet)
    _show(outcomes, scale, found, trials, title=matrix.name)


@app.command("simulate", epilog=SIMULATE_EXAMPLES)
def simulate(
    trials: Trials,
    values: Values = None,
    errors: Annotated[
        str, typer.Option(help="Error of every exit, from shallow to deep.")
    ] = "0.3,0.12,0.1,0.09",
    then: Annotated[
        str | None, typer.Option(help="Errors in the second half of the texts, to simulate drift.")
    ] = None,
    violations: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of texts on which the exits err independently."),
    ] = 0.1,
    classes: Annotated[int, typer.Option(min=2, max=128, help="Number of classes.")] = 2,
    layers: Layers = "1,3,7,12",
    texts: Annotated[
        int, typer.Option(min=2, max=10_000_000, help="Texts in the stream.")
    ] = 10_000,
) -> None:
    """Simulate a domain whose best exit is known, and let the algorithms find it.

    With --then the domain changes halfway, and regret is measured against the best exit of each
    half. With --violations a deeper exit may be wrong although a shallower one is right.
    """
    import numpy as np

    from policy_state.algorithms.settings import PolicySettings
    from policy_state.errors import InvalidInput
    from policy_state.simulation.outcomes import Scale
    from policy_state.simulation.synthetic import SyntheticDomain

    found = trials.settings(values, PolicySettings())
    halves = [
        SyntheticDomain(parse_numbers(part, name, float), violations=violations, classes=classes)
        for name, part in (("--errors", errors), ("--then", then if then is not None else errors))
    ]
    before, after = (len(half.errors) for half in halves)
    if before != after:
        raise InvalidInput(
            f"--then has {counted(after, 'error')}, but --errors has {before}; give one per exit"
        )
    layer_numbers = parse_numbers(layers, "--exits", int)
    costs = _costs(found, layer_numbers, before)
    rng = np.random.default_rng(0)
    drawn = [half.texts(texts // 2, rng) for half in halves]
    labels, truth = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    half = len(labels) // 2
    shuffled = [(rng.permutation(half), half + rng.permutation(half)) for _ in range(trials.trials)]
    orders = np.stack([np.concatenate(parts) for parts in shuffled])
    change = None if then is None else half
    scale = Scale(labels, truth, costs, layer_numbers, change)
    outcomes = _run(found, scale, orders, trials.fleet)
    best = [f"exit {part.best_exit(costs)}" for part in halves]
    known = best[0] if then is None else " then ".join(best)
    typer.echo(f"best by error plus cost: {known}", err=True)
    _show(outcomes, scale, found, trials, title=f"simulated, best {known}")


def _costs(
    settings: dict[str, PolicySettings], layers: tuple[int, ...], exits: int
) -> tuple[float, ...]:
    from policy_state.algorithms.costs import cost_vector
    from policy_state.errors import InvalidInput

    if len(layers) != exits:
        raise InvalidInput(
            f"{counted(len(layers), 'layer')} for a matrix of {counted(exits, 'exit')}"
        )
    first = next(iter(settings.values()))
    return cost_vector(first.cost, layers, weight=first.cost_weight)


def _run(
    settings: dict[str, PolicySettings],
    scale: Scale,
    orders: NDArray[np.intp],
    fleet: Fleet,
) -> dict[str, ReplayResult]:
    """Return the result of every algorithm, then of choices that learn nothing."""
    from policy_state.algorithms.base import build
    from policy_state.simulation.outcomes import baselines, outcome
    from policy_state.simulation.replay import Replay
    from policy_state.simulation.replay import replay as replayed

    outcomes = {}
    for name, chosen in settings.items():
        typer.echo(
            f"replaying {name}: {orders.shape[0]} x {counted(orders.shape[1], 'text')}", err=True
        )
        algorithm = build(chosen, scale.layers, credits=scale.credits is not None)
        plays = replayed(algorithm, scale.labels, orders, credits=scale.credits, fleet=fleet)
        outcomes[name] = outcome(plays, scale)
    for name, exits in baselines(scale, orders).items():
        outcomes[name] = outcome(Replay(orders, exits, ((),) * len(orders)), scale)
    return outcomes


def _show(
    outcomes: dict[str, ReplayResult],
    scale: Scale,
    settings: dict[str, PolicySettings],
    trials: Trials,
    *,
    title: str,
) -> None:
    from policy_state.algorithms.base import build
    from policy_state.reports.diagnosis import diagnose
    from policy_state.stats import ExitStats

    if trials.plot is not None:
        from policy_state.simulation.plots import plot_replay

        learnt = {name: outcomes[name] for name in (*settings, "random", "last")}
        plot_replay(learnt, trials.plot, title=title)
        typer.echo(f"plot written to {trials.plot}", err=True)
    everything = ExitStats.from_matrix(scale.labels, credits=scale.credits)
    first = build(next(iter(settings.values())), scale.layers, credits=scale.credits is not None)
    diagnosis = diagnose(everything, first.assess(everything), scale.costs, credits=first.credits)
    data = {
        "texts": int(scale.labels.shape[0]),
        "layers": list(scale.layers),
        "costs": list(scale.costs),
        "losses": scale.losses.tolist(),
        "labelled": scale.truth is not None,
        "algorithms": {name: found.to_dict() for name, found in outcomes.items()},
        "diagnosis": asdict(diagnosis) | {"warnings": list(diagnosis.warnings)},
    }
    print_data(trials.output, data, [_row(name, found) for name, found in outcomes.items()])
    if trials.output is Output.TABLE:
        for warning in diagnosis.warnings:
            typer.echo(f"note: {printable(warning)}", err=True)


def _row(name: str, found: ReplayResult) -> dict[str, Any]:
    regrets = {
        f"regret @{at}": f"{regret.mean:.1f} ± {regret.high - regret.mean:.1f}"
        for at, regret in found.regret.items()
    }
    return {
        "algorithm": name,
        "accuracy": "-" if found.accuracy is None else f"{found.accuracy:.2%}",
        "cost": found.cost,
        "layers": found.layers,
        **regrets,
        "share of exits": _shares(found.counts),
    }


def _shares(counts: Sequence[Sequence[int]]) -> str:
    totals = [sum(exit_) for exit_ in zip(*counts, strict=True)]
    return " ".join(f"{total / sum(totals):.1%}" for total in totals)
