"""`offramp policy export, import, diff, warm-start`: whole policies to and fro."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import LOOK, MOVE, Commands, without_effect
from consumer.cli.output import Output, OutputOption, emit, percent, printable
from consumer.cli.session import (
    EXIT_FOUND,
    OnPolicy,
    OnRedis,
    Signed,
    changing,
    confirm,
    open_named,
)
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.store.redis.store import RedisStore
    from policy_state.transfer.document import PolicyDocument

EXPORT_EXAMPLES = """Examples:

`offramp policy export > default.json`

`offramp policy export --policy reviews --out reviews.json`
"""
IMPORT_EXAMPLES = """Examples:

`offramp policy import default.json --yes`

`offramp policy import default.json --policy staging --keep-known`
"""
DIFF_EXAMPLES = """Examples:

`offramp policy diff default staging`

`offramp policy diff yesterday.json default -o json`
"""
WARM_EXAMPLES = """Examples:

`offramp policy warm-start --from default --to default@3f2a91c04d11 --weight 0.1`
"""

app = Commands()


@app.command("export", epilog=EXPORT_EXAMPLES, rich_help_panel=MOVE)
def export(
    given: OnPolicy,
    file: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: stdout.")
    ] = None,
) -> None:
    """Export a policy as JSON: its settings, counters and watermarks.

    If workers count during the export, `consistent` is false in it: a few texts may then be missing
    from the counters, but no text is counted twice.
    """
    with given.opened() as (_, store):
        from policy_state.transfer.document import to_document
        from policy_state.transfer.transfer import export_policy

        document = export_policy(store)
        text = json.dumps(to_document(document), indent=1, ensure_ascii=True) + "\n"
        if file is None:
            typer.echo(text, nl=False)
        else:
            _write(file, text)
        typer.echo(f"{counted(len(document.domains), 'domain')} exported", err=True)


@app.command("import", epilog=IMPORT_EXAMPLES, rich_help_panel=MOVE)
def import_(
    file: Annotated[Path, typer.Argument(help="File that `policy export` wrote; - reads stdin.")],
    given: OnPolicy,
    signed: Signed,
    keep_known: Annotated[
        bool, typer.Option("--keep-known", help="Skip domains that the policy already knows.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Import an export into a policy, which is created if it does not exist.

    Domains of the file replace those of the policy. Watermarks are imported for partitions that the
    policy has not counted yet, so an empty policy continues where the export was made.
    """
    document = _read(file)
    with given.store() as (settings, store):
        name = settings.policy.name
        from policy_state.transfer.transfer import import_policy

        known = "left out" if keep_known else "replaced"
        confirm(
            f"policy {printable(name)}: {counted(len(document.domains), 'domain')} of "
            f"{printable(document.meta.name)} are written, those it knows are {known}",
            yes=signed.yes,
        )
        with changing():
            done = import_policy(
                store,
                document,
                name=name,
                replace_known=not keep_known,
                by=signed.who,
                reason=signed.reason,
            )
        row = {"policy": name, "written": done.written, "left_out": len(done.left_out)}
        emit(output, "policy-import", [row], rows_name="imports")


