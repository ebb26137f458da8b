"""Multi-exit fine-tuning: encoded texts and their class probabilities into a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.batches import pad, predict
from model.evaluation import ExitScores, report
from model.training.losses import Loss, add_equilibrium, combined_loss
from model.training.trainer import Job, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from model.network import MultiExitEncoder
    from model.training.settings import Progress, TrainSettings


@dataclass(frozen=True, slots=True)
class Examples:
    """Encoded texts and, for each, the probabilities of the classes: one-hot, or a teacher's."""

    token_ids: Sequence[Sequence[int]]
    targets: Tensor  # (texts, classes)


@dataclass(frozen=True, slots=True)
class EncodedSet:
    """Encoded texts and their classes, for evaluation."""

    token_ids: Sequence[Sequence[int]]
    labels: Sequence[int]


def fine_tune(  # noqa: PLR0913  (each is a plain setting with a default)
    network: MultiExitEncoder,
    examples: Examples,
    settings: TrainSettings,
    folder: Path,
    *,
    loss: Loss = Loss.SUM,
    class_weights: Tensor | None = None,
    dev: EncodedSet | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[dict[str, float]]:
    """Train `network` in place; return what was logged.

    Args:
        network: all of its exits are trained together.
        examples: what to learn.
        settings: how to train.
        folder: for checkpoints while the training runs.
        loss: how the exits' losses become one.
        class_weights: of each class, (classes,).
        dev: evaluated every `settings.evaluate_every` steps; the score is the mean accuracy
            over the exits.
        resume: go on from the last checkpoint in `folder`, if it came to one.
        on_progress: called with each log line.

    Raises:
        InvalidOptions: settings that do not go together.
        TrainingFailed: the loss is not finite.
    """
    layers = network.config.exit_layers

    def collate(rows: list[int]) -> dict[str, Tensor]:
        ids, mask = pad([examples.token_ids[i] for i in rows], network.config.pad_token_id)
        return {"token_ids": ids, "attention_mask": mask, "targets": examples.targets[rows]}

    def loss_of(trained: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        logits = trained(batch["token_ids"], batch["attention_mask"])
        weights = None if class_weights is None else class_weights.to(batch["targets"].device)
        return combined_loss(logits, batch["targets"], loss, layers=layers, class_weights=weights)

    def evaluate_dev() -> dict[str, float]:
        if dev is None:
            return {}
        measured = evaluate(network, dev, bf16=settings.bf16)
        per_exit = {f"accuracy_exit_{i}": value for i, value in enumerate(measured.accuracy)}
        return {"score": measured.mean_accuracy, **per_exit}

    job = Job(
        network=network,
        lengths=[len(ids) for ids in examples.token_ids],
        collate=collate,
        loss=loss_of,
        evaluate=None if dev is None else evaluate_dev,
    )
    hooks = add_equilibrium(network) if loss is Loss.EQUILIBRIUM else []
    try:
        return run(job, settings, folder, resume=resume, report=on_progress)
    finally:
        for hook in hooks:
            hook.remove()


def evaluate(
    network: MultiExitEncoder,
    texts: EncodedSet,
    *,
    bf16: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> ExitScores:
    """Return what every exit is worth on labelled texts."""
    probabilities = predict(network, texts.token_ids, bf16=bf16, done=done)
    return report(probabilities.argmax(-1).numpy(), texts.labels)
