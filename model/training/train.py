"""`offramp train`: trains, measures, and writes a model folder with its card and curves."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.batches import encode, predict, predict_logits
from model.calibration import Calibration, fit, write_calibration
from model.checkpoint.folder import load_model, save_model
from model.checkpoint.hub import locate
from model.checkpoint.tokenizer import load_tokenizer
from model.errors import InvalidOptions
from model.folder_files import CARD, CURVES
from model.training.data import open_output, plain
from model.training.fine_tune import EncodedSet, Examples, balanced_weights, evaluate, fine_tune
from model.training.output import model_card, plot_curves
from model.training.start import begin
from model.training.trainer import in_bf16, training_device
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from model.config import ModelConfig
    from model.evaluation import ExitScores
    from model.labels import Classes
    from model.training.data import Inputs
    from model.training.settings import Progress, Request

METRICS = "metrics.json"
_SOFT_LABELS = "soft_labels.safetensors"
_TEACHER_BATCH = 128


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gave."""

    config: ModelConfig
    classes: Classes
    reports: dict[str, ExitScores]
    calibration: Calibration | None
    steps: int
    training_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """Functions that a training calls to report its progress."""

    stage: Callable[[str, int], None] = lambda _name, _texts: None  # a stage begins; its texts
    advance: Callable[[int], None] = lambda _: None  # this number of texts of the stage is done
    progress: Callable[[Progress], None] = lambda _: None  # the training logged something


def train(
    request: Request,
    inputs: Inputs,
    *,
    command: Sequence[str],
    resume: bool = False,
    listener: Listener | None = None,
) -> Trained:
    """Train as asked and write the model folder: weights, tokenizer, calibration, papers.

    Args:
        request: what to do.
        inputs: what `read_inputs` has read for it.
        command: the words of the command line, for the card.
        resume: continue from the last checkpoint of the same request.
        listener: is called as the training makes progress.

    Raises:
        ModelError: the start or the settings cannot be used, or the training failed.
    """
    listener = listener or Listener()
    data, classes, extra = inputs.labelled, inputs.classes, inputs.sentences
    texts = [*data.texts, *extra]
    work = open_output(request, resume=resume)

    torch.manual_seed(request.settings.seed)
    network, tokenizer = begin(
        request, texts, work, labels=classes.names, new_heads=request.new_heads
    )
    positions = network.config.max_position_embeddings
    train_tokens = min(request.max_tokens, positions)
    eval_tokens = min(request.eval_max_tokens or train_tokens, positions)
    targets = F.one_hot(torch.tensor(data.labels), len(classes.names)).float()
    if extra:
        targets = torch.cat([targets, _taught(request, extra, classes, work, listener)])
    examples = Examples(encode(tokenizer, texts, train_tokens), targets)
    sets = {
        name: EncodedSet(encode(tokenizer, d.texts, eval_tokens), d.labels)
        for name, d in inputs.measured.items()
    }

    started = time.monotonic()
    history = fine_tune(
        network,
        examples,
        request.settings,
        work,
        loss=request.loss,
        class_weights=(
            balanced_weights(data.labels, len(classes.names)) if request.class_weights else None
        ),
        dev=next(iter(sets.values()), None),
        resume=resume,
        on_progress=listener.progress,
    )
    training_s = time.monotonic() - started
    save_model(network, tokenizer, request.out)
    saved = load_model(request.out).to(training_device())  # in fp32
    reports = {}
    for name, measured in sets.items():
        listener.stage(f"evaluating {name}", len(measured.labels))
        reports[name] = evaluate(saved, measured, done=listener.advance)
    calibration = None
    if held := inputs.calibrating:
        listener.stage("calibrating", len(held.labels))
        ids = encode(tokenizer, held.texts, eval_tokens)
        logits = predict_logits(saved, ids, done=listener.advance)
        calibration = fit(logits.numpy(), held.labels)
        write_calibration(request.out, calibration)
    steps = int(history[-1]["step"])
    outcome = Trained(network.config, classes, reports, calibration, steps, training_s)
    plot_curves(history, request.out / CURVES)
    _write_metrics(request, outcome, history)
    parameters = sum(p.numel() for p in network.parameters())
    card = model_card(request, inputs, outcome, command=command, parameters=parameters)
    (request.out / CARD).write_text(card, encoding="utf-8")
    shutil.rmtree(work)
    return outcome


def _taught(
    request: Request, texts: Sequence[str], classes: Classes, work: Path, listener: Listener
) -> Tensor:
    """Return the teacher's class probabilities, computed once and kept for a resumed training."""
    path = work / _SOFT_LABELS
    if not path.exists():
        listener.stage("teacher", len(texts))
        taught = soft_labels(
            locate(str(request.teacher), allow_pickle=request.allow_pickle),
            texts,
            exits=request.teacher_exits,
            labels=classes.names,
            max_tokens=request.max_tokens,
            bf16=in_bf16(request.settings),
            allow_pickle=request.allow_pickle,
            done=listener.advance,
        )
        safetensors.torch.save_file({"probabilities": taught.contiguous()}, path)
    return safetensors.torch.load_file(path)["probabilities"]


def soft_labels(  # noqa: PLR0913  (each is a plain setting)
    teacher: Path,
    texts: Sequence[str],
    *,
    exits: Sequence[int] | None,
    labels: Sequence[str],
    max_tokens: int,
    bf16: bool,
    allow_pickle: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Return the class probabilities a teacher gives to texts, (texts, classes).

    If both have the same labels in another order, the probabilities are in the student's order.

    Args:
        teacher: a model folder.
        texts: to be labelled.
        exits: the mean of these exits' probabilities is taken; None for the last exit.
        labels: the student's, in the order of its classes.
        max_tokens: longer texts are cut.
        bf16: run the teacher in bfloat16.
        allow_pickle: read a teacher's old pytorch_model.bin.
        done: called with the number of texts of each finished batch.

    Raises:
        ModelError: the folder cannot be loaded.
        InvalidOptions: an exit the teacher does not have, or another number of classes.
    """
    network = load_model(teacher, allow_pickle=allow_pickle)
    last = network.config.exits - 1
    chosen = [last] if exits is None else list(exits)
    for exit_ in chosen:
        if not 0 <= exit_ <= last:
            raise InvalidOptions(f"{teacher}: the teacher has no exit {exit_}, only 0..{last}")
    known = network.config.labels
    if len(known) != len(labels):
        raise InvalidOptions(
            f"{teacher}: the teacher has {counted(len(known), 'class', 'classes')}, "
            f"the student {len(labels)}; both need the same classes"
        )
    most = min(max_tokens, network.config.max_position_embeddings)
    ids = encode(load_tokenizer(teacher), texts, most)
    network.to(training_device())
    probabilities = predict(network, ids, batch_size=_TEACHER_BATCH, bf16=bf16, done=done)
    found = probabilities[:, chosen].mean(dim=1)
    return found[:, [known.index(x) for x in labels]] if set(known) == set(labels) else found


def _write_metrics(request: Request, outcome: Trained, history: Sequence[dict[str, float]]) -> None:
    metrics = {
        "request": plain(request),
        "exit_layers": outcome.config.exit_layers,
        "steps": outcome.steps,
        "training_s": round(outcome.training_s, 1),
        "reports": {name: measured.to_dict() for name, measured in outcome.reports.items()},
        "history": history,
    }
    (request.out / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
