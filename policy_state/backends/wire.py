"""Between the values of the port and the strings that Redis keeps; no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from policy_state.domains import encode_domain
from policy_state.errors import (
    CounterOverflow,
    FingerprintMismatch,
    InvalidStats,
    PolicyNotFound,
    StoreCorrupt,
)
from policy_state.policy import PolicySettings
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store import (
    Applied,
    DomainSnapshot,
    PartitionDeltas,
    PartitionOutcome,
    PolicyMeta,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

POLICIES_KEY: Final = "offramp:policies"
WORKER_PREFIX: Final = "offramp:worker:"


@dataclass(frozen=True, slots=True)
class PolicyKeys:
    """The keys of one policy; they share a hash tag. The map is at the top of `apply.lua`."""

    pid: str

    @property
    def meta(self) -> str:
        """HASH: what the counters belong to."""
        return f"offramp:{{{self.pid}}}:meta"

    @property
    def watermarks(self) -> str:
        """HASH: next offset of every partition."""
        return f"offramp:{{{self.pid}}}:wm"

    @property
    def index(self) -> str:
        """ZSET: domains by last activity."""
        return f"offramp:{{{self.pid}}}:idx"

    @property
    def totals(self) -> str:
        """HASH: sums over all domains."""
        return f"offramp:{{{self.pid}}}:agg"

    def domain(self, domain: str) -> str:
        """HASH: the counters of a domain."""
        return f"offramp:{{{self.pid}}}:d:{encode_domain(domain)}"


def worker_key(instance: str) -> str:
    """HASH: the heartbeat of a worker."""
    return WORKER_PREFIX + encode_domain(instance)


def meta_fields(meta: PolicyMeta) -> dict[str, str]:
    """Return the fields of a new policy's meta hash."""
    settings = meta.settings
    return {
        "name": meta.name,
        "fingerprint": meta.fingerprint,
        "layers": json.dumps(meta.layers),
        "cost": json.dumps(settings.cost),
        "alpha": json.dumps(settings.alpha),
        "settings": json.dumps({"policy": settings.policy, "cost_weight": settings.cost_weight}),
        "revision": "1",
    }


def meta_from_fields(fields: Mapping[str, str], *, key: str) -> PolicyMeta:
    """Read what `meta_fields` wrote, or raise `StoreCorrupt`."""
    try:
        cost = json.loads(fields["cost"])
        settings = PolicySettings(
            cost=cost if isinstance(cost, str) else tuple(cost),
            alpha=json.loads(fields["alpha"]),
            **json.loads(fields["settings"]),
        )
        return PolicyMeta(
            name=fields["name"],
            fingerprint=fields["fingerprint"],
            layers=tuple(json.loads(fields["layers"])),
            settings=settings,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"{key} is not a policy: {type(error).__name__} {error}") from error


def apply_request(parts: Sequence[PartitionDeltas], domains: Sequence[str]) -> str:
    """Return the JSON that `apply.lua` takes; domains go by their place in `domains`, from 1."""
    place = {domain: number for number, domain in enumerate(domains, start=1)}
    return json.dumps(
        [
            [
                part.source,
                part.first_offset,
                part.next_offset,
                [[place[domain], delta.to_fields()] for domain, delta in part.deltas.items()],
            ]
            for part in parts
        ],
        separators=(",", ":"),
    )


def apply_answer(reply: Sequence[Any], domains: Sequence[str], meta: PolicyMeta) -> Applied:
    """Return what `apply.lua` answered, or raise what it found wrong."""
    match reply:
        case ["ok", statuses, snapshots]:
            return Applied(
                outcomes=tuple(
                    PartitionOutcome(Status(status), int(upto))
                    for status, upto in zip(statuses[::2], statuses[1::2], strict=True)
                ),
                snapshots={
                    domain: _snapshot(text, exits=meta.exits)
                    for domain, text in zip(domains, snapshots, strict=True)
                },
            )
        case ["no-policy"]:
            raise PolicyNotFound(
                f"policy {meta.name} is gone from the store: rebuild it, or open it again"
            )
        case ["fingerprint", stored]:
            raise FingerprintMismatch(
                f"policy {meta.name}: this model has fingerprint {meta.fingerprint}, "
                f"the stored counters belong to {stored}"
            )
        case ["corrupt", key, name, value]:
            raise StoreCorrupt(
                f"{key} field {name} holds {value[:40]!r}, expected an integer 0..{COUNT_MAX}; "
                "nothing was written"
            )
        case ["overflow", key, name, value, addition]:
            raise CounterOverflow(
                f"{key} field {name}: {value} + {addition}, limit {COUNT_MAX}; nothing was written"
            )
    raise StoreCorrupt(f"apply.lua answered {reply!r:.80}")


def counters(fields: Mapping[str, str], *, key: str, exits: int) -> ExitStats:
    """Return the counters in a hash, or raise `StoreCorrupt`."""
    try:
        return ExitStats.from_fields(fields, exits=exits)
    except InvalidStats as error:
        raise StoreCorrupt(f"{key}: {error}") from error


def _snapshot(text: str, *, exits: int) -> DomainSnapshot:
    last_ms, *flat = text.split(" ")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return DomainSnapshot(
        stats=ExitStats.from_fields(fields, exits=exits),
        epoch=int(fields.get("epoch", "0")),
        last_seen_ms=int(float(last_ms)) if last_ms else None,
    )
