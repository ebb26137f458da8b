"""Measures what every exit of trained models is worth, on the source domain and on all others.

`--data` has a folder per domain with `train`, `dev` and `test` files (`.tsv`, may be `.zst`). A
domain is all of them together, but for the domains that the models were trained on, of which only
`--held-out` counts. With `--matrices` the exit matrices are kept, one file a model and domain, of
calibrated models with credits and scores; a matrix that is there already is not made again, so an
interrupted run continues. Without data and models it is the shipped model on the sample reviews.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import Report, Table, hand_in, parser
from consumer.settings.sections import PRETRAINED
from demo.texts import read_texts, sample_files
from model.calibration import read_calibration
from model.checkpoint.folder import fingerprint
from model.config import ModelConfig, read_config
from model.engine.answers import TextResult
from model.engine.engine import Engine
from model.evaluation import ExitScores, report
from model.texts.data import LabelledTexts, read_labelled, write_matrix
from policy_state.simulation.matrix import read_matrix

_HELD_OUT = ["sst2=dev", "agnews=test"]  # the others are of no model's training
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
    reports: dict[str, ExitScores]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the models are run."""

    max_tokens: int
    precision: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    asked = parser("models", __doc__)
    asked.add_argument("--data", type=Path, metavar="FOLDER", help="a folder per domain")
    asked.add_argument(
        "--models", type=Path, nargs="+", default=[PRETRAINED], metavar="FOLDER", help="of models"
    )
    asked.add_argument(
        "--matrices", type=Path, metavar="FOLDER", help="keep the exit matrices here"
    )
    asked.add_argument("--max-texts", type=int, help="of a domain, drawn with a fixed seed")
    asked.add_argument("--max-tokens", type=int, default=128, help="as the paper's authors")
    asked.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "auto"])
    asked.add_argument("--domains", nargs="+", help="only these")
    asked.add_argument(
        "--held-out",
        nargs="+",
        default=_HELD_OUT,
        metavar="DOMAIN=SPLIT",
        help="the only file of a domain that no model was trained or calibrated on",
    )
    options = asked.parse_args(arguments)
    names = [folder.name for folder in options.models]
    if len(set(names)) < len(names):
        asked.error("two of the model folders have the same name")
    most = 50 if options.quick else options.max_texts
    settings = Settings(options.max_tokens, options.precision)
    if options.data:
        held_out = dict(pair.split("=") for pair in options.held_out)
        domains = read_domains(options.data, most, only=options.domains, held_out=held_out)
    else:
        domains = sample_domains(most)
    with tempfile.TemporaryDirectory() as scratch:
        matrices = options.matrices or Path(scratch)
        measured = [measure(folder, domains, matrices, settings) for folder in options.models]
    hand_in(described(measured, domains, settings), options)


def sample_domains(most: int | None) -> list[Domain]:
    """Return the sample reviews by domain."""
    domains = []
    for name, path in sample_files().items():
        rows = [(t.text, t.label) for t in read_texts(path) if t.label is not None]
        everything = LabelledTexts(tuple(t for t, _ in rows), tuple(label for _, label in rows))
        sample = everything if most is None else everything.sample(most, seed=_SEED)
        domains.append(Domain(name, sample, len(rows), max(everything.labels) + 1))
    return domains


def read_domains(
    data: Path, most: int | None, *, only: Sequence[str] | None, held_out: Mapping[str, str]
) -> list[Domain]:
    """Read every domain of the folder, in the order of names."""
    domains = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        if only is not None and folder.name not in only:
            continue
        splits = (held_out[folder.name],) if folder.name in held_out else _SPLITS
        paths = [
            path
            for split in splits
            for path in (folder / f"{split}.tsv", folder / f"{split}.tsv.zst")
            if path.exists()
        ]
        if not paths:
            continue
        everything = joined([read_labelled(path) for path in paths])
        sample = everything if most is None else everything.sample(most, seed=_SEED)
        classes = max(everything.labels) + 1
        domains.append(Domain(folder.name, sample, len(everything.texts), classes))
    return domains


def joined(parts: Sequence[LabelledTexts]) -> LabelledTexts:
    """Return the texts of several sets as one."""
    return LabelledTexts(
        tuple(text for part in parts for text in part.texts),
        tuple(label for part in parts for label in part.labels),
    )


def measure(folder: Path, domains: Sequence[Domain], out: Path, settings: Settings) -> Measured:
    """Run one model over the domains that have its number of classes."""
    config = read_config(folder)
    digest = fingerprint(folder)
    facts = {"name": folder.name, "layers": config.exit_layers}
    if calibration := read_calibration(folder, exits=config.exits):
        facts["worth"] = calibration.worth
    reports: dict[str, ExitScores] = {}
    engine: Engine | None = None
    for domain in domains:
        if domain.classes != len(config.labels):
            continue
        run = f"{settings.precision}-{settings.max_tokens}-{len(domain.sample.texts)}"
        path = out / f"{folder.name}-{digest[:8]}" / f"{domain.name}-{run}.tsv"
        if path.exists():
            rows = read_matrix(path).labels.tolist()
        else:
            engine = engine or Engine(
                folder,
                precision=settings.precision,
                max_tokens=min(settings.max_tokens, config.max_position_embeddings),
            )
            results = _predict(engine, domain)
            rows = [result.labels for result in results]
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "model.json").write_text(json.dumps(facts), encoding="utf-8")
            with path.open("w", encoding="utf-8") as file:
                write_matrix(file, rows, domain.sample.labels, **_thousandths(results))
        reports[domain.name] = report(np.array(rows), domain.sample.labels)
        shares = " ".join(f"{100 * share:.1f}" for share in reports[domain.name].accuracy)
        print(f"{folder.name} {domain.name}: {shares}", file=sys.stderr, flush=True)
    return Measured(folder.name, config, digest, reports)


def described(
    measured: Sequence[Measured], domains: Sequence[Domain], settings: Settings
) -> Report:
    """Return the tables, and what the figures are of."""
    capped = [
        f"{d.name} {len(d.sample.texts):,} of {d.texts:,}"
        for d in domains
        if len(d.sample.texts) < d.texts
    ]
    found = Report("models", tables=[table for m in measured for table in _tables(m)])
    found.notes.append(
        f"Texts are cut at {settings.max_tokens} tokens. Domains are all of their texts, but for "
        "those that models were trained on: one file of these counts, the dev set of SST-2 and the "
        "test set of AG News unless `--held-out` names others. All figures are %. *Differs*: texts "
        "whose label is not exit 0's. *SD violated*: texts that some exit gets right and a deeper "
        "one wrong."
    )
    if capped:
        found.notes.append(f"Drawn at random (seed {_SEED}), not all: {', '.join(capped)}.")
    return found


def _predict(engine: Engine, domain: Domain) -> list[TextResult]:
    texts = domain.sample.texts
    last = engine.config.exits - 1
    parts = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
    streamed = engine.run_stream((part, [last] * len(part)) for part in parts)
    return [result for results in streamed for result in results]


def _thousandths(results: Sequence[TextResult]) -> dict[str, list[Sequence[int]]]:
    """Return the credits and scores of a calibrated model, nothing of another one."""
    if not results[0].credits:
        return {}
    return {
        "credits": [result.credits for result in results],
        "scores": [[round(1000 * score) for score in result.scores] for result in results],
    }


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


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
