"""The keys in Redis; the map of what each holds is at the top of `common.lua`."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from policy_state.domains import encode_domain

POLICIES_KEY: Final = "offramp:policies"
WORKERS_KEY: Final = "offramp:workers"
_ID_CHARACTERS: Final = 12  # 72 bits


def policy_id(name: str) -> str:
    """Return the id of a new policy: found again from its name where the list of names is lost."""
    digest = hashlib.sha256(name.encode()).digest()
    return base64.urlsafe_b64encode(digest)[:_ID_CHARACTERS].decode()


@dataclass(frozen=True, slots=True)
class PolicyKeys:
    """The keys of one policy; they share a hash tag. The map is at the top of `common.lua`."""

    pid: str

    def key(self, name: str) -> str:
        """Return one of meta, wm, gaps, idx, agg, audit, samples."""
        return f"offramp:{{{self.pid}}}:{name}"

    def several(self, *names: str) -> list[str]:
        """Return some of them."""
        return [self.key(name) for name in names]

    def domain(self, domain: str) -> str:
        """HASH: the counters of a domain."""
        return f"offramp:{{{self.pid}}}:d:{encode_domain(domain)}"


def worker_key(instance: str) -> str:
    """HASH: the heartbeat of a worker."""
    return f"offramp:worker:{encode_domain(instance)}"


def route_keys(group: str) -> tuple[str, str]:
    """HASH and STREAM: the routes of a consumer group, and their history."""
    tag = f"{{routes:{encode_domain(group)}}}"
    return f"offramp:{tag}:table", f"offramp:{tag}:audit"
