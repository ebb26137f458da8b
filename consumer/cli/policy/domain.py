"""A domain of the policy that is open: named, completed, and read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.output import printable
from consumer.cli.session import OnPolicy

if TYPE_CHECKING:
    from policy_state.errors import DomainNotFound
    from policy_state.store.reading import Reading
    from policy_state.store.redis.store import RedisStore

_COMPLETIONS: Final = 200
_COMPARED: Final = 2_000  # known domains, with one that is not known


def complete_domain(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return known domains that begin so; those that a shell would take for more are left out."""
    from consumer.errors import ConsumerError
    from policy_state.errors import PolicyStateError

    try:
        with OnPolicy.of(ctx).opened() as (_, store):
            names = store.domains(limit=store.totals().domains)
    except (ConsumerError, PolicyStateError):
        return []
    plain = [name for name in names if all(c.isalnum() or c in "._-/@:+=," for c in name)]
    return [name for name in plain if name.startswith(incomplete)][:_COMPLETIONS]


Domain = Annotated[
    str,
    typer.Argument(help="Name of the domain, as in `policy list`.", autocompletion=complete_domain),
]


def read_known(store: RedisStore, domain: str) -> Reading:
    """Return all that the open policy has of a domain, read once, or raise that it has nothing.

    Raises:
        DomainNotFound: it has no record of that name.
        StoreCorrupt: it has one that cannot be read.
    """
    from policy_state.errors import StoreCorrupt
    from policy_state.store.reading import read_domains

    reading = read_domains(store, [domain])
    if domain in reading.damaged:
        raise StoreCorrupt(reading.damaged[domain])
    if domain not in reading.snapshots:
        raise not_known(store, domain)
    return reading


def not_known(store: RedisStore, domain: str) -> DomainNotFound:
    """Return the error that says so, with the domain that may be meant."""
    from policy_state.errors import DomainNotFound
    from policy_state.suggesting import did_you_mean

    known = map(printable, store.domains(limit=_COMPARED))
    meant = did_you_mean(printable(domain), known) or "; see `offramp policy list`"
    return DomainNotFound(f"domain {printable(domain)} is not known{meant}")
