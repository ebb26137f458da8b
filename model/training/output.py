"""The output folder of a training: its checkpoints, and the request that they belong to."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from model.errors import InvalidOptions, TrainingFailed
from model.folder_files import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHECKPOINTS = "checkpoints"
_REQUEST = "request.json"


def open_output(out: Path, request: Mapping[str, Any], *, resume: bool) -> Path:
    """Return the folder for checkpoints in `out`, made anew or as a stopped training left it.

    What a training left that never came to a checkpoint is no obstacle to another one.

    Raises:
        InvalidOptions: `out` is in use, or its training was asked for something else.
        TrainingFailed: there is nothing to resume.
    """
    work = out / CHECKPOINTS
    path = work / _REQUEST
    if resume:
        if not path.exists():
            raise TrainingFailed(f"{out}: no training to resume")
        before = read_object(path, error=TrainingFailed)
        changed = sorted(name for name in request if request[name] != before.get(name))
        if changed:
            raise InvalidOptions(f"{out}: cannot resume with another value of {', '.join(changed)}")
        return work
    left = set(out.iterdir()) if out.exists() else set()
    if left == {work} and not any(work.glob("checkpoint-*")):
        shutil.rmtree(work)
    elif left:
        raise InvalidOptions(f"{out}: is not empty; give another folder, or --resume its training")
    work.mkdir(parents=True)
    path.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")
    return work
