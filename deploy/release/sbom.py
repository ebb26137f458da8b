"""Write an SBOM (CycloneDX): what Offramp brings along, in the versions that the tests run with.

    python -m deploy.release.sbom build/offramp.cdx.json

`cyclonedx-py` describes the whole environment. What only developers install is left out, and the
models of the wheel are added.
"""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = ("worker", "train", "dashboard", "registry", "traces")


def shipped(name: str, extras: tuple[str, ...]) -> set[str]:
    """Return the names of all packages that a package needs with these extras, and its own."""
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(name), extra) for extra in ("", *extras)]
    while todo:
        package, extra = todo.pop()
        if (package, extra) in seen:
            continue
        seen.add((package, extra))
        for text in distribution(package).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(needed.name), e) for e in ("", *needed.extras)]
    return {package for package, _ in seen}


def describe(environment: dict[str, Any], packages: set[str]) -> dict[str, Any]:
    """Return the SBOM of an environment with these packages only, and with the shipped models."""
    kept = [c for c in environment["components"] if canonicalize_name(c["name"]) in packages]
    root = environment["metadata"]["component"] | {"version": distribution("offramp").version}
    known = {component["bom-ref"] for component in kept} | {root["bom-ref"]}
    dependencies = [
        entry | {"dependsOn": [ref for ref in entry.get("dependsOn", ()) if ref in known]}
        for entry in environment["dependencies"]
        if entry["ref"] in known
    ]
    return environment | {
        "metadata": environment["metadata"] | {"component": root},
        "components": [*kept, *models()],
        "dependencies": dependencies,
    }


def models() -> list[dict[str, Any]]:
    """Return a component for each model in the wheel, with the digest of its weights."""
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{weights.parent.name}",
            "name": weights.parent.name,
            "hashes": [
                {"alg": "SHA-256", "content": hashlib.sha256(weights.read_bytes()).hexdigest()}
            ],
        }
        for weights in sorted((ROOT / "model" / "pretrained").glob("*/*.safetensors"))
    ]


def main(file: Path) -> None:
    """Write the SBOM of this environment."""
    described = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment"),
            *("--pyproject", ROOT / "pyproject.toml", "--output-reproducible", sys.executable),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    sbom = describe(json.loads(described), shipped("offramp", EXTRAS))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
