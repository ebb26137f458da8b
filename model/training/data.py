"""What a training reads and the folder that it writes, checked before torch is imported."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from model.checkpoint.hub import locate
from model.config import read_config
from model.errors import InvalidData, InvalidOptions, TrainingFailed
from model.folder_files import read_object
from model.labels import CALIBRATE_LEAST, check_enough, classes_of
from model.texts.data import read_labelled, read_named, read_sentences, read_texts, set_name
from model.texts.formats import Format

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from model.labels import Classes
    from model.texts.data import LabelledTexts
    from model.training.settings import PretrainRequest, Request

HELD_MOST = 2000
"""Texts held out at most: enough to tell two models apart that differ by two percent."""

CALIBRATE_FROM = 2000
"""Of fewer texts none are held out to calibrate on: training needs them more."""

_CALIBRATE_SHARE, _CALIBRATE_WANTED, _CALIBRATE_MOST = 0.05, 210, 2000

CHECKPOINTS = "checkpoints"
_REQUEST = "request.json"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a training reads from files."""

    labelled: LabelledTexts  # to train on
    sentences: Sequence[str]  # to train on, once the teacher has labelled them
    classes: Classes
    measured: dict[str, LabelledTexts]  # to measure on, by the names that tables give them
    calibrating: LabelledTexts | None  # to calibrate on


def read_inputs(request: Request, *, resume: bool = False) -> Inputs:
    """Check the output folder of a training, find the models it starts from, and read its files.

    Raises:
        ModelError: the output folder, a file or a model cannot be used.
    """
    check_output(request, resume=resume)
    others = replace(request.layout, format=Format.AUTO)  # each has the format of its name
    named = read_named(request.data, request.layout)
    models = [
        read_config(locate(model, allow_pickle=request.allow_pickle)).labels
        for model in (request.start, request.teacher)
        if isinstance(model, str)
    ]
    where = str(request.data)
    classes = classes_of(named.labels, where=where, named=request.labels, known=models)
    labelled = named.numbered(classes)
    measured: dict[str, LabelledTexts] = {}
    for path in request.evaluate_on:
        name = set_name(path)
        if name in measured:
            raise InvalidOptions(
                f"--eval {path}: tables would call two files {name}; rename one of them"
            )
        measured[name] = read_labelled(path, classes=classes, layout=others)
    seed = request.settings.seed
    if request.hold_out and not measured:
        labelled, held = labelled.split(request.hold_out, most=HELD_MOST, seed=seed)
        measured = {held_name(request.data): held} if held.texts else {}
    if request.calibrate_on is None:
        labelled, calibrating = _to_calibrate(labelled, len(named.texts), seed=seed)
    else:
        calibrating = read_labelled(request.calibrate_on, classes=classes, layout=others)
        try:
            check_enough(calibrating.labels)
        except InvalidData as error:
            raise InvalidData(f"--calibrate {request.calibrate_on}: {error}") from error
    sentences = [
        sentence
        for file in request.unlabelled
        for sentence in read_sentences(file.path, file.most, seed=seed, layout=others)
    ]
    return Inputs(labelled, sentences, classes, measured, calibrating)


def _to_calibrate(
    labelled: LabelledTexts, texts: int, *, seed: int
) -> tuple[LabelledTexts, LabelledTexts | None]:
    """Return what is left to train on, and a part to calibrate on if the file has many texts."""
    if texts < CALIBRATE_FROM:
        return labelled, None
    wanted = min(max(_CALIBRATE_SHARE * texts, _CALIBRATE_WANTED), _CALIBRATE_MOST)
    left, held = labelled.split(1, most=int(wanted), seed=seed)
    return (left, held) if len(held.labels) >= CALIBRATE_LEAST else (labelled, None)


def read_pretraining(request: PretrainRequest, *, resume: bool = False) -> tuple[str, ...]:
    """Check the output folder of a pre-training, find the model it starts from, read its texts.

    Raises:
        ModelError: the output folder, the file or the model cannot be used.
    """
    check_output(request, resume=resume)
    texts = read_texts(request.texts, request.layout)
    if isinstance(request.start, str):
        locate(request.start, allow_pickle=request.allow_pickle)
    return texts


def held_name(path: Path) -> str:
    """Return the name that tables give to texts that were held out of a file.

    >>> from pathlib import Path
    >>> held_name(Path("data/sst2/train.tsv"))
    'sst2/train held out'
    """
    return f"{set_name(path)} held out"


def plain(request: Request | PretrainRequest) -> dict[str, Any]:
    """Return a request as plain values, as JSON has them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(request), default=str))
    return values


def check_output(request: Request | PretrainRequest, *, resume: bool) -> None:
    """Make sure that a training may write its output folder.

    A training that stopped before its first checkpoint does not block another one.

    Raises:
        InvalidOptions: the folder is in use, or its training was asked for something else.
        TrainingFailed: there is nothing to resume.
    """
    out, work = request.out, request.out / CHECKPOINTS
    if resume:
        if not (work / _REQUEST).exists():
            raise TrainingFailed(f"{out}: no training to resume; start it without --resume")
        before = read_object(work / _REQUEST, error=TrainingFailed)
        now = plain(request)
        if changed := sorted(name for name in now if now[name] != before.get(name)):
            raise InvalidOptions(
                f"{out}: cannot resume with another value of {', '.join(changed)}; "
                "repeat the options that the training was started with"
            )
        return
    left = set(out.iterdir()) if out.exists() else set()
    if left and (left != {work} or any(work.glob("checkpoint-*"))):
        raise InvalidOptions(
            f"{out}: is not empty; name another folder, or continue its training with --resume"
        )


def open_output(request: Request | PretrainRequest, *, resume: bool) -> Path:
    """Check the output folder and return its folder for checkpoints, which is new unless `resume`.

    Raises:
        ModelError: as `check_output`.
    """
    check_output(request, resume=resume)
    work = request.out / CHECKPOINTS
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        text = json.dumps(plain(request), indent=2)
        (work / _REQUEST).write_text(text + "\n", encoding="utf-8")
    return work
