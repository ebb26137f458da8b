"""Measures how often bf16 and int8 give the label that fp32 gives, per exit, on real text.

The model stays as it is: a copy of it is calibrated for int8. Files are .tsv with a column named
text, or one text a line. Without any it takes the sample reviews, some to calibrate, the others to
measure.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Goal, Report, Table, hand_in, parser
from consumer.settings.sections import PRETRAINED
from demo.texts import read_texts as read_samples
from demo.texts import sample_files
from model.engine.calibrate import calibrate_int8, label_agreement
from model.engine.engine import Engine
from model.texts.data import read_texts, set_name

_CALIBRATION = 36  # of the 136 samples of a domain
_GOALS = {"bf16": 0.995, "int8": 0.99}


def main() -> None:
    """Parse the command line, measure, write."""
    arguments = parser("engine.precision", __doc__)
    arguments.add_argument(
        "model", type=Path, nargs="?", default=PRETRAINED, help="default: the shipped model"
    )
    arguments.add_argument("--calibration", type=Path, nargs="+", metavar="FILE")
    arguments.add_argument("--texts", type=Path, nargs="+", metavar="FILE")
    arguments.add_argument(
        "--per-file", type=int, default=1000, help="at most this many texts of each"
    )
    arguments.add_argument("--max-tokens", type=int, default=128)
    options = arguments.parse_args()
    if bool(options.calibration) != bool(options.texts):
        arguments.error("--calibration and --texts belong together")
    most = 100 if options.quick else options.per_file
    if options.texts:
        calibration = sample(options.calibration, most=300)
        sets = {set_name(path): sample([path], most=most) for path in options.texts}
    else:
        samples = {d: [t.text for t in read_samples(p)] for d, p in sample_files().items()}
        calibration = [text for texts in samples.values() for text in texts[:_CALIBRATION]]
        sets = {domain: texts[_CALIBRATION:] for domain, texts in samples.items()}
    hand_in(measure(options.model, calibration, sets, max_tokens=options.max_tokens), options)


def sample(paths: Sequence[Path], *, most: int) -> list[str]:
    """Return at most `most` texts of each file, drawn by chance with a fixed seed."""
    chosen: list[str] = []
    for path in paths:
        texts = read_texts(path)
        chosen += random.Random(0).sample(texts, min(most, len(texts)))
    random.Random(0).shuffle(chosen)
    return chosen


def measure(
    model: Path, calibration: Sequence[str], sets: dict[str, list[str]], *, max_tokens: int
) -> Report:
    """Compare the three precisions on every set of texts."""
    report = Report(f"precision_{model.resolve().name}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(model, Path(scratch) / "model"))
        calibrate_int8(folder, calibration, max_tokens=max_tokens)
        exact, bf16, int8 = (
            Engine(
                folder,
                device="cpu",
                max_tokens=max_tokens,
                precision=precision,
                least_int8_agreement=0.0,
            )
            for precision in ("fp32", "bf16", "int8")
        )
    columns = ("texts of", "texts", *(f"exit {i}" for i in range(exact.config.exits)))
    for engine in (bf16, int8):
        found = {name: label_agreement(exact, engine, texts) for name, texts in sets.items()}
        sizes = [len(texts) for texts in sets.values()]
        overall = tuple(
            sum(n * shares[exit_] for n, shares in zip(sizes, found.values(), strict=True))
            / sum(sizes)
            for exit_ in range(exact.config.exits)
        )
        rows = [
            (name, len(sets[name]), *(f"{share:.2%}" for share in shares))
            for name, shares in found.items()
        ]
        rows.append(("all", sum(sizes), *(f"{share:.2%}" for share in overall)))
        title = f"Labels equal to those of fp32, {engine.precision}"
        report.tables.append(Table(title, columns, tuple(rows)))
        name = f"{engine.precision}: labels as fp32 over all texts, worst exit"
        report.goals.append(Goal.at_least(name, _GOALS[engine.precision], min(overall)))
    report.notes.append(
        f"int8 calibrated on {len(calibration)} texts; texts cut at {max_tokens} word pieces"
    )
    return report


if __name__ == "__main__":
    main()
