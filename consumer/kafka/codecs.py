"""The codecs that Kafka's topics may be compressed with: whether each can be read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kafka import codec as kafka_codec

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAMPLE: Final = b"a text to see whether this can be read " * 8
_PACKAGES: Final = {"gzip": "", "snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}


def codecs() -> Mapping[str, str]:
    """Return each codec's name, and what is wrong with it: nothing, as a rule."""
    return {name: _fault(name, package) for name, package in _PACKAGES.items()}


def _fault(name: str, package: str) -> str:
    if not getattr(kafka_codec, f"has_{name}")():
        return f"{name} cannot be read: the package {package} is not installed"
    try:
        packed = getattr(kafka_codec, f"{name}_encode")(_SAMPLE)
        if getattr(kafka_codec, f"{name}_decode")(packed) != _SAMPLE:
            return f"{name} cannot be read: the package {package} gives other bytes back"
    except Exception as error:  # noqa: BLE001  (whatever a library of another version raises)
        return f"{name} cannot be read: the package {package} fails with {error!r}"
    return ""
