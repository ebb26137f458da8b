"""What commands share: their options for settings, the store they open, and the confirmation."""

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
"""Settings of a command that uses Kafka, by name or section."""

POLICY: Final = ("redis", "policy.name")
"""Settings of a command that uses a policy."""

ROUTES: Final = ("redis", "kafka.group", "kafka.dead_letters", "kafka.policy_topic", "routes")
"""Settings of a command that uses the routes in force."""

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
    """A command's options for settings; `uses` names the settings or sections it uses, () all."""

    shown_last: ClassVar = True
    uses: ClassVar[tuple[str, ...]] = ()
    config: Config = None
    set_: Set = None

    @classmethod
    def of(cls, ctx: typer.Context) -> Self:
        """Return the options of a command line that the shell is completing."""
        return cls(**{each.name: ctx.params.get(each.name) for each in fields(cls)})

    def settings(self, *uses: str) -> Settings:
        """Return the settings; the command uses these, or by default those of its class.

        Raises:
            InvalidSettings: names the setting and the value; also if `--set` names a setting that
                the command would silently ignore.
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
        """Yield the settings and the store that they name; `uses` is as in `settings`."""
        settings = self.settings(*uses)
        from consumer.opening import open_store

        with open_store(settings) as store:
            yield settings, store

    @contextmanager
    def opened(self, *uses: str) -> Iterator[tuple[Settings, RedisStore]]:
        """Yield the settings and the store with the policy open; `uses` is as in `settings`.

        Raises:
            PolicyNotFound: no policy has that name.
        """
        with self.store(*uses) as (settings, store):
            open_named(store, settings.policy.name)
            yield settings, store


@dataclass(frozen=True, kw_only=True)
class OnKafka(Given):
    """Options of a command that uses Kafka."""

    uses: ClassVar[tuple[str, ...]] = KAFKA
    bootstrap_servers: Bootstrap = None
    set_: SetKafka = None


@dataclass(frozen=True, kw_only=True)
class OnRedis(Given):
    """Options of a command that uses Redis."""

    uses: ClassVar[tuple[str, ...]] = ("redis",)
    redis_url: RedisUrl = None
    set_: SetRedis = None


@dataclass(frozen=True, kw_only=True)
class OnPolicy(OnRedis):
    """Options of a command that uses a policy."""

    uses: ClassVar[tuple[str, ...]] = POLICY
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", metavar="NAME", help="Name of the policy.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class OnPolicyAndKafka(OnPolicy):
    """Options of a command that uses a policy and Kafka."""

    uses: ClassVar[tuple[str, ...]] = (*POLICY, *KAFKA)
    bootstrap_servers: Bootstrap = None


@dataclass(frozen=True, kw_only=True)
class OnGroup(OnRedis):
    """Options of a command that uses the data of a group in Redis."""

    uses: ClassVar[tuple[str, ...]] = ("redis", "kafka.group")
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Consumer group of the workers.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class OnRoutes(OnGroup):
    """Options of a command that uses the routes of a group, and Kafka."""

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
        """Who makes the change: the given name, else user and host."""
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
    """Open an existing policy, or raise `PolicyNotFound` with the names of those that exist.

    Raises:
        StoreCorrupt: the policy cannot be read.
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
    """If a change gets no answer, say in the error that it may have been made anyway."""
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
    """Show what would change; return if it is confirmed, else end with code 3 without changes."""
    typer.echo(preview, err=True)
    if yes:
        return
    if sys.stdin.isatty() and typer.confirm("Apply this change?", err=True):
        return
    typer.echo(
        "nothing was changed; run the command again with --yes to apply the change", err=True
    )
    raise typer.Exit(EXIT_NOT_CONFIRMED)
