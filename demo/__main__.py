"""`make demo`: streams texts of several domains through two workers and shows what they learn."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from consumer.process.signals import Heed, Stopped

_CLEAN_UP_S: Final = 40.0  # its workers finish first, which may take them 20 s
EXAMPLES = """examples:
  make demo
  make demo ARGS=--keep
  make demo ARGS="--input hotels=hotels.tsv --input news=news.jsonl --events 2000"

The result goes to stdout, what happens meanwhile to stderr. However it ends, whatever it has
started ends with it, and its folders go.
"""


def main() -> int:
    """Run the demo and return the exit code."""
    heed = Heed(within_s=_CLEAN_UP_S, also=(signal.SIGHUP,))
    try:
        heed.begin()
        args = _arguments()
        from demo.running import run  # it takes seconds, in which nothing has been started

        return run(args)
    except Stopped as stopped:
        print(f"ended by {stopped}, and all that it had started", file=sys.stderr)
        return heed.code or 0


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name.replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path}: no such file")
    return name, Path(path)


def _arguments() -> argparse.Namespace:
    from consumer.settings.sections import PRETRAINED
    from demo.texts import later_files, sample_files

    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--input",
        metavar="NAME=FILE",
        type=_named_file,
        action="append",
        help="stream this file (as `offramp produce` reads) as a domain, instead of the samples",
    )
    parser.add_argument("--events", type=int, default=3000, help="events a domain (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (%(default)s)")
    parser.add_argument("--model", type=Path, default=PRETRAINED, help="model folder (the shipped)")
    parser.add_argument("--seed", type=int, default=0, help="order of the texts (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave it running, for exploring")
    parser.add_argument(
        "--picture", metavar="FILE.svg", type=Path, help="save the table and summary as a picture"
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json"),
        default="table",
        help="what the result is (%(default)s)",
    )
    args = parser.parse_args()
    args.later = {} if args.input else later_files()
    args.input = dict(args.input) if args.input else sample_files()
    if args.events < 1 or args.workers < 1:
        parser.error("--events and --workers take whole numbers from 1")
    return args


if __name__ == "__main__":
    sys.exit(main())
