"""Mixed batches of texts and exits, packed as the engine packs them."""

import numpy as np
import torch
from hypothesis import strategies as st

from model.engine.packing import Packed, pack, packing_order
from model.tokeniser import Tokens

EXIT_LAYERS = (1, 2, 4)

texts = st.lists(
    st.tuples(
        st.lists(st.integers(1, 60), min_size=1, max_size=24),  # token ids
        st.integers(0, len(EXIT_LAYERS) - 1),  # the text's exit
    ),
    min_size=1,
    max_size=12,
)


def packed_for(
    batch: list[tuple[list[int], int]], device: torch.device
) -> tuple[Packed, list[int]]:
    """Return texts as the engine packs them, and in which order."""
    tokens = Tokens.of([row for row, _ in batch])
    exits = np.array([exit_ for _, exit_ in batch])
    order = packing_order(tokens.lengths, exits)
    packed = pack(tokens, order, exits[order], exit_layers=EXIT_LAYERS, device=device)
    return packed, order.tolist()
