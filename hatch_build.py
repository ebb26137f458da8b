"""Put the SBOM into the wheel if `make dist` has made one: a plain build does without."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SBOM = "build/offramp.cdx.json"


class SbomHook(BuildHookInterface[Any]):
    """Name the file to the builder of wheels, which puts it where PEP 770 says."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to what is built."""
        if version == "standard" and (Path(self.root) / SBOM).is_file():
            build_data["sbom_files"].append(SBOM)
