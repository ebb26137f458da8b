"""Every error this package raises; errors of other libraries are mapped to these once.

PolicyStateError
├── InvalidInput (also a ValueError)   the caller passed something wrong
│   └── InvalidDomain                  a domain name that cannot be a key
└── StoreError                         the store could not do it; nothing was written by the call
    ├── StoreUnavailable               no (usable) answer: send the same again later, it is safe
    ├── StoreRefused                   the server said no and would say no again
    │   └── StoreCorrupt               a stored value is not what this package wrote there
    ├── CounterOverflow                a counter would pass 2^53 - 1
    ├── PolicyNotOpen                  `open` was not called on this store
    ├── PolicyNotFound                 the policy is gone from the server (lost or deleted)
    ├── DomainNotFound                 the policy has no such domain
    ├── StoreFull                      the policy has no room for another domain
    ├── SettingsConflict               somebody else changed the settings meanwhile
    └── FingerprintMismatch            the counters belong to another model

The one exception to "nothing was written": after `StoreUnavailable` the call may have been done
and only its answer lost. The partition watermarks make sending it again harmless.
"""


class PolicyStateError(Exception):
    """Root of everything raised by this package."""


class InvalidInput(PolicyStateError, ValueError):
    """The caller passed something wrong; calling again with the same will fail again."""


class InvalidDomain(InvalidInput):
    """A domain name that cannot be a key."""


class StoreError(PolicyStateError):
    """The store could not do what was asked.

    `cause` is a short stable word for metrics: `timeout`, `connection`, `loading`, `read-only`,
    `out-of-memory`, `busy`, `cluster-down`, `persistence`, `login`, `permission`, `wrong-type`,
    `corrupt`; `refused` for what the server said that is none of these, `store` for the rest.
    """

    cause = "store"


class StoreUnavailable(StoreError):
    """No usable answer in time. Send the same again later: nothing is counted twice."""

    def __init__(self, message: str, *, cause: str = "connection") -> None:
        super().__init__(message)
        self.cause = cause


class StoreRefused(StoreError):
    """The server answered no, and would do so again."""

    def __init__(self, message: str, *, cause: str = "refused") -> None:
        super().__init__(message)
        self.cause = cause


class StoreCorrupt(StoreRefused):
    """A stored value is not what this package wrote there; nothing was changed."""

    def __init__(self, message: str, *, cause: str = "corrupt") -> None:
        super().__init__(message, cause=cause)


class CounterOverflow(StoreError):
    """A counter would pass the largest integer that is exact everywhere; nothing was changed."""


class PolicyNotOpen(StoreError):
    """`open` was not called on this store."""


class PolicyNotFound(StoreError):
    """The policy is gone from the server; rebuild it, or open it again to start from nothing."""


class DomainNotFound(StoreError):
    """The policy has no such domain."""


class StoreFull(StoreError):
    """The policy has as many domains as it may; nothing was changed."""


class SettingsConflict(StoreError):
    """The settings were changed since they were read; nothing was changed. Read them again."""


class FingerprintMismatch(StoreError):
    """The stored counters were learnt with another model."""
