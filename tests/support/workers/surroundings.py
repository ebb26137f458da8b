"""What a worker finds around it, for `offramp worker --check`."""

import json
import time

from typer.testing import CliRunner

from consumer.cli.app import app
from tests.support.topics import create_topics


class World:
    """A worker's surroundings, all well; a test breaks one thing and looks."""

    def __init__(self, secured, redis_url, model_folder) -> None:
        self.secured = secured
        self.redis_url = redis_url
        self.prefix = prefix = f"c{time.time_ns()}"
        create_topics(secured.plain, {f"{prefix}-in": 1, f"{prefix}-out": 2, f"{prefix}-dead": 1})
        secured.allow_all(prefix)
        kafka = secured.settings("SCRAM-SHA-512")
        security = kafka.security.model_dump(mode="json", exclude_none=True)
        self.options: dict[str, object] = {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                "group": f"{prefix}-group",
                "dead_letters": f"{prefix}-dead",
                "request_timeout_s": 5,
                "security": security,
            },
            "redis": {"url": redis_url},
            "model": {"path": str(model_folder), "device": "cpu", "precision": "fp32"},
            "routes": [{"topics": f"{prefix}-in", "output": f"{prefix}-out"}],
        }

    def check(self, tmp_path) -> tuple[int, dict[str, dict[str, object]]]:
        """Return exit code and findings by check, the test's prefix left out."""
        import tomli_w

        config = tmp_path / "offramp.toml"
        config.write_text(tomli_w.dumps(self.options))
        command = ["worker", "--check", "-o", "json", "--config", str(config)]
        result = CliRunner().invoke(app, [*command, "--instance", "a"])
        assert result.stdout, repr(result.exception)
        found = json.loads(result.stdout.replace(self.prefix, "X"))
        assert found["ok"] == all(f["ok"] for f in found["checks"])
        return result.exit_code, {f["check"]: f for f in found["checks"]}
