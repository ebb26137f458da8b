"""A worker that ends or freezes itself at a step of a commit; started by the storm.

Its model is a few lines: the storm is about the stream, and a worker that needs no torch starts
many times in a minute. CRASH_AT names the step, CRASH_AFTER how often it is passed before, CRASH_BY
the signal.
"""

import os
import signal

from benchmarks.free_model import FreeModel
from consumer.settings.load import load_settings
from consumer.worker.run import run_worker


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

    run_worker(load_settings(), log_level="info", engine=FreeModel(), reached=reached)


main()
