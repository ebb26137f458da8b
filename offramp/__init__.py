"""What users import: a processing step for any host that has texts in micro-batches.

All else, in `consumer`, `model` and `policy_state`, is internal and changes without notice.
"""

from typing import TYPE_CHECKING

from consumer.events.predictions import encode_prediction
from consumer.events.record import Record
from consumer.offramp import Offramp
from consumer.settings.load import Settings, load_settings

if TYPE_CHECKING:
    from model.engine.engine import Engine

__all__ = ["Engine", "Offramp", "Record", "Settings", "encode_prediction", "load_settings"]


def __getattr__(name: str) -> object:
    """Return the engine, which takes seconds to import: only who asks for it waits for torch."""
    if name == "Engine":
        from model.engine.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
