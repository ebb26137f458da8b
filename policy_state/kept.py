"""Records of what people have set, as a copy outside of the store has them: keys, values, order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Key = tuple[str, ...]
"""`("routes",)`, `("policy", name)`, `("domain", name, domain)`, or of an entry of an audit
`("route-audit", id)`, `("audit", name, id)`."""

Records = dict[Key, dict[str, str]]

_NUMBERS: Final = frozenset({"pin", "pin_until", "frozen"})


def alive(record: Mapping[str, str], now_ms: int) -> dict[str, str]:
    """Return what of a pin and a freeze is still in force."""
    if int(record.get("pin_until", now_ms + 1)) > now_ms:
        return dict(record)
    return {name: text for name, text in record.items() if not name.startswith("pin")}


def groups(record: Mapping[str, str]) -> list[dict[str, int] | dict[str, str]]:
    """Return numbers and notes, as the script takes them."""
    return [
        {name: int(text) for name, text in record.items() if name in _NUMBERS},
        {name: text for name, text in record.items() if name not in _NUMBERS},
    ]


def latest(ids: Sequence[str]) -> str | None:
    """Return the id of the latest entry."""
    return max(ids, key=order, default=None)


def order(id_: str) -> tuple[int, int]:
    """Return an entry's id, `<ms>-<number>`, as what it is sorted by."""
    ms, _, number = id_.partition("-")
    return int(ms), int(number)


def entry_time_ms(key: Key) -> int | None:
    """Return when a change was made; None where the key is of no entry of an audit."""
    return order(key[-1])[0] if key[0].endswith("audit") else None


def known_values(key: Any, value: Any) -> bool:  # noqa: ANN401 - as a topic has it
    """Say whether a record is one of a copy, as far as its shape tells."""
    return (
        isinstance(key, list)
        and bool(key)
        and all(isinstance(part, str) for part in key)
        and isinstance(value, dict)
        and all(isinstance(part, str) for pair in value.items() for part in pair)
    )
