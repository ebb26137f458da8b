"""kubectl, as tests call it."""

import json
import subprocess
from typing import Any

_TIMEOUT_S = 120.0


class Refused(RuntimeError):
    """A command failed; the message is what it said."""


class Kubectl:
    """Runs commands of kubectl in one namespace."""

    def __init__(self, command: list[str], namespace: str) -> None:
        """Say how a command line begins."""
        self.command = [*command, f"--namespace={namespace}"]
        self.namespace = namespace

    def __call__(
        self, *args: str, said: bytes | str | None = None, timeout_s: float = _TIMEOUT_S
    ) -> str:
        """Run a command and return its output; Refused with its complaint if it fails.

        Args:
            *args: of the command.
            said: what it reads from its input.
            timeout_s: how long it may take.

        """
        return run([*self.command, *args], said=said, timeout_s=timeout_s)

    def json(self, *args: str) -> Any:
        """Run a command and return the objects that it prints."""
        return json.loads(self(*args, "--output=json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make objects, or change them."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--filename=-", said=json.dumps(content))

    def make_namespace(self, level: str) -> None:
        """Make the namespace, with a Pod Security level; Refused if there is one of its name."""
        self("create", "namespace", self.namespace)
        self("label", "namespace", self.namespace, f"pod-security.kubernetes.io/enforce={level}")

    def run_in(
        self,
        pod: str,
        *command: str,
        said: bytes | str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> str:
        """Run a command in a pod and return its output."""
        typing = ["--stdin"] if said is not None else []
        return self("exec", *typing, pod, "--", *command, said=said, timeout_s=timeout_s)


def run(
    command: list[str], *, said: bytes | str | None = None, timeout_s: float = _TIMEOUT_S
) -> str:
    """Run a command and return its output; Refused with its complaint if it fails."""
    typed = said.encode() if isinstance(said, str) else said
    done = subprocess.run(
        command,
        input=typed or b"",
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        raise Refused(f"{' '.join(command[-6:])}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()
