"""Several processes that share a GPU, each with its own context, with and without MPS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypeVar

import torch

from benchmarks.engine.model import workload
from benchmarks.gpu.findings import Request, note, row, told
from model.engine.engine import Engine

T = TypeVar("T")

_PROGRAM = "import sys; from benchmarks.gpu.processes import work; work(sys.argv[1])"
_CONTROL = "nvidia-cuda-mps-control"
_TEXTS = 256  # a call, as a worker's micro-batch
_JOBS = {  # what a process does, and to which layer
    "tokens ready, layer 3": ("tokens", 3),
    "tokenised, layer 3": ("texts", 3),
    "tokenised, layer 1": ("texts", 1),
    "tokens ready, layer 12": ("tokens", 12),
    "tokenised, layer 12": ("texts", 12),
}


def measure(request: Request) -> None:
    """Measure processes that take turns on the GPU, then the same under MPS."""
    row("Cores", cores=os.cpu_count())
    with told("processes without MPS"):
        _together(request, "no", {})
    if not request.on_gpu or shutil.which(_CONTROL) is None:
        note(f"MPS is left out: no {_CONTROL} here")
        return
    with told("processes under MPS"), _mps() as environment:
        _together(request, "yes", environment)


def work(request: str) -> None:
    """Be one of the processes: say what it holds, then run what each line of stdin asks for."""
    asked = Request(**json.loads(request))
    torch.set_num_threads(1)
    engine = Engine(asked.model, device=asked.device, precision=asked.precision)
    load = workload("short", _TEXTS if asked.on_gpu else 8)
    tokens = engine.tokenise(load.texts)
    held = torch.cuda.memory_reserved() if asked.on_gpu else 0
    weights = torch.cuda.memory_allocated() if asked.on_gpu else 0
    print(json.dumps({"held": held, "weights": weights}), flush=True)
    for line in sys.stdin:
        kind, layer, seconds = json.loads(line)
        exits = [layer - 1] * len(load.texts)
        end = time.perf_counter() + seconds
        begun = time.perf_counter()
        if kind == "tokens":
            texts = sum(map(len, engine.run_token_stream(_until(end, (tokens, exits)))))
        else:
            texts = sum(map(len, engine.run_stream(_until(end, (load.texts, exits)))))
        print(json.dumps(texts / (time.perf_counter() - begun)), flush=True)


def _until(end: float, item: T) -> Iterator[T]:
    while time.perf_counter() < end:
        yield item


def _together(request: Request, mps: str, environment: Mapping[str, str]) -> None:
    counts = (1, 2, 4, 8) if request.on_gpu else (1, 2)
    seconds = 0.6 if request.on_gpu and not request.quick else 0.2
    free = _free(request)
    workers = [_start(request, environment) for _ in range(counts[-1])]
    try:
        ready = [json.loads(_answer(worker)) for worker in workers]
        taken = (free - _free(request)) / len(workers)
        held = sum(one["held"] for one in ready) / len(ready)
        row(
            "GPU memory of a process, MiB",
            mps=mps,
            processes=len(workers),
            model=_mib(ready[0]["weights"]),
            torch_holds=_mib(held),
            context=_mib(taken - held),
            all=_mib(taken),
        )
        for what, (kind, layer) in _JOBS.items():
            _ask(workers, (kind, layer, seconds))  # so that all are warm
            rates = {count: sum(_ask(workers[:count], (kind, layer, seconds))) for count in counts}
            row(
                "Processes that share the GPU, short texts, texts/s",
                mps=mps,
                what=what,
                **{str(count): round(rate) for count, rate in rates.items()},
            )
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _ask(workers: list[subprocess.Popen[str]], job: tuple[str, int, float]) -> list[float]:
    for worker in workers:
        stream = _pipe(worker.stdin)
        stream.write(json.dumps(job) + "\n")
        stream.flush()
    return [float(json.loads(_answer(worker))) for worker in workers]


def _answer(worker: subprocess.Popen[str]) -> str:
    for line in _pipe(worker.stdout):
        if line[0] in "{0123456789":
            return line
    raise RuntimeError(f"a process ended with status {worker.wait()}")


def _start(request: Request, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  (ourselves)
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(request))],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _mps() -> Iterator[dict[str, str]]:
    """Run the MPS daemon under a separate folder; yields the environment of its clients."""
    with tempfile.TemporaryDirectory(prefix="mps") as folder:
        own = {
            "CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe",
            "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log",
        }
        for path in own.values():
            Path(path).mkdir()
        everything = {**os.environ, **own}
        quiet = subprocess.DEVNULL  # the daemon would keep our pipes open
        subprocess.run(  # noqa: S603  (the driver's)
            [_CONTROL, "-d"],
            env=everything,
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            check=True,
            timeout=20,
        )
        try:
            yield own
            servers = _control("get_server_list", everything)
            note(f"MPS servers at the end: {' '.join(servers.split()) or 'none'}")
        finally:
            for log in sorted(Path(own["CUDA_MPS_LOG_DIRECTORY"]).glob("*.log")):
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                note(f"MPS {log.name}: {lines[-1] if lines else 'empty'}")
            _control("quit -t 2", everything)


def _control(command: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(  # noqa: S603  (the driver's)
        [_CONTROL],
        input=command + "\n",
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=20,
    )
    return done.stdout


def _free(request: Request) -> int:
    return int(torch.cuda.mem_get_info()[0]) if request.on_gpu else 0


def _mib(size: float) -> int:
    return round(size / 2**20)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
