"""Turns texts into token ids, and says which texts had to be cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from model.errors import InvalidData
from model.folder_files import told_as
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

_CHARACTERS_PER_TOKEN = 8  # English needs 4 to 5; rarer texts are encoded a second time, in full


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of texts, end to end, with [CLS] and [SEP], and which texts were cut."""

    flat: NDArray[np.int32]  # (tokens)
    starts: NDArray[np.int64]  # (texts + 1): where each text begins; the last entry is the end
    truncated: tuple[bool, ...]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], truncated: Sequence[bool] | None = None) -> Tokens:
        """Take the ids of each text; no text was cut unless `truncated` says so."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=starts[1:])
        flat = np.fromiter(chain.from_iterable(rows), np.int32, int(starts[-1]))
        return cls(flat, starts, tuple(truncated or (False,) * len(rows)))

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.starts) - 1

    @property
    def count(self) -> int:
        """How many tokens the texts have together."""
        return len(self.flat)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each text has."""
        return np.diff(self.starts)

    @property
    def ids(self) -> list[list[int]]:
        """The ids of each text."""
        return [row.tolist() for row in np.split(self.flat, self.starts[1:-1])] if len(self) else []


class Tokeniser:
    """Encodes texts to at most `max_tokens` ids; may be called from any thread.

    The library works through a whole text before it truncates, so a text far beyond the limit is
    cut at white space first. Words never span white space: the ids of the kept part are the same.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int) -> None:
        """Take over `tokenizer`; its own truncation and padding are switched off."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of each text, exactly those of the whole text cut to `max_tokens`."""
        pieces = [self._cut(text) for text in texts]
        encodings = self._encode(pieces)
        limit = self._max_tokens
        short = [
            i
            for i, encoding in enumerate(encodings)
            if len(pieces[i]) < len(texts[i]) and len(encoding) <= limit
        ]
        for i, encoding in zip(short, self._encode([texts[i] for i in short]), strict=True):
            encodings[i] = encoding
        rows = [encoding.ids for encoding in encodings]
        truncated = tuple(len(row) > limit for row in rows)
        if any(truncated):
            rows = [r if len(r) <= limit else r[: limit - 1] + r[-1:] for r in rows]
        return Tokens.of(rows, truncated)

    def _cut(self, text: str) -> str:
        size = self._max_tokens * _CHARACTERS_PER_TOKEN
        if len(text) <= size:
            return text
        parts = text[:size].rsplit(None, 1)
        if len(parts) < 2:  # noqa: PLR2004  (no white space inside: the cut would split a word)
            return text
        return parts[0]

    def _encode(self, texts: list[str]) -> list[Encoding]:
        with told_as(InvalidData, counted(len(texts), "text")):  # the library may even panic
            try:
                return self._tokenizer.encode_batch_fast(texts)
            except (TypeError, UnicodeEncodeError):  # a lone surrogate, which JSON may carry
                clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
                return self._tokenizer.encode_batch_fast(clean)
