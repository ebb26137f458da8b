"""`offramp policy evaluate`: the learnt exits against labels that came later."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import LOOK, Commands, without_effect
from consumer.cli.options import FILES, FileFormat
from consumer.cli.output import Output, OutputOption, emit, percent, printable
from consumer.cli.policy.correct import check_correctable, correct
from consumer.cli.session import OnPolicyAndKafka, Signed
from consumer.errors import InvalidSettings
from model.texts.formats import Format
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from consumer.learning.labels import Joined, Label
    from consumer.settings.sections import KafkaSettings
    from policy_state.reports.correction import Correction
    from policy_state.reports.labels import Judgement
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import DomainSnapshot

EVALUATE_EXAMPLES = """Examples:

`offramp policy evaluate --labels labels.tsv --topic predictions.hotels`

`offramp policy evaluate --labels-topic labels --topic predictions -o json`

`offramp policy evaluate --labels labels.jsonl --predictions predictions.jsonl`

`offramp policy evaluate --labels labels.tsv --topic predictions.hotels --apply`
"""

_CALL_DOMAINS = 500
_NAMES = 3

app = Commands()


@app.command("evaluate", epilog=EVALUATE_EXAMPLES, rich_help_panel=LOOK)
def evaluate(
    ctx: typer.Context,
    given: OnPolicyAndKafka,
    signed: Signed,
    labels: Annotated[
        Path | None, typer.Option(help=f"File of labels with columns id and label: {FILES}")
    ] = None,
    labels_topic: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="Topic of labels: JSON, or id, tab and label."),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="File of predictions as JSON lines; may be repeated."),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", "-t", metavar="TOPIC", help="Topic of predictions; may be repeated."
        ),
    ] = None,
    form: FileFormat = Format.AUTO,
    id_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column or field of --labels that holds the id.")
    ] = "id",
    label_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column or field of --labels that holds the label.")
    ] = "label",
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            metavar="FOLDER",
            help="Model folder; names the classes that no prediction has.",
        ),
    ] = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Correct by the labels what depth is worth in each domain."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure the true error of every exit from labels, and name the exit they favour.

    Labels and predictions are matched by id. A label is the name of a class, or its number unless
    classes are named by numbers. A label that the model does not know is an error in a file; in a
    topic it is skipped and reported. Topics are read from their beginning to the end they have at
    the start.

    Without --apply nothing is changed: labels only check what was learnt. With it the domains keep
    how often the deeper of two exits was right where they differ, and choose their exits by it.
    Labels applied earlier to the same domains are replaced. The model must be calibrated.
    """
    if (labels is None) == (labels_topic is None):
        raise typer.BadParameter("give either --labels or --labels-topic")
    if bool(predictions) == bool(topic):
        raise typer.BadParameter("give either --predictions or --topic")
    if labels is not None and predictions:
        without_effect(ctx, {"bootstrap_servers"}, "because no topic is read")
    if not apply:
        without_effect(ctx, {"reason", "by", "yes"}, "without --apply")
    with given.opened() as (settings, store):
        if apply:
            check_correctable(store.describe().meta)
        if labels is None:
            known, unreadable = _labels(labels_topic or "", settings.kafka)
        else:
            from consumer.learning.labels import labels_of_file

            known = labels_of_file(labels, form, id_column=id_column, label_column=label_column)
            unreadable = 0
        names = None
        if model is not None:
            from model.config import read_config

            names = read_config(model).labels
        values = _values(predictions, topic, settings.kafka)
        with closing(values):
            from consumer.learning.labels import join

            meta = store.describe().meta
            joined = join(
                values, known, fingerprint=meta.fingerprint, exits=meta.exits, names=names
            )
        if labels is not None and joined.unknown:
            raise InvalidSettings(f"{labels}: {_strange(joined, all_known=names is not None)}")
        _tell(joined, unreadable)
        rows = _rows(store, joined, correct(store, joined, signed) if apply else {})
        emit(
            output,
            "policy-evaluate",
            rows,
            rows_name="domains",
            table=[_table_row(row) for row in rows],
            empty="no prediction of this policy's model has a label",
            policy=store.describe().meta.name,
            labels=len(known),
            skipped_labels=unreadable,
            unknown_labels=dict(joined.unknown),
            unlabelled_predictions=joined.unlabelled,
            skipped_predictions=joined.skipped,
        )


