"""The whole worker beside a bare Kafka loop, and beside transformers' pipeline doing the same job.

Starts a Kafka and a Redis on loopback. One process and one thread of torch for each contestant;
all take turns in one run, and ratios are taken within rounds.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from benchmarks.report import Report, hand_in, parser
from benchmarks.stream.job import whole_job
from benchmarks.stream.load import PARTITIONS
from benchmarks.stream.parts import plumbing, profile, stages, tokenised
from benchmarks.stream.processes import shared
from benchmarks.stream.size import FULL, QUICK
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import DEAD_LETTERS, OUTPUT
from consumer.process.log_lines import log_to_stderr
from consumer.settings.sections import PRETRAINED
from deploy.local.services import local_services


def main() -> None:
    """Measure, print, and write the results where asked."""
    arguments = parser("stream.throughput", __doc__)
    arguments.add_argument(
        "--model", type=Path, default=PRETRAINED, help="folder (default: the shipped model)"
    )
    arguments.add_argument(
        "--plumbing", action="store_true", help="only the plumbing and where its time goes"
    )
    arguments.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="only `offramp worker --processes` with 1, 2, 4, .. and N processes",
    )
    arguments.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="of these processes"
    )
    args = arguments.parse_args()
    if args.processes is not None and args.processes < 1:
        arguments.error(f"--processes is {args.processes}, expected at least 1")
    if args.device != "cpu" and args.processes is None:
        arguments.error("--device is for --processes; give both")
    log_to_stderr("error")
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(1)
    size = QUICK if args.quick else FULL
    name = "plumbing" if args.plumbing else "stream"
    report = Report(name if args.processes is None else "processes")
    with local_services() as services:
        create_topics(services.kafka, {OUTPUT: PARTITIONS, DEAD_LETTERS: 1})
        if args.processes is not None:
            shared(report, services, args.model, args.device, args.processes, size)
            hand_in(report, args)
            return
        runs = {
            **plumbing(report, services, size),
            **tokenised(report, services, args.model, size),
        }
        if args.plumbing:
            profile(report, runs)
        else:
            jobs = whole_job(report, services, args.model, size)
            stages(report, services, {**runs, **jobs}, size)
    hand_in(report, args)


if __name__ == "__main__":
    main()
