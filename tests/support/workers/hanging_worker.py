"""A worker whose model hangs at texts that begin with "hang", and fails on "poison".

On SIGUSR1 its main thread hangs in a library written in C, which lets no handler of Python run.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.free_model import FreeModel
from consumer.settings.load import load_settings
from consumer.worker.run import run_worker


class HangingModel(FreeModel):
    """Comes to no end in this test's time."""

    def run_tokens(self, texts, exits):
        """Classify, hang, or fail on the whole batch."""
        if any(text.startswith("hang") for text in texts):
            sys.stderr.write("hangs\n")
            time.sleep(600)
        if any(text.startswith("poison") for text in texts):
            raise ValueError("cannot take this")
        return super().run_tokens(texts, exits)


def hang(*_: object) -> None:
    """Come to no end in this test's time, with other threads running."""
    sys.stderr.write("hangs\n")
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def hold(step: str) -> None:
    """Wait before the offsets go into a transaction, as long as there is the file HOLD."""
    hold_file = Path(os.environ.get("HOLD", "none"))
    if step == "offsets" and hold_file.exists():
        sys.stderr.write("holds\n")
        while hold_file.exists():
            time.sleep(0.05)


def main() -> None:
    """Run the worker."""
    signal.signal(signal.SIGUSR1, hang)
    run_worker(load_settings(), log_level="info", engine=HangingModel(), reached=hold)


main()
