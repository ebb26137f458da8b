"""The queries of alert rules and dashboards, and the metrics and labels that they use."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

OBSERVE = Path(__file__).parents[3] / "deploy" / "observe"

_SERIES = re.compile(r"\b(offramp_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\b(?:by|on|ignoring|without) ?\(([^)]*)\)")
_MATCHED = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    """Return the rules, recording and alerting."""
    document = yaml.safe_load((OBSERVE / "rules.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Yield where each query stands, and the query."""
    for rule in rules():
        yield str(rule.get("alert") or rule["record"]), str(rule["expr"])
    for file in sorted((OBSERVE / "grafana").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                where = f"{file.name}, {panel['title']}, {target['refId']}"
                yield where, str(target["expr"])
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{file.name}, ${variable['name']}", str(variable["definition"])


def series_in(query: str) -> set[str]:
    """Return the names of the series of workers that a query uses."""
    return {name for name, _ in _SERIES.findall(re.sub(r"\w+:offramp\w+:\w+", "", query))}


def recorded_in(query: str) -> set[str]:
    """Return the recorded series that a query uses."""
    return set(re.findall(r"\w+:offramp\w+:\w+", query))


def labels_in(query: str) -> set[str]:
    """Return the labels that a query groups by or matches."""
    grouped = {name.strip() for group in _GROUPED.findall(query) for name in group.split(",")}
    return (grouped | {name for name, _ in _MATCHED.findall(query)}) - {""}


def values_in(query: str, label: str) -> set[str]:
    """Return the values that a query matches a label with."""
    return {value for name, value in _MATCHED.findall(query) if name == label}
