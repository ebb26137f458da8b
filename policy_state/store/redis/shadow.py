"""What shadows have compared, in Redis: a namespace beside a policy that expires by itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from policy_state.domains import OVERFLOW_DOMAIN, decode_domain, encode_domain
from policy_state.errors import InvalidInput, SettingsConflict, StoreCorrupt
from policy_state.shadowed import ComparedModel, ShadowCounts, ShadowPair
from policy_state.store.redis import wire
from policy_state.store.redis.keys import POLICIES_KEY, PolicyKeys, policy_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_state.store.redis.stats import Server

KEPT_MS: Final = 30 * 24 * 3_600_000
"""How long a comparison is kept after its last text."""

PAIRS: Final = 20
"""Pairs of models that are kept of a policy."""

DOMAINS: Final = 1_000
"""Domains of a pair that have their own counters; the others share `OVERFLOW_DOMAIN`."""


class RedisShadow:
    """What shadows of one policy have compared; the map of the keys is in `common.lua`."""

    def __init__(
        self, server: Server, policy: str, *, pairs: int = PAIRS, domains: int = DOMAINS
    ) -> None:
        """Ask for the policy's keys; nothing is written. The limits hold for what is counted."""
        self._server = server
        self._limits = (pairs, domains)
        self._keys = PolicyKeys(server.command("HGET", POLICIES_KEY, policy) or policy_id(policy))

    def positions(self, new: str) -> dict[str, int]:
        """Return where the comparison with a model continues, by "<topic id>/<partition>"."""
        key = self._key(encode_domain(new))
        fields = self._server.command("HGETALL", key)
        return {name: wire.number(fields, name, "", key=key) for name in fields}

    def count(
        self,
        new: ComparedModel,
        moves: Mapping[str, tuple[int, int]],
        counts: Mapping[ComparedModel, Mapping[str, ShadowCounts]],
    ) -> tuple[str, ...]:
        """Add what was compared, each prediction once; may be repeated.

        Args:
            new: The model that runs in the shadow.
            moves: By "<topic id>/<partition>" of predictions, from where to where they are in
                `counts`; from -1 for a partition of which no position is known.
            counts: By live model and domain.

        Returns:
            The fingerprints of live models of which nothing is counted, because too many pairs of
            models are kept.

        Raises:
            SettingsConflict: Somebody else has counted from there.
            StoreCorrupt: A stored value is no count; nothing was written.
        """
        keys = [self._key(), self._key(encode_domain(new.fingerprint))]
        rows = []
        for live, domains in counts.items():
            name = _name(live, new)
            own = self._key(name)
            keys += [own, f"{own}:idx", f"{own}:d:{encode_domain(OVERFLOW_DOMAIN)}"]
            keys += [f"{own}:d:{encode_domain(domain)}" for domain in domains]
            models = json.dumps({"live": asdict(live), "new": asdict(new)})
            added = [
                [encode_domain(domain), wire.flat(of.to_fields())] for domain, of in domains.items()
            ]
            rows.append([name, models, added])
        request = {"moves": [[name, *span] for name, span in moves.items()], "pairs": rows}
        reply = self._server.script(
            "shadow.lua", keys, [KEPT_MS, *self._limits, json.dumps(request)]
        )
        match reply:
            case ["known"]:
                return ()
            case ["moved"]:
                raise SettingsConflict(
                    f"another `offramp shadow` compares model {new.fingerprint}, too; nothing was "
                    "counted. Stop one of them"
                )
            case ["corrupt", key, field, value]:
                raise StoreCorrupt(
                    f"{key} field {field} holds {value[:40]!r}, expected a count; nothing was "
                    "written"
                )
        full = set(reply[1:])
        return tuple(live.fingerprint for live in counts if _name(live, new) in full)

    def pairs(self) -> tuple[ShadowPair, ...]:
        """Return the pairs of models that were compared, the latest first."""
        found = []
        for name in self._server.command("ZREVRANGE", self._key(), 0, -1):
            key = self._key(name)
            fields = self._server.command("HGETALL", key)
            last = self._server.command("ZSCORE", self._key(), name)
            if fields and last is not None:  # none where it expired meanwhile
                found.append(_pair(fields, key, int(float(last))))
        return tuple(found)

    def domains(self, pair: ShadowPair) -> tuple[str, ...]:
        """Return the domains that were compared, the latest first."""
        idx = f"{self._key(_name(pair.live, pair.new))}:idx"
        return tuple(map(decode_domain, self._server.command("ZREVRANGE", idx, 0, -1)))

    def read(self, pair: ShadowPair, domain: str) -> ShadowCounts:
        """Return what was compared of a domain, zeros where nothing was.

        Raises:
            StoreCorrupt: A stored value is no count.
        """
        key = f"{self._key(_name(pair.live, pair.new))}:d:{encode_domain(domain)}"
        fields = self._server.command("HGETALL", key)
        try:
            return ShadowCounts.from_fields(
                {name: wire.number(fields, name, "", key=key) for name in fields},
                exits=pair.new.exits,
                live_exits=pair.live.exits,
            )
        except InvalidInput as error:
            raise StoreCorrupt(f"{key}: {error}") from error

    def _key(self, name: str = "") -> str:
        return self._keys.key(f"shadow:{name}" if name else "shadow")


def _name(live: ComparedModel, new: ComparedModel) -> str:
    """Return the name of a pair in keys; it has a slash, so it is no name of a single model."""
    return f"{encode_domain(live.fingerprint)}/{encode_domain(new.fingerprint)}"


def _pair(fields: Mapping[str, str], key: str, last_ms: int) -> ShadowPair:
    try:
        models: dict[str, Any] = json.loads(fields["models"])
        live, new = (
            ComparedModel(**{**models[role], "layers": tuple(models[role]["layers"])})
            for role in ("live", "new")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"{key} field models: {type(error).__name__} {error}") from error
    return ShadowPair(live, new, wire.number(fields, "begun", "0", key=key), last_ms)
