"""Multi-exit fine-tuning: what a network learns, how the losses of its exits become one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.batches import pad, predict
from model.evaluation import ExitScores, report
from model.training.settings import Loss
from model.training.trainer import Job, in_bf16, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch.utils.hooks import RemovableHandle

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
        resume: continue from the last checkpoint in `folder`, if there is one.
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
        measured = evaluate(network, dev, bf16=in_bf16(settings))
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


def combined_loss(
    logits: Sequence[Tensor],
    targets: Tensor,
    kind: Loss,
    *,
    layers: Sequence[int],
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the loss over all exits, a scalar.

    Args:
        logits: of each exit, (B, classes).
        targets: class probabilities, (B, classes): one-hot, or a teacher's.
        kind: how the exits' losses become one.
        layers: the layer of each exit, for `Loss.WEIGHTED`.
        class_weights: of each class, (classes,).
    """
    per_exit = torch.stack(
        [F.cross_entropy(x.float(), targets, weight=class_weights) for x in logits]
    )  # (exits,)
    if kind is Loss.WEIGHTED:
        weights = per_exit.new_tensor(layers)
        return (per_exit * weights / weights.mean()).sum()
    if kind is Loss.DISTILLED and len(logits) > 1:
        taught = logits[-1].detach().float().softmax(-1)
        from_last = torch.stack([F.cross_entropy(x.float(), taught) for x in logits[:-1]])
        return per_exit[-1] + (per_exit[:-1] + from_last).sum() / 2
    return per_exit.sum()


def balanced_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Return class weights under which every class counts the same; 1 for equal classes."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    return len(labels) / (classes * counts.clamp(min=1))


def add_equilibrium(network: MultiExitEncoder) -> list[RemovableHandle]:
    """Rescale gradients on their way back, so that each layer gets a mean over exits, not a sum.

    With r exits from here on, the gradient through an exit's layer counts 1/r for the exit itself
    and (r - 1)/r for what lies behind it. The forward result is unchanged.
    """
    layers = network.elasticbert.encoder.layer
    exits = network.config.exit_layers
    handles = []
    for index, layer in enumerate(exits):
        remaining = len(exits) - index
        handles.append(
            layers[layer - 1].register_forward_hook(partial(_scale_output, factor=1 / remaining))
        )
        if layer < len(layers):
            handles.append(
                layers[layer].register_forward_pre_hook(partial(_scale_input, factor=remaining - 1))
            )
    return handles


def _scale_output(_module: object, _args: object, output: Tensor, *, factor: float) -> Tensor:
    return _scaled_gradient(output, factor)


def _scale_input(_module: object, args: tuple[Any, ...], *, factor: float) -> tuple[Any, ...]:
    return (_scaled_gradient(args[0], factor), *args[1:])


def _scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """Return `x` itself; its gradient is multiplied by `factor` on the way back."""
    if x.requires_grad:
        x = x.view_as(x)
        x.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    return x
