"""Runs a training through transformers' Trainer: batches, checkpoints, resuming, early stop.

The only file that knows the Trainer. What is trained, and with which loss, is a `Job`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from model.batches import LengthBatches
from model.checkpoint.weights import is_head
from model.errors import InvalidOptions, TrainingFailed
from model.training.settings import Progress, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Batch = dict[str, Tensor]

SCORE = "eval_score"
_REPORTS = 100  # a training logs about this often, and every 50 steps at least
_LONGEST_BETWEEN_REPORTS = 50


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained: a network, the length of each of its texts, and how to feed and judge it."""

    network: nn.Module
    lengths: Sequence[int]
    collate: Callable[[list[int]], Batch]  # row numbers to the inputs of one step
    loss: Callable[[nn.Module, Batch], Tensor]  # a scalar
    evaluate: Callable[[], dict[str, float]] | None = None  # has the key `score`: more is better


def run(
    job: Job,
    settings: TrainSettings,
    folder: Path,
    *,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> list[dict[str, float]]:
    """Train the job's network in place and return what was logged, in the order of steps.

    What remains in the network is the last step or, with `settings.patience`, the best
    checkpoint by its score.

    Args:
        job: what to train.
        settings: how.
        folder: where checkpoints are kept while the training runs.
        resume: continue from the last checkpoint in `folder`, if there is one.
        report: called with each log line.

    Raises:
        InvalidOptions: patience without an evaluation.
        TrainingFailed: the loss is not finite.
    """
    if settings.patience is not None and job.evaluate is None:
        raise InvalidOptions(
            f"patience is {settings.patience}, but there is nothing to evaluate on; "
            "give a file with --eval, or hold out texts"
        )
    logging.set_verbosity_error()  # the library's own notes stay off the terminal
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer = _JobTrainer(job, settings, folder)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Reporter(report, evaluates=job.evaluate is not None))
    if settings.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    trainer.train(resume_from_checkpoint=checkpoint if resume else None)
    job.network.eval()
    history: list[dict[str, float]] = trainer.state.log_history
    return history


def training_device() -> torch.device:
    """Return where networks are trained, teach and are measured: on a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def in_bf16(settings: TrainSettings) -> bool:
    """Say whether to train in bfloat16: as asked, or else if the hardware multiplies it."""
    if settings.bf16 is not None:
        return settings.bf16
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def optimizer_for(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW with its own rate for the heads, and no weight decay on biases and LayerNorm.

    Poolers and classifiers start at random on a trained encoder: at the encoder's rate the
    shallow exits learn nothing.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((is_head(name), parameter.dim() > 1), []).append(parameter)
    options: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": settings.head_rate if head else settings.body_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (head, decays), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, fused=True)


class _Trained(nn.Module):
    """A module for the Trainer to write to: it sets fields of a `config` and wraps `forward`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Tensor) -> Any:  # noqa: ANN401  (whatever the network returns)
        return self.network(*args)


class _Rows(Dataset[int]):
    """Row numbers; the collate function turns them into tensors."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> int:
        return row


class _JobTrainer(Trainer):  # type: ignore[misc]  # the library is untyped
    """The Trainer with length-sorted batches, two rates, a job's loss and a job's evaluation."""

    optimizer: torch.optim.Optimizer | None
    control: Any

    def __init__(self, job: Job, settings: TrainSettings, folder: Path) -> None:
        self._job = job
        self._settings = settings
        steps = math.ceil(len(job.lengths) / settings.batch_size) * settings.epochs
        super().__init__(
            model=_Trained(job.network),
            args=TrainingArguments(
                output_dir=str(folder),
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                warmup_steps=max(1, int(steps * settings.warmup_share)),
                lr_scheduler_type="linear",
                max_grad_norm=settings.clip_norm,
                seed=settings.seed,
                bf16=in_bf16(settings),
                use_cpu=not torch.cuda.is_available(),
                eval_strategy="steps" if job.evaluate else "no",
                eval_steps=settings.evaluate_every,
                save_strategy="steps",
                save_steps=settings.evaluate_every,
                save_total_limit=1,
                load_best_model_at_end=settings.patience is not None,
                metric_for_best_model=SCORE,
                greater_is_better=True,
                logging_steps=max(1, min(_LONGEST_BETWEEN_REPORTS, steps // _REPORTS)),
                logging_nan_inf_filter=False,
                remove_unused_columns=False,
                disable_tqdm=True,
                report_to="none",
            ),
            train_dataset=_Rows(len(job.lengths)),
            eval_dataset=_Rows(1) if job.evaluate else None,  # asked for, never read: see evaluate
            data_collator=job.collate,
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        sampler = LengthBatches(
            self._job.lengths, self._settings.batch_size, seed=self._settings.seed
        )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=sampler,
            collate_fn=self._job.collate,
            pin_memory=torch.cuda.is_available(),
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(
        self,
        model: object = None,  # noqa: ARG002  (the Trainer's signature)
    ) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = optimizer_for(self._job.network, self._settings)
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,  # noqa: FBT001, FBT002, ARG002  (the Trainer's signature)
        num_items_in_batch: object = None,  # noqa: ARG002
    ) -> Tensor:
        return self._job.loss(model, inputs)

    def evaluate(self, *_args: object, **_kwargs: object) -> dict[str, float]:
        if self._job.evaluate is None:
            return {}
        metrics = {f"eval_{name}": value for name, value in self._job.evaluate().items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class _Reporter(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Hands each log line on, stops on a loss that is not a number, evaluates at the end."""

    def __init__(self, report: Callable[[Progress], None], *, evaluates: bool) -> None:
        self._report = report
        self._evaluates = evaluates

    def on_step_end(
        self,
        args: object,  # noqa: ARG002  (the Trainer's signature)
        state: Any,  # noqa: ANN401  (TrainerState, which is untyped)
        control: Any,  # noqa: ANN401
        **_: object,
    ) -> None:
        """Evaluate after the last step, too."""
        if state.global_step >= state.max_steps and self._evaluates:
            control.should_evaluate = True

    def on_log(
        self,
        args: object,  # noqa: ARG002  (the Trainer's signature)
        state: Any,  # noqa: ANN401  (TrainerState, which is untyped)
        control: object,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        values = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if not math.isfinite(values.get("loss", 0.0)):
            raise TrainingFailed(
                f"the loss is {values['loss']} at step {state.global_step}: lower the rates"
            )
        self._report(Progress(state.global_step, state.max_steps, values))
