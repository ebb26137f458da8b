"""What a command is given, and what it opens: settings, a store, a policy, the word to change."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

import typer

from consumer.cli.options import Bootstrap, Config, RedisUrl, Set, SetKafka, SetRedis, Yes
from consumer.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from consumer.settings.load import Settings
    from policy_state.store.redis.store import RedisStore

KAFKA: Final = ("kafka.bootstrap_servers", "kafka.request_timeout_s", "kafka.security")
"""The settings of a command that asks Kafka, by name or section."""

POLICY: Final = ("redis", "policy.name")
"""Those of a command that asks for a policy."""

ROUTES: Final = ("redis", "kafka.group", "kafka.dead_letters", "kafka.policy_topic", "routes")
"""Those of a command that asks for the routes in force."""

EXIT_NOT_CONFIRMED: Final = 3
EXIT_FOUND: Final = 4
_SETTING_OF: Final = {
    "bootstrap_servers": "kafka.bootstrap_servers",
    "dead_letters": "kafka.dead_letters",
    "group": "kafka.group",
    "instance": "instance",
    "model": "model.path",
    "policy": "policy.name",
    "redis_url": "redis.url",
}
"""The setting that an option of this name stands for."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A command's options for settings. `uses`: those it uses, or sections; none: all."""

    shown_last: ClassVar = True
    uses: ClassVar[tuple[str, ...]] = ()
    config: Config = None
    set_: Set = None

    @classmethod
    def of(cls, ctx: typer.Context) -> Self:
        """Return what a command line has of them that is completed."""
        return cls(**{each.name: ctx.params.get(each.name) for each in fields(cls)})

    def settings(self, *uses: str) -> Settings:
        """Return the settings, of which the command uses these, or else those of its class.

        Raises:
            InvalidSettings: naming the field and the value; also where `--set` names a setting
                that would be passed over in silence.
        """
        from consumer.errors import InvalidSettings
        from consumer.settings.load import load_settings

        assigned = _assigned(self.set_ or ())
        found: dict[str, object] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _SETTING_OF and value is not None:
                found[_SETTING_OF[each.name]] = value
        if twice := sorted(found.keys() & assigned.keys()):
            raise InvalidSettings(f"{twice[0]} is given twice: by --set and by its own option")
        settings = load_settings(self.config, options=assigned | found)
        if used := uses or self.uses:
            _check_used(assigned, used)
        return settings

    @contextmanager
    def store(self, *uses: str) -> Iterator[tuple[Settings, RedisStore]]:
        """Yield the settings, and the store that they name; `uses` as in `settings`."""
        settings = self.settings(*uses)
        from consumer.opening import open_store

        with open_store(settings) as store:
            yield settings, store

    @contextmanager
    def opened(self, *uses: str) -> Iterator[tuple[Settings, RedisStore]]:
        """Yield the settings, and the store with the policy open; `uses` as in `settings`.

        Raises:
            PolicyNotFound: there is none of that name.
        """
        with self.store(*uses) as (settings, store):
            open_named(store, settings.policy.name)
            yield settings, store


@dataclass(frozen=True, kw_only=True)
class OnKafka(Given):
    """Options of a command that asks Kafka."""

    uses: ClassVar[tuple[str, ...]] = KAFKA
    bootstrap_servers: Bootstrap = None
    set_: SetKafka = None


@dataclass(frozen=True, kw_only=True)
class OnRedis(Given):
    """Options of a command that asks Redis."""

    uses: ClassVar[tuple[str, ...]] = ("redis",)
    redis_url: RedisUrl = None
    set_: SetRedis = None


@dataclass(frozen=True, kw_only=True)
class OnPolicy(OnRedis):
    """Options of a command that asks for a policy."""

    uses: ClassVar[tuple[str, ...]] = POLICY
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", metavar="NAME", help="Name of the policy.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class OnPolicyAndKafka(OnPolicy):
    """Options of a command that asks for a policy, and Kafka."""

    uses: ClassVar[tuple[str, ...]] = (*POLICY, *KAFKA)
    bootstrap_servers: Bootstrap = None


@dataclass(frozen=True, kw_only=True)
class OnGroup(OnRedis):
    """Options of a command that asks for what a group has in Redis."""

    uses: ClassVar[tuple[str, ...]] = ("redis", "kafka.group")
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Consumer group of the workers.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class OnRoutes(OnGroup):
    """Options of a command that asks for the routes of a group, and Kafka."""

    uses: ClassVar[tuple[str, ...]] = (*ROUTES, *KAFKA)
    bootstrap_servers: Bootstrap = None


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Options of a command that changes something: who, why, and whether it asks first."""

    shown_last: ClassVar = True
    reason: Annotated[
        str, typer.Option("--reason", "-r", metavar="WHY", help="Why you change it, for the audit.")
    ] = ""
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="WHO", envvar="OFFRAMP_USER", help="Who changes it, for the audit."
        ),
    ] = None
    yes: Yes = False

    @property
    def who(self) -> str:
        """Who makes the change: as given, else user and host."""
        if self.by:
            return self.by
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        return f"{user}@{socket.gethostname()}"[:200]


def _assigned(assignments: Sequence[str]) -> dict[str, object]:
    from consumer.errors import InvalidSettings

    found: dict[str, object] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise InvalidSettings(f"--set {assignment}: expected NAME=VALUE")
        if name in found:
            raise InvalidSettings(f"--set {name} is given twice")
        found[name] = value
    return found


def _check_used(names: Iterable[str], uses: Sequence[str]) -> None:
    from consumer.errors import InvalidSettings

    for name in names:
        if any(f"{name}.".startswith(f"{use}.") or use.startswith(f"{name}.") for use in uses):
            continue
        section, _, field = name.partition(".")
        stored = section in {"policy", "store"} and name != "policy.name"
        raise InvalidSettings(
            f"--set {name}: this command does not use it; "
            + (
                f"it is stored with the policy: `offramp policy set {field}=VALUE`"
                if stored
                else f"it uses {', '.join(dict.fromkeys(uses))}"
            )
        )


def open_named(store: RedisStore, name: str) -> None:
    """Open a policy that exists, or raise `PolicyNotFound` with those that do.

    Raises:
        StoreCorrupt: what it belongs to went missing.
    """
    from policy_state.errors import PolicyNotFound, StoreCorrupt
    from policy_state.suggesting import no_such_policy

    meta = store.find(name)
    if meta is None:
        if (why := store.unreadable_policies().get(name)) is not None:
            raise StoreCorrupt(why)
        known = [printable(other.name) for other in store.policies()]
        raise PolicyNotFound(no_such_policy(printable(name), known))
    store.open(meta)


@contextmanager
def changing() -> Iterator[None]:
    """Say of a change that got no answer that it may have been done all the same."""
    from policy_state.errors import StoreUnavailable

    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{error}; the change may have been made anyway: check `offramp policy audit` before "
            "you repeat it",
            cause=error.cause,
        ) from error


def confirm(preview: str, *, yes: bool) -> None:
    """Say what would change; return if it is wanted, else end with code 3 and nothing changed."""
    typer.echo(preview, err=True)
    if yes:
        return
    if sys.stdin.isatty() and typer.confirm("Apply this change?", err=True):
        return
    typer.echo(
        "nothing was changed; run the command again with --yes to apply the change", err=True
    )
    raise typer.Exit(EXIT_NOT_CONFIRMED)
