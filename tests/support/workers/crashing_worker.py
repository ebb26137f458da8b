"""A worker that ends or freezes itself at a step of a commit; started by the storm.

Its model is a few lines: the storm is about the stream, and a worker that needs no torch starts
many times in a minute. CRASH_AT names the step, CRASH_AFTER how often it is passed before, CRASH_BY
the signal. MODEL_OF_NEXT_RELEASE gives the same model the fingerprint of another.
"""

import os
import signal
from dataclasses import replace

from benchmarks.free_model import FreeModel
from consumer.settings.load import load_settings
from consumer.worker.run import run_worker


class SureModel(FreeModel):
    """The same with a calibration: it is 90 % sure, and may be told to stop there."""

    fingerprint = "sure-model"
    calibrated = True

    def run_tokens(self, texts, exits, gates=None):
        """Classify texts up to an exit each, or up to the first one if the gate allows it."""
        asked = gates or [0] * len(texts)
        stops = [0 if 0 < gate <= 900 else e for e, gate in zip(exits, asked, strict=True)]
        found = super().run_tokens(texts, stops)
        return [replace(one, credits=(0,) * len(one.labels)) for one in found]


def main() -> None:
    """Run the worker."""
    step, left = os.environ.get("CRASH_AT", ""), int(os.environ.get("CRASH_AFTER", "0"))
    number = signal.Signals[os.environ.get("CRASH_BY", "SIGKILL")]

    def reached(name: str) -> None:
        nonlocal left
        if name != step:
            return
        if left == 0:
            os.kill(os.getpid(), number)
        left -= 1

    settings = load_settings()
    model = SureModel() if settings.policy.gate else FreeModel()
    if fingerprint := os.environ.get("MODEL_OF_NEXT_RELEASE"):
        model.fingerprint = fingerprint
    run_worker(settings, log_level="info", engine=model, reached=reached)


main()
