"""Runs a mixed micro-batch: every text to its own exit, labels of all exits up to it."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.calibration import read_calibration
from model.checkpoint.folder import fingerprint, fitting_tokenizer, load_model
from model.engine.answers import NOTHING, Scales, TextResult, answers_of, results_of
from model.engine.budget import TokenBudget, batches, is_out_of_memory, run_batches
from model.engine.encoder import PackedEncoder
from model.engine.int8 import read_int8
from model.engine.kernels import chosen_device, chosen_precision
from model.engine.packing import on_host, pack, packing_order
from model.errors import InvalidCheckpoint, InvalidOptions
from model.tokeniser import Tokeniser, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.config import ModelConfig

_DEFAULT_BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
_LOG = logging.getLogger("offramp.engine")


@dataclass(slots=True)
class Job:
    """Texts that were asked for together, and what came back of them up to now."""

    tokens: Tokens
    exits: NDArray[np.int64]
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

    One thread runs batches; `tokenise` may be called from others beside it.
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
            device: "auto" (CUDA where there is one), "cpu" or "cuda".
            max_tokens: longer texts are cut; at most, and by default, the model's positions.
            precision: "fp32", "bf16", "auto" (bf16 where a short race shows it faster) or "int8"
                (CPU, after `model.engine.calibrate.calibrate_int8`).
            max_batch_tokens: how many tokens run at once, which bounds the memory of a batch.
            least_int8_agreement: share of labels, at every exit, on which int8 must equal fp32.

        Raises:
            InvalidOptions: an argument is not one that the model or this machine can take.
            ModelError: the folder cannot be loaded, int8 is asked and not fit for this model, or
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
            raise InvalidOptions(f"max_tokens is {max_tokens}, this model takes 3..{limit}")
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

    def run(self, texts: Sequence[str], exits: Sequence[int]) -> list[TextResult]:
        """Classify `texts[i]` up to exit `exits[i]`; results in input order.

        Raises:
            ValueError: a different number of texts and exits, or an exit the model does not have.
            OutOfMemory: one text alone does not fit into the device's memory.
        """
        self._check(len(texts), exits)
        return self.run_tokens(self.tokenise(texts), exits)

    def run_stream(
        self, items: Iterable[tuple[Sequence[str], Sequence[int]]]
    ) -> Iterator[list[TextResult]]:
        """Run one (texts, exits) after the other; the next is tokenised while one is classified."""
        with ThreadPoolExecutor(1, thread_name_prefix="tokeniser") as thread:
            yield from self.run_token_stream(self._tokenised(items, thread))

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return the token ids of texts; may be called from another thread, beside inference."""
        return self._tokeniser.encode(texts)

    def run_tokens(self, tokens: Tokens, exits: Sequence[int]) -> list[TextResult]:
        """Classify texts that are already tokenised; results in input order.

        Raises:
            ValueError: a different number of texts and exits, or an exit the model does not have.
            OutOfMemory: one text alone does not fit into the device's memory.
        """
        return next(self.run_token_stream([(tokens, exits)]))

    def run_token_stream(
        self, items: Iterable[tuple[Tokens, Sequence[int]]]
    ) -> Iterator[list[TextResult]]:
        """Run one (tokens, exits) after the other; the next is packed while one is classified."""
        todo = (part for tokens, exits in items for part in self._parts(tokens, exits))
        for part, answers in run_batches(todo, self._launch):
            self._budget.went_well()
            job = part.job
            for i, result in zip(part.rows.tolist(), answers, strict=True):
                job.results[i] = result
            job.waiting -= len(part)
            if not job.waiting:
                yield job.results

    def _tokenised(
        self, items: Iterable[tuple[Sequence[str], Sequence[int]]], thread: ThreadPoolExecutor
    ) -> Iterator[tuple[Tokens, Sequence[int]]]:
        ahead = None
        for texts, exits in items:
            self._check(len(texts), exits)
            following = (thread.submit(self.tokenise, texts), exits)
            if ahead is not None:
                yield ahead[0].result(), ahead[1]
            ahead = following
        if ahead is not None:
            yield ahead[0].result(), ahead[1]

    def _parts(self, tokens: Tokens, exits: Sequence[int]) -> Iterator[Part]:
        self._check(len(tokens), exits)
        job = Job(tokens, np.asarray(exits, dtype=np.int64), [NOTHING] * len(tokens), len(tokens))
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
                        f"{where}: what exit {exit_} says of a plain text is not a number"
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

    def _launch(self, part: Part) -> Callable[[], Iterable[TextResult]]:
        """Start a batch; the returned function waits for its results."""
        if not len(part):
            return tuple
        tokens = part.job.tokens
        try:
            with torch.inference_mode():
                batch = pack(
                    tokens,
                    part.rows,
                    part.job.exits[part.rows],
                    exit_layers=self.config.exit_layers,
                    device=self.device,
                )
                blocks = (answers_of(block, self._scales) for block in self.encoder.forward(batch))
                answers = on_host(torch.cat([said.flatten() for block in blocks for said in block]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            held = int(tokens.lengths[part.rows].sum())
            self._budget.failed(held)
            _LOG.warning("out_of_memory tokens=%d now_at_most=%d", held, self.max_batch_tokens)
            raise
        return lambda: results_of(batch, answers(), tokens, part.rows)

    def _check(self, texts: int, exits: Sequence[int]) -> None:
        if texts != len(exits):
            raise ValueError(f"{texts} texts but {len(exits)} exits")
        last = self.config.exits - 1
        for exit_ in set(exits):
            if not 0 <= exit_ <= last:
                raise ValueError(f"exit {exit_} asked, this model has exits 0..{last}")
