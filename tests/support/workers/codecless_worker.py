"""A worker on a machine where the libraries of lz4 and snappy are missing."""

import sys

sys.modules["lz4.frame"] = sys.modules["snappy"] = None  # type: ignore[assignment]  # ImportError

from tests.support.workers import hanging_worker  # noqa: E402,F401  (it runs where it is imported)
