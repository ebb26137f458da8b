"""Memory and use of the GPU that the model runs on."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from consumer.metrics.catalogue import GPU_BUSY, GPU_TOTAL, GPU_USED

if TYPE_CHECKING:
    from consumer.metrics.catalogue import Key


def gpu_figures(worker: str) -> dict[Key, float]:
    """Return the gauges of the GPU; none if this process uses no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    _, total_bytes = torch.cuda.mem_get_info()
    figures = {GPU_USED: float(torch.cuda.memory_reserved()), GPU_TOTAL: float(total_bytes)}
    with contextlib.suppress(Exception):  # no package, no right, or a GPU that does not tell
        figures[GPU_BUSY] = torch.cuda.utilization() / 100
    return {(metric.name, (worker,)): value for metric, value in figures.items()}
