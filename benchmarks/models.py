"""Measures what every exit of trained models is worth, on the source domain and on all others.

    python -m benchmarks.models --data ../shared/data --models DIR [DIR ..] [--out MATRICES]

`--data` has a folder per domain with `train`, `dev` and `test` files (`.tsv`, may be `.zst`). A
domain is all of them together, but for the domains that the models were trained on, of which only
what was held out counts. With `--out` the exit matrices are kept, one file a model and domain; a
matrix that is there already is not made again, so an interrupted run goes on. Results go to
`benchmarks/results/models.md` and `models.json`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Table, machine
from model.checkpoint import fingerprint
from model.config import ModelConfig, read_config
from model.data import LabelledTexts, read_labelled, write_matrix
from model.engine import Engine
from model.evaluation import ExitReport, report
from policy_state.matrix import read_matrix

_RESULTS = Path(__file__).parent / "results"
_HELD_OUT = {"sst2": ("dev",), "agnews": ("test",)}  # the others are of no model's training
_SPLITS = ("train", "dev", "test")
_CHUNK = 512
_SEED = 0


@dataclass(frozen=True, slots=True)
class Domain:
    """The texts of a domain, capped, and how many there are in all."""

    name: str
    sample: LabelledTexts
    texts: int
    classes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's figures."""

    name: str
    config: ModelConfig
    fingerprint: str
    reports: dict[str, ExitReport]
    cut: dict[str, int]  # texts longer than the model was given, by domain; -1 where not counted


@dataclass(frozen=True, slots=True)
class Settings:
    """How the models are run."""

    max_tokens: int
    precision: str
    max_texts: int | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description="what the exits of models are worth")
    parser.add_argument("--data", type=Path, required=True, help="a folder per domain")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--out", type=Path, help="keep the exit matrices here")
    parser.add_argument("--max-texts", type=int, help="of a domain, drawn with a fixed seed")
    parser.add_argument("--max-tokens", type=int, default=128, help="as the paper's authors")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "auto"])
    parser.add_argument("--domains", nargs="+", help="only these")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    options = parser.parse_args(arguments)
    names = [folder.name for folder in options.models]
    if len(set(names)) < len(names):
        parser.error("two of the model folders have the same name")
    settings = Settings(options.max_tokens, options.precision, options.max_texts)
    domains = read_domains(options.data, options.max_texts, only=options.domains)
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        measured = [measure(folder, domains, out, settings) for folder in options.models]
    write_results(measured, domains, settings, options.results)


def read_domains(data: Path, most: int | None, *, only: Sequence[str] | None) -> list[Domain]:
    """Read every domain of the folder, in the order of names."""
    domains = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        if only is not None and folder.name not in only:
            continue
        splits = _HELD_OUT.get(folder.name, _SPLITS)
        paths = [
            path
            for split in splits
            for path in (folder / f"{split}.tsv", folder / f"{split}.tsv.zst")
            if path.exists()
        ]
        if not paths:
            continue
        parts = [read_labelled(path) for path in paths]
        everything = LabelledTexts(
            tuple(text for part in parts for text in part.texts),
            tuple(label for part in parts for label in part.labels),
        )
        sample = everything if most is None else everything.sample(most, seed=_SEED)
        classes = max(everything.labels) + 1
        domains.append(Domain(folder.name, sample, len(everything.texts), classes))
    return domains


def measure(folder: Path, domains: Sequence[Domain], out: Path, settings: Settings) -> Measured:
    """Run one model over the domains that have its number of classes."""
    config = read_config(folder)
    digest = fingerprint(folder)
    reports: dict[str, ExitReport] = {}
    cut: dict[str, int] = {}
    engine: Engine | None = None
    for domain in domains:
        if domain.classes != len(config.labels):
            continue
        run = f"{settings.precision}-{settings.max_tokens}-{len(domain.sample.texts)}"
        path = out / f"{folder.name}-{digest[:8]}" / f"{domain.name}-{run}.tsv"
        if path.exists():
            rows = read_matrix(path)[0].tolist()
            cut[domain.name] = -1
        else:
            engine = engine or Engine(
                folder,
                precision=settings.precision,
                max_tokens=min(settings.max_tokens, config.max_position_embeddings),
            )
            rows, cut[domain.name] = _predict(engine, domain)
            path.parent.mkdir(parents=True, exist_ok=True)
            facts = {"name": folder.name, "layers": config.exit_layers}
            (path.parent / "model.json").write_text(json.dumps(facts), encoding="utf-8")
            with path.open("w", encoding="utf-8") as file:
                write_matrix(file, rows, domain.sample.labels)
        reports[domain.name] = report(np.array(rows), domain.sample.labels)
        shares = " ".join(f"{100 * share:.1f}" for share in reports[domain.name].accuracy)
        print(f"{folder.name} {domain.name}: {shares}", file=sys.stderr, flush=True)
    return Measured(folder.name, config, digest, reports, cut)


