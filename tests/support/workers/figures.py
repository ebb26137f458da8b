"""What a worker's port answers: figures, and whether it is well."""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT_S = 5


class Port:
    """A port on loopback; nobody may listen there yet."""

    def __init__(self, number: int) -> None:
        self.number = number

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return the status and the body of an answer; 0 if there is none."""
        connection = HTTPConnection("127.0.0.1", self.number, timeout=_TIMEOUT_S)
        try:
            with suppress(OSError, HTTPException):
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            return 0, ""
        finally:
            connection.close()

    def status(self, path: str) -> int:
        """Return the status of an answer."""
        return self.get(path)[0]

    def figures(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Return the value of each series, by the name of its sample and its sorted labels."""
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        status, body = self.get("/metrics")
        if status == 200:
            for family in text_string_to_metric_families(body):
                for sample in family.samples:
                    series = found.setdefault(sample.name, {})
                    series[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def total(self, name: str, where: Callable[[dict[str, str]], bool] = lambda _: True) -> float:
        """Return the sum of a sample's series."""
        series = self.figures().get(name, {})
        return sum(value for labels, value in series.items() if where(dict(labels)))

    def of(self, name: str, **labels: str) -> float:
        """Return the sum of the series with these labels."""
        return self.total(name, lambda found: labels.items() <= found.items())
