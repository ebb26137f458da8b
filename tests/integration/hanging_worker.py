"""A worker whose model hangs at texts that begin with "hang"."""

import time

from benchmarks.free_model import FreeModel
from consumer.settings import load_settings
from consumer.wiring import run_worker


class HangingModel(FreeModel):
    """Comes to no end in this test's time."""

    def run_tokens(self, texts, exits):
        """Classify, or hang."""
        if any(text.startswith("hang") for text in texts):
            time.sleep(600)
        return super().run_tokens(texts, exits)


def main() -> None:
    """Run the worker."""
    run_worker(load_settings(), log_level="info", engine=HangingModel())


main()
