"""Records of what people have set, as a copy outside of the store has them: keys, values, order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from policy_state.labelled import LabelledDuels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Key = tuple[str, ...]
"""`("routes",)`, `("policy", name)`, `("domain", name, domain)`, or of an entry of an audit
`("route-audit", id)`, `("audit", name, id)`."""

Records = dict[Key, dict[str, str]]

_NUMBERS: Final = frozenset({"pin", "pin_until", "frozen"})
_WHOLE: Final = _NUMBERS | {"revision"}
_NAMES: Final = {"routes": 0, "route-audit": 1, "policy": 1, "domain": 2, "audit": 2}
_FIELDS: Final = {
    "routes": {"revision", "routes"},
    "policy": {"revision", "fingerprint", "layers", "schema", "settings"},
}
_COUNT: Final = re.compile("[0-9]{1,15}")
_ENTRY: Final = re.compile("[0-9]{1,15}-[0-9]{1,15}")


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


def checked_record(key: Any, value: Any) -> tuple[str, Key, dict[str, str] | None]:  # noqa: ANN401
    """Return the group, the key and the value of a record as a topic has it, None for what is gone.

    Raises:
        ValueError: it is none that was ever written, with what is wrong.
    """
    if not isinstance(key, list) or not all(isinstance(part, str) for part in key):
        raise ValueError(f"key {key!r:.80}, expected a list of names")
    group, kind, *names = (*key, "", "")[: max(2, len(key))]
    if _NAMES.get(kind) != len(names):
        raise ValueError(
            f"key {key!r:.80}, expected a group, one of {', '.join(_NAMES)}, and names"
        )
    if kind.endswith("audit") and _ENTRY.fullmatch(names[-1]) is None:
        raise ValueError(f"key {key!r:.80}, expected the id of an entry, <ms>-<number>")
    if value is None:
        return group, (kind, *names), None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"value {value!r:.80}, expected texts by name")
    absent = _FIELDS.get(kind, set()) - value.keys()
    if absent:
        raise ValueError(f"value without {min(absent)}")
    wrong = [n for n in _WHOLE & value.keys() if _COUNT.fullmatch(value[n]) is None]
    if wrong and not kind.endswith("audit"):
        raise ValueError(f"{wrong[0]} {value[wrong[0]]!r:.40}, expected an integer 0..10^15-1")
    if kind == "domain" and "labels" in value:
        LabelledDuels.from_text(value["labels"])  # raises for what is none
    return group, (kind, *names), value
