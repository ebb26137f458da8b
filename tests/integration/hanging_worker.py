"""A worker whose model hangs at texts that begin with "hang", and fails on "poison"."""

import sys
import time

from benchmarks.free_model import FreeModel
from consumer.settings import load_settings
from consumer.wiring import run_worker


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


def main() -> None:
    """Run the worker."""
    run_worker(load_settings(), log_level="info", engine=HangingModel())


main()