@app.command("diff", epilog=DIFF_EXAMPLES, rich_help_panel=LOOK)
def diff(
    ctx: typer.Context,
    left: Annotated[
        str, typer.Argument(metavar="A", help="Name of a policy, or an export (.json).")
    ],
    right: Annotated[
        str, typer.Argument(metavar="B", help="Name of a policy, or an export (.json).")
    ],
    given: OnRedis,
    all_: Annotated[
        bool, typer.Option("--all", help="Also list domains with the same exit.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Compare two policies: list domains that differ in their exit or that only one has.

    The exit code is 4 if there are such domains.
    """
    if left.endswith(".json") and right.endswith(".json"):
        without_effect(ctx, {"config", "redis_url", "set_"}, "because both are files")
    with given.store() as (_, store):
        a, b = _document(store, left), _document(store, right)
    of_a, of_b = _exits(a), _exits(b)
    rows: list[dict[str, Any]] = []
    for domain in sorted(of_a.keys() | of_b.keys()):
        one, two = of_a.get(domain, {}), of_b.get(domain, {})
        same = one.get("exit") == two.get("exit")
        if all_ or not same:
            rows.append(
                {
                    "domain": domain,
                    **{f"{name}_a": one.get(name) for name in _COMPARED},
                    **{f"{name}_b": two.get(name) for name in _COMPARED},
                    "same": same,
                }
            )
    shown = [
        {
            "domain": row["domain"],
            "exit A": row["exit_a"],
            "exit B": row["exit_b"],
            "texts A": row["texts_a"],
            "texts B": row["texts_b"],
            "differs A": percent(row["disagreement_a"]),
            "differs B": percent(row["disagreement_b"]),
        }
        for row in rows
    ]
    emit(
        output,
        "policy-diff",
        rows,
        rows_name="domains",
        table=shown,
        empty="every domain has the same exit in both",
        columns=["domain", *(f"{n}_{side}" for side in "ab" for n in _COMPARED), "same"],
        a=left,
        b=right,
    )
    if any(not row["same"] for row in rows):
        raise typer.Exit(EXIT_FOUND)


@app.command("warm-start", epilog=WARM_EXAMPLES, rich_help_panel=MOVE)
def warm_start(
    from_: Annotated[str, typer.Option("--from", help="Policy or export (.json) to copy from.")],
    to: Annotated[str, typer.Option("--to", help="Policy to copy to.")],
    given: OnRedis,
    signed: Signed,
    weight: Annotated[
        float,
        typer.Option(min=0.0001, max=1.0, help="Share of the counters to copy."),
    ] = 0.1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a policy with a share of what another policy has learnt.

    Both policies must have the same number of exits. Domains that the policy already knows stay
    unchanged.
    """
    with given.store() as (_, store):
        from policy_state.transfer import transfer

        source = _document(store, from_)
        open_named(store, to)
        confirm(
            f"policy {printable(to)}: domains it does not know get {weight:.0%} of the counters "
            f"of {counted(len(source.domains), 'domain')} of {printable(from_)}",
            yes=signed.yes,
        )
        with changing():
            done = transfer.warm_start(
                store, source, weight=weight, by=signed.who, reason=signed.reason
            )
        row = {"policy": to, "written": done.written, "left_out": len(done.left_out)}
        emit(output, "policy-warm-start", [row], rows_name="imports")


_COMPARED = ("exit", "texts", "disagreement")


def _document(store: RedisStore, name: str) -> PolicyDocument:
    if name.endswith(".json"):
        return _read(Path(name))
    from policy_state.transfer.transfer import export_policy

    open_named(store, name)
    return export_policy(store)


def _exits(document: PolicyDocument) -> dict[str, dict[str, Any]]:
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import domain_report
    from policy_state.stats import ExitStats

    meta = document.meta
    policy = build(meta.settings, meta.layers, credits=meta.calibrated)
    nothing = ExitStats.zeros(document.meta.exits)
    pool = sum((record.stats for record in document.domains.values()), nothing)
    found = {}
    for name, record in document.domains.items():
        report = domain_report(name, record, meta, policy, pool=pool)
        found[name] = {compared: getattr(report, compared) for compared in _COMPARED}
    return found


def _read(file: Path) -> PolicyDocument:
    from consumer.errors import InvalidSettings
    from policy_state.errors import InvalidInput
    from policy_state.transfer.document import from_document

    name = "stdin" if str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if name == "stdin" else file.read_text(encoding="utf-8")
        return from_document(json.loads(text))
    except OSError as error:
        raise InvalidSettings(f"{name}: cannot be read: {error.strerror}") from error
    except InvalidInput as error:
        raise InvalidSettings(f"{name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"{name}: not JSON: {error}") from error


def _write(file: Path, text: str) -> None:
    from consumer.errors import InvalidSettings

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(f"{file}: cannot be written: {error.strerror}") from error
