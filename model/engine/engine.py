"""Runs a mixed micro-batch: every text to its own exit, labels of all exits up to it."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from model.calibration import read_calibration
from model.checkpoint.folder import fingerprint, fitting_tokenizer, load_model
from model.engine.answers import NOTHING, Scales, TextResult, answers_of, results_of
from model.engine.budget import TokenBudget, batches, is_out_of_memory, run_batches
from model.engine.encoder import PackedEncoder
from model.engine.gate import run_gated
from model.engine.int8 import read_int8
from model.engine.kernels import chosen_device, chosen_precision
from model.engine.packing import on_host, pack, packing_order
from model.errors import InvalidCheckpoint, InvalidOptions
from model.tokeniser import Tokeniser, Tokens
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.config import ModelConfig

T = TypeVar("T")
Item = tuple[T, "Sequence[int]"] | tuple[T, "Sequence[int]", "Sequence[int] | None"]

_DEFAULT_BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
_LOG = logging.getLogger("offramp.engine")


@dataclass(slots=True)
class Job:
    """Texts that were asked for together, and their results up to now."""

    tokens: Tokens
    exits: NDArray[np.int64]
    gates: NDArray[np.int64]
    results: list[TextResult]
    waiting: int


@dataclass(frozen=True, slots=True)
class Part:
    """The texts of a job that run at once, in packing order."""

    job: Job
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.rows)

    def __getitem__(self, part: slice) -> Part:
        """Return some of the texts."""
        return Part(self.job, self.rows[part])


class Engine:
    """A loaded model that classifies texts up to a chosen exit each.

    One thread runs batches; `tokenise` may be called from other threads meanwhile.
    """

    def __init__(  # noqa: PLR0913  (what an operator may choose about running a model)
        self,
        folder: Path,
        *,
        device: str = "auto",
        max_tokens: int | None = None,
        precision: str = "fp32",
        max_batch_tokens: int | None = None,
        least_int8_agreement: float = 0.99,
    ) -> None:
        """Load a model folder, choose the fastest kernels for this machine, and warm up.

        Args:
            folder: config.json, model.safetensors and tokenizer.json.
            device: "auto" (CUDA if there is a GPU), "cpu" or "cuda".
            max_tokens: longer texts are cut; at most, and by default, the model's positions.
            precision: "fp32", "bf16", "auto" (bf16 if a short race proves it faster) or "int8"
                (CPU, after `model.engine.calibrate.calibrate_int8`).
            max_batch_tokens: how many tokens run at once, which bounds the memory of a batch.
            least_int8_agreement: share of labels, at every exit, on which int8 must equal fp32.

        Raises:
            InvalidOptions: the model or this machine does not support an argument.
            ModelError: the folder cannot be loaded, int8 does not suit this model, or
                one text of `max_tokens` does not fit into memory.
        """
        self.fingerprint = fingerprint(folder)
        self.device = chosen_device(device)
        network = load_model(folder)
        self.config: ModelConfig = network.config
        self.precision = chosen_precision(precision, self.device, width=self.config.hidden_size)
        calibration = read_calibration(folder, exits=self.config.exits)
        self._scales = None if calibration is None else Scales.of(calibration, self.device)
        limit = self.config.max_position_embeddings
        self.max_tokens = limit if max_tokens is None else max_tokens
        if not 3 <= self.max_tokens <= limit:  # noqa: PLR2004  ([CLS], one token, [SEP])
            raise InvalidOptions(f"max_tokens is {max_tokens}, but this model takes 3..{limit}")
        usual = max(_DEFAULT_BATCH_TOKENS[self.device.type], self.max_tokens)
        most = usual if max_batch_tokens is None else max_batch_tokens
        if most < self.max_tokens:
            raise InvalidOptions(
                f"max_batch_tokens is {most}, "
                f"less than the {self.max_tokens} that one text may have"
            )
        self._budget = TokenBudget(most, least=self.max_tokens)
        ranges = None
        if self.precision == "int8":
            ranges = read_int8(
                folder,
                self.config,
                fingerprint=self.fingerprint,
                least_agreement=least_int8_agreement,
            )
        tokenizer = fitting_tokenizer(folder, self.config)
        self._tokeniser = Tokeniser(tokenizer, max_tokens=self.max_tokens)
        with torch.inference_mode():
            self.encoder = PackedEncoder(
                network, precision=self.precision, device=self.device, ranges=ranges
            )
        self._warm_up(str(folder))

    @property
    def calibrated(self) -> bool:
        """Whether the model has a calibration: scores are calibrated, and results have credits."""
        return self._scales is not None

    @property
    def max_batch_tokens(self) -> int:
        """How many tokens run at once at present: less for a while after a lack of memory."""
        return self._budget.tokens

    def run(
        self, texts: Sequence[str], exits: Sequence[int], gates: Sequence[int] | None = None
    ) -> list[TextResult]:
        """Classify `texts[i]` up to exit `exits[i]`; results in input order.

        Args:
            texts: what to classify.
            exits: where each text stops at the latest.
            gates: the score at which each text stops at an earlier exit, in thousandths: it stops
                at the first one where round(1000 * score) is as large. 0 never stops a text.

        Raises:
            ValueError: a different number of texts and exits or gates, an exit the model does not
                have, or a gate below 0.
            OutOfMemory: one text alone does not fit into the device's memory.
        """
        self._check(len(texts), exits, gates)
        return self.run_tokens(self.tokenise(texts), exits, gates)

    def run_stream(self, items: Iterable[Item[Sequence[str]]]) -> Iterator[list[TextResult]]:
        """Run one (texts, exits) or (texts, exits, gates) after the other.

        The next texts are tokenised while some are classified.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="tokeniser") as thread:
            yield from self.run_token_stream(self._tokenised(items, thread))

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return the token ids of texts; may be called from another thread, beside inference."""
        return self._tokeniser.encode(texts)

    def run_tokens(
        self, tokens: Tokens, exits: Sequence[int], gates: Sequence[int] | None = None
    ) -> list[TextResult]:
        """Classify texts that are already tokenised, as `run` does."""
        return next(self.run_token_stream([(tokens, exits, gates)]))

    def run_token_stream(self, items: Iterable[Item[Tokens]]) -> Iterator[list[TextResult]]:
        """Run one (tokens, exits) or (tokens, exits, gates) after the other.

        The next texts are packed while some are classified.
        """
        todo = (part for item in items for part in self._parts(*item))
        for part, answers in run_batches(todo, self._launch):
            self._budget.went_well()
            job = part.job
            for i, result in answers:
                job.results[i] = result
            job.waiting -= len(part)
            if not job.waiting:
                yield job.results

    def _tokenised(
        self, items: Iterable[Item[Sequence[str]]], thread: ThreadPoolExecutor
    ) -> Iterator[Item[Tokens]]:
        ahead = None
        for texts, *how in items:
            self._check(len(texts), *how)
            following = (thread.submit(self.tokenise, texts), how)
            if ahead is not None:
                yield ahead[0].result(), *ahead[1]
            ahead = following
        if ahead is not None:
            yield ahead[0].result(), *ahead[1]

    def _parts(
        self, tokens: Tokens, exits: Sequence[int], gates: Sequence[int] | None = None
    ) -> Iterator[Part]:
        self._check(len(tokens), exits, gates)
        count = len(tokens)
        gates = [0] * count if gates is None else gates
        ends, scores = (np.asarray(column, dtype=np.int64) for column in (exits, gates))
        job = Job(tokens, ends, scores, [NOTHING] * count, count)
        if not len(tokens):
            yield Part(job, job.exits)
        order = packing_order(tokens.lengths, job.exits)
        for rows in batches(order, tokens.lengths, max_tokens=self.max_batch_tokens):
            yield Part(job, rows)

    def _warm_up(self, where: str) -> None:
        """Run the longest text and the shortest ones: the first of a stream then wait for nothing.

        Kernels are loaded or built at their first use, which takes seconds on a GPU.

        Raises:
            InvalidCheckpoint: the model's answers are no numbers.
        """
        start = time.perf_counter()
        exits = range(self.config.exits)
        texts = ["a " * self.max_tokens, *[""] * len(exits)]
        for result in self.run(texts, [exits[-1], *exits]):
            for exit_, score in enumerate(result.scores):
                if not math.isfinite(score):
                    raise InvalidCheckpoint(
                        f"{where}: the answer of exit {exit_} to a plain text is not a number"
                    )
        _LOG.info(
            "ready device=%s precision=%s attention=%s norm=%s gelu=%s max_tokens=%d "
            "max_batch_tokens=%d warm_up_ms=%.0f",
            self.device.type,
            self.precision,
            self.encoder.attention,
            self.encoder.norm,
            self.encoder.gelu,
            self.max_tokens,
            self.max_batch_tokens,
            (time.perf_counter() - start) * 1000,
        )

    def _launch(self, part: Part) -> Callable[[], Iterable[tuple[int, TextResult]]]:
        """Start a batch; the returned function waits for its results, each with its text."""
        if not len(part):
            return tuple
        tokens, rows, layers = part.job.tokens, part.rows, self.config.exit_layers
        exits, gates = part.job.exits[rows], part.job.gates[rows]
        try:
            with torch.inference_mode():
                batch = pack(tokens, rows, exits, exit_layers=layers, device=self.device)
                if gates.any():
                    lengths = tokens.lengths[rows]
                    batch, logits, order = run_gated(
                        self.encoder, self._scales, batch, lengths=lengths, exits=exits, gates=gates
                    )
                    rows = rows[order]
                else:
                    logits = self.encoder.forward(batch)
                blocks = (answers_of(block, self._scales) for block in logits)
                answers = on_host(torch.cat([said.flatten() for block in blocks for said in block]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            held = int(tokens.lengths[rows].sum())
            self._budget.failed(held)
            _LOG.warning("out_of_memory tokens=%d now_at_most=%d", held, self.max_batch_tokens)
            raise
        return lambda: zip(rows.tolist(), results_of(batch, answers(), tokens, rows), strict=True)

    def _check(self, texts: int, exits: Sequence[int], gates: Sequence[int] | None = None) -> None:
        if texts != len(exits):
            raise ValueError(f"{counted(texts, 'text')} but {counted(len(exits), 'exit')}")
        if gates is not None and texts != len(gates):
            raise ValueError(f"{counted(texts, 'text')} but {counted(len(gates), 'gate')}")
        if gates is not None and min(gates, default=0) < 0:
            raise ValueError(f"a gate is {min(gates)}, expected 0 (none) or a score in thousandths")
        last = self.config.exits - 1
        for exit_ in set(exits):
            if not 0 <= exit_ <= last:
                raise ValueError(f"this model has no exit {exit_}, only 0..{last}")