def write_results(
    measured: Sequence[Measured], domains: Sequence[Domain], settings: Settings, folder: Path
) -> None:
    """Write models.md and models.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "command": _command(settings, [m.name for m in measured]),
        "machine": machine(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "domains": {d.name: {"texts": d.texts, "measured": len(d.sample.texts)} for d in domains},
        "models": {m.name: _values(m) for m in measured},
    }
    text = json.dumps(content, indent=2) + "\n"
    (folder / "models.json").write_text(text, encoding="utf-8")
    lines = [
        "# What the exits of trained models are worth",
        "",
        f"`{content['command']}`, {content['date']}.",
        "",
        *_explained(domains, settings),
        "",
    ]
    for m in measured:
        lines += [table.markdown() for table in _tables(m)]
    (folder / "models.md").write_text("\n".join(lines), encoding="utf-8")


def _predict(engine: Engine, domain: Domain) -> tuple[list[tuple[int, ...]], int]:
    texts = domain.sample.texts
    last = engine.config.exits - 1
    parts = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
    rows: list[tuple[int, ...]] = []
    cut = 0
    for results in engine.run_stream((part, [last] * len(part)) for part in parts):
        rows += [result.labels for result in results]
        cut += sum(result.truncated for result in results)
    return rows, cut


def _command(settings: Settings, names: Sequence[str]) -> str:
    """Return the command without the paths of this machine."""
    cap = [] if settings.max_texts is None else ["--max-texts", str(settings.max_texts)]
    numbers = ["--max-tokens", str(settings.max_tokens), "--precision", settings.precision]
    words = ["python", "-m", "benchmarks.models", "--data", "DATA", "--models", *names]
    return " ".join([*words, *cap, *numbers])


def _explained(domains: Sequence[Domain], settings: Settings) -> list[str]:
    capped = [
        f"{d.name} {len(d.sample.texts):,} of {d.texts:,}"
        for d in domains
        if len(d.sample.texts) < d.texts
    ]
    explained = (
        f"Texts are cut at {settings.max_tokens} tokens. Domains are all of their texts, but for "
        "the training sets' own: SST-2 is its dev set, AG News its test set. All figures are %. "
        "*Differs*: texts whose label is not exit 0's. *SD violated*: texts that some exit gets "
        "right and a deeper one wrong."
    )
    lines = [explained]
    if capped:
        lines += ["", f"Drawn at random (seed {_SEED}), not all: {', '.join(capped)}."]
    return lines


def _tables(m: Measured) -> list[Table]:
    layers = m.config.exit_layers
    exits = tuple(f"exit {i} (layer {layer})" for i, layer in enumerate(layers))
    head = f"{m.name}, fingerprint {m.fingerprint}"
    tables = []
    for title, figures in (
        ("accuracy", {d: r.accuracy for d, r in m.reports.items()}),
        ("balanced accuracy", {d: r.balanced_accuracy for d, r in m.reports.items()}),
    ):
        rows = tuple(
            (domain, m.reports[domain].texts, *map(_percent, values))
            for domain, values in figures.items()
        )
        tables.append(Table(f"{head}: {title}", ("domain", "texts", *exits), rows))
    rows = tuple(
        (domain, *map(_percent, r.disagreement), _percent(r.sd_violations))
        for domain, r in m.reports.items()
    )
    tables.append(Table(f"{head}: differs from exit 0", ("domain", *exits, "SD violated"), rows))
    return tables


def _values(m: Measured) -> dict[str, Any]:
    return {
        "fingerprint": m.fingerprint,
        "exit_layers": m.config.exit_layers,
        "labels": m.config.labels,
        "reports": {domain: r.to_dict() for domain, r in m.reports.items()},
        "cut": {domain: None if n < 0 else n for domain, n in m.cut.items()},
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
