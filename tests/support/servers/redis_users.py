"""The users of a Redis as they are shipped, with passwords that tests know."""

from pathlib import Path

import redis

USERS = Path(__file__).parents[3] / "deploy" / "redis" / "users.acl"


def add_shipped_users(server: redis.Redis) -> None:
    """Add them, with `change-me-worker` and the like as passwords; the default user stays on."""
    for line in USERS.read_text(encoding="utf-8").splitlines():
        _, name, *rules = line.split()
        if name != "default":
            password = ">" + name.replace("offramp", "change-me")
            server.execute_command("ACL", "SETUSER", name, "reset", *rules, password)