def _labels(topic: str, kafka: KafkaSettings) -> tuple[dict[str, Label], int]:
    from consumer.kafka.reading.reader import TopicReader
    from consumer.learning.labels import labels_of_records

    with TopicReader(kafka, [topic]) as reader:
        return labels_of_records(record.value for record in reader.records())


def _values(
    paths: list[Path] | None, topics: list[str] | None, kafka: KafkaSettings
) -> Generator[bytes | None]:
    if paths:
        from model.texts.files import read_lines

        yield from (line.rstrip("\r\n").encode() for path in paths for line in read_lines(path))
        return
    from consumer.kafka.reading.reader import TopicReader

    with TopicReader(kafka, topics or []) as reader:
        yield from (record.value for record in reader.records())


def _rows(
    store: RedisStore, joined: Joined, corrections: Mapping[str, Correction]
) -> list[dict[str, Any]]:
    """Return what labels say of every domain, the one with most of them first."""
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import exit_of
    from policy_state.reports.labels import judge

    meta = store.describe().meta
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    pool = store.totals().stats
    names = sorted(joined.domains, key=lambda name: (-len(joined.domains[name].truth), name))
    rows = []
    for start in range(0, len(names), _CALL_DOMAINS):
        some = names[start : start + _CALL_DOMAINS]
        snapshots = store.read(some)
        for name in some:
            texts, snapshot = joined.domains[name], snapshots[name]
            exit_ = exit_of(snapshot, rules, pool=pool)
            found = judge(
                texts.exit_labels,
                texts.truth,
                exit_=exit_,
                costs=rules.costs,
                tolerance=meta.settings.tolerance,
            )
            made = corrections.get(name)
            row = _row(name, found, snapshot, meta.layers)
            rows.append(row | {"correction": None if made is None else asdict(made)})
    return rows


def _row(
    name: str, found: Judgement, snapshot: DomainSnapshot, layers: tuple[int, ...]
) -> dict[str, Any]:
    told = asdict(found)
    errors = told.pop("errors")
    return {
        "domain": name,
        "layer": layers[found.exit],
        "pinned": snapshot.pin is not None,
        **told,
        "agrees": found.agrees,
        "clear": found.clear,
        "exits": [
            {"exit": j, "layer": layer, "error": error}
            for j, (layer, error) in enumerate(zip(layers, errors, strict=True))
        ],
    }


def _table_row(row: dict[str, Any]) -> dict[str, object]:
    served, lost, extra = row["served"], row["lost_reward"], row["extra_error"]
    errors = (exit_["error"] for exit_ in row["exits"])
    return {
        "domain": row["domain"],
        "labelled": served["texts"],
        "error": percent(served["share"]),
        "exit": row["exit"],
        "exit by labels": _verdict(row),
        "reward lost": "-" if lost is None else _interval(lost),
        "error over the last exit": "-" if extra is None else _interval(extra),
        "error of each exit": " ".join(percent(e and e["share"]) for e in errors),
    }


def _verdict(row: dict[str, Any]) -> str:
    best = row["exit_by_labels"]
    if row["agrees"]:
        return "-" if best is None else f"{best}, the same"
    if row["lost_reward"] is None:
        return str(best)
    return f"{best}, {'clearly' if row['clear'] else 'within chance'}"


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2%} ± {(estimate['high'] - estimate['low']) / 2:.2%}"


def _tell(joined: Joined, unreadable: int) -> None:
    if unreadable:
        typer.echo(f"{unreadable} records of labels hold no id and label", err=True)
    if joined.unknown:
        strange = _strange(joined, all_known=False)
        typer.echo(f"{counted(joined.unknown.total(), 'label')} left out: {strange}", err=True)


def _strange(joined: Joined, *, all_known: bool) -> str:
    """Say which labels are no classes of the model, and which classes it has."""
    names = ", ".join(printable(name) for name, _ in joined.unknown.most_common(_NAMES))
    cure = "" if all_known else "; --model FOLDER names classes that no prediction has"
    return (
        f"label {names} (id {printable(joined.unknown_id)}) is no class of the model, "
        f"it has {printable(joined.classes)}{cure}"
    )
