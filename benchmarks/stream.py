"""The whole worker beside a bare Kafka loop, and beside transformers' pipeline doing the same job.

    python -m benchmarks.stream [--quick] [--model FOLDER] [-o json] [--out FOLDER]

Starts a Kafka and a Redis on loopback. One process and one thread of torch for each contestant;
all take turns in one run, and ratios are taken within rounds.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from benchmarks.report import Report
from benchmarks.stream_job import Size, whole_job
from benchmarks.stream_parts import plumbing, stages
from benchmarks.stream_worker import DEAD_LETTERS, OUTPUT
from consumer.settings import PRETRAINED
from consumer.topics import create_topics
from deploy.local.services import local_services

_PARTS = ("plumbing", "stages", "job")


def main() -> None:
    """Measure, print, and write the results where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stream",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument(
        "--model", type=Path, default=PRETRAINED, help="folder (default: the shipped model)"
    )
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--out", type=Path, help="folder to write stream.json and stream.md to")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(1)
    quick = args.quick
    report = Report("stream")
    with local_services() as services:
        create_topics(services.kafka, {OUTPUT: 4, DEAD_LETTERS: 1})
        if "plumbing" in args.parts or "stages" in args.parts:
            plumbing(report, services, events=5_000 if quick else 16_000, rounds=1 if quick else 5)
        if "stages" in args.parts:
            stages(report, services, PRETRAINED, seconds=1.0 if quick else 4.0, events=5_000)
        if "job" in args.parts:
            size = Size(16, 4_000, 1.5, 1, (50,)) if quick else Size(136, 15_000, 4, 3, (10, 50))
            whole_job(report, services, args.model, size)
    print(report.to_json() if args.output == "json" else report.to_markdown())
    if args.out:
        report.write(args.out)


if __name__ == "__main__":
    main()
