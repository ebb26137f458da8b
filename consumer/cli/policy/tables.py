"""The rows and headings of what is shown about domains, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Any

from consumer.cli.output import clock, measured, percent, printable, since
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.reports.domain import DomainReport
    from policy_state.store.values import DomainSnapshot, OpenedPolicy

HELD = ("epoch", "pin", "pin_until_ms", "pin_reason", "frozen", "freeze_reason")


def held_fields(snapshot: DomainSnapshot) -> dict[str, Any]:
    """Return what operators hold of a domain: its pin, its freeze, and its epoch."""
    return {name: getattr(snapshot, name) for name in HELD}


def domain_row(
    r: DomainReport, snapshot: DomainSnapshot, routes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a domain of the list, for programs."""
    return r.to_dict() | held_fields(snapshot) | {"by_route": routes}


def shown_fields(
    r: DomainReport,
    snapshot: DomainSnapshot,
    opened: OpenedPolicy,
    routes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what stands before the exits of one domain, for programs."""
    return {
        "policy": opened.meta.name,
        "revision": opened.revision,
        **{k: v for k, v in r.to_dict().items() if k != "exits"},
        **held_fields(snapshot),
        "by_route": routes,
    }


def list_row(
    r: DomainReport, snapshot: DomainSnapshot, routes: Sequence[Mapping[str, Any]]
) -> dict[str, object]:
    """Return a domain as a line of the list, what matters most first."""
    return {
        "domain": r.domain,
        "saved": measured(r.holdout.layers_saved) if r.holdout else percent(r.layers_saved),
        "full depth": measured(r.holdout.agreement if r.holdout else None),
        "holdout": r.holdout.texts if r.holdout else 0,
        "texts": r.texts,
        "exit": " / ".join(map(str, dict.fromkeys([r.exit, *(row["exit"] for row in routes)]))),
        "layer": r.layer,
        "differs": percent(r.disagreement),
        "texts per exit": " ".join(str(e.played) for e in r.exits),
        "flags": " ".join(
            ["pinned"] * (snapshot.pin is not None)
            + ["frozen"] * snapshot.frozen
            + ["labelled"] * (snapshot.labels is not None)
            + ["gate-broken"] * (r.gate is not None and r.gate.broken)
        ),
        "last text": since(r.last_seen_ms),
    }


def header(
    r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy, routes: Sequence[str]
) -> str:
    """Return what stands above the table of one domain's exits."""
    from policy_state.reports.explain import findings

    settings = f"last text {since(r.last_seen_ms)}; policy {printable(opened.meta.name)}, "
    settings += f"created {since(opened.created_ms)}, settings revision {opened.revision}"
    first = (
        f"{printable(r.domain)}: exit {r.exit} (layer {r.layer}) after {counted(r.texts, 'text')}, "
        f"{percent(r.layers_saved)} of layers not run"
    )
    if (held := r.holdout) is not None:
        saved, same = held.layers_saved, held.agreement
        first += (
            f"\nholdout of {counted(held.texts, 'text')}: saved {percent(saved.share)} "
            f"(±{100 * saved.within:.1f}) of layers, {percent(same.share)} as full depth "
            f"(±{100 * same.within:.1f})"
        )
    lines = [*routes]
    if snapshot.pin is not None:
        ends = snapshot.pin_until_ms
        until = "" if ends is None else f" until {clock(ends)}"
        lines.append(f"pinned to exit {snapshot.pin}{until}: {snapshot.pin_reason}")
    if snapshot.frozen:
        lines.append(f"frozen: {snapshot.freeze_reason}")
    lines += r.gate.in_words() if r.gate else []
    lines += findings(r)
    lines += [f"warning: {warning}" for warning in r.warnings]
    return "\n".join([first, settings, listed(lines)])


def listed(lines: Sequence[str]) -> str:
    """Return lines as a list, wrapped to the terminal."""
    width = get_terminal_size().columns
    return "\n".join(fill(f"- {printable(each)}", width, subsequent_indent="  ") for each in lines)


def exit_rows(
    r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy
) -> list[dict[str, Any]]:
    """Return what is known of each exit of one domain, for programs."""
    from policy_state.reports.explain import by_its_own
    from policy_state.reports.shares import Share

    best = by_its_own(r).exit if opened.meta.settings.tolerance is None else r.learnt
    rows = []
    for e in r.exits:
        share = Share.of(snapshot.stats.disagreed[e.exit], e.observed)
        said = {
            "best": e.exit == best,
            "prior": e.exit == r.learnt != best,  # of few texts: not what they speak for
            "pinned": e.exit == snapshot.pin,
            "unseen": not e.observed,
            "constant": e.exit in r.diagnosis.constant,
        }
        known = {
            "disagreement_low": share.low if share else None,
            "disagreement_high": share.high if share else None,
            "bonus": None if e.index is None or e.reward is None else e.index - e.reward,
            "flags": [flag for flag, holds in said.items() if holds],
        }
        rows.append(asdict(e) | known)
    return rows


def exit_cells(row: dict[str, Any], r: DomainReport) -> dict[str, object]:
    """Return the row of an exit as a line of the table."""
    low, high = row["disagreement_low"], row["disagreement_high"]
    accuracy = measured(r.exits[row["exit"]].accuracy)
    by_calibration = {"worth": row["worth"], "accuracy": accuracy} if r.calibrated else {}
    return {
        "exit": row["exit"],
        "layer": row["layer"],
        "cost": row["cost"],
        "stopped": row["played"],
        "share": percent(row["share"]),
        "ran": row["observed"],
        "differs": percent(row["disagreement"]),
        "95 %": "-" if low is None else f"{100 * low:.1f}..{high:.1%}",
        "reward": row["reward"],
        "bonus": row["bonus"],
        "at most": row["index"],
        **by_calibration,
        "flags": " ".join(row["flags"]),
    }
