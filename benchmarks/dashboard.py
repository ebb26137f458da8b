"""How long pages of the dashboard take with 100,000 domains, while texts are counted."""

from __future__ import annotations

import shutil
import statistics
import time
from threading import Event, Thread
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil
from playwright.sync_api import sync_playwright

from benchmarks.report import Goal, Report, Table, hand_in, parser
from deploy.local.services import start_redis
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas
from tests.support.policies.lived import META, fill
from tests.support.servers.dashboard import dashboard

if TYPE_CHECKING:
    from collections.abc import Sequence

DOMAINS = 100_000
PER_CALL = 500
PAGES = (
    "/",
    "/domains",
    "/domains?offset=50000",
    "/domains?search=99",
    "/domains?sort=saved&order=up",
    "/domains?show=learning",
    "/domain?name=hotels",
    "/audit",
)


def main() -> None:
    """Measure, print, and write the results."""
    options = parser("dashboard", __doc__).parse_args()
    domains, repeats = (5_000, 5) if options.quick else (DOMAINS, 15)
    hand_in(measure(domains, repeats), options)


def measure(domains: int, repeats: int) -> Report:
    """Return the times of all pages, once every domain has been read."""
    report = Report("dashboard")
    with start_redis() as server, RedisStore(server.url, timeout_s=20) as store:
        fill(store)
        kinds = _kinds()
        for first in range(0, domains, PER_CALL):
            _count(store, first, range(first, first + PER_CALL), kinds)
        over = Event()
        with dashboard(server.url) as address, httpx.Client(base_url=address) as client:
            began = time.monotonic()
            while (found := client.get("/api/overview", timeout=60).json())["domains"] > found[
                "domains_read"
            ]:
                time.sleep(1)
            read_s = time.monotonic() - began
            stream = Thread(target=_stream, args=(server.url, domains, kinds, over))
            stream.start()
            process = next(
                p
                for p in psutil.process_iter(["cmdline"])
                if {"dashboard", server.url} <= set(p.info["cmdline"] or ())
            )
            rows = [(page, *_times(client, process, page, repeats)) for page in PAGES]
            paint_ms = _first_paint_ms(address)
            over.set()
            stream.join()
            memory = process.memory_info().rss >> 20
    slowest = max(row[1] for row in rows)
    report.goals = [
        Goal.at_most("median time of the slowest page, ms", 300.0, slowest),
        Goal.at_most("first contentful paint of the overview, ms", 1000.0, paint_ms),
    ]
    head = ("page", "median, ms", "longest, ms", "CPU of the dashboard, ms", "kB")
    report.tables = [Table(f"Pages with {domains} domains", head, tuple(rows))]
    read = (
        f"The dashboard had read all {domains} domains after {read_s:.0f} s and held {memory} MiB."
    )
    counted = f"Meanwhile {PER_CALL} domains were counted in every second, in the same Redis."
    report.notes = [f"{read} {counted}"]
    return report


def _kinds() -> list[ExitStats]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        texts = int(rng.integers(20, 400))
        labels = rng.integers(0, 2, (texts, META.exits)).astype(np.int8)
        depth = rng.integers(0, META.exits, texts)
        labels[np.arange(META.exits) > depth[:, None]] = -1
        found.append(ExitStats.from_matrix(labels))
    return found


def _count(
    store: RedisStore, offset: int, numbers: Sequence[int], kinds: Sequence[ExitStats]
) -> None:
    deltas = {f"shop/{number:06d}": kinds[number % len(kinds)] for number in numbers}
    store.apply([PartitionDeltas("shops", 0, offset, offset + PER_CALL, deltas)])


def _stream(url: str, domains: int, kinds: Sequence[ExitStats], over: Event) -> None:
    """Count texts of ever more domains until it is over."""
    with RedisStore(url, timeout_s=20) as store:
        store.open(META)
        offset = domains
        while not over.wait(1):
            first = offset % domains
            _count(store, offset, range(first, first + PER_CALL), kinds)
            offset += PER_CALL


def _times(
    client: httpx.Client, process: psutil.Process, page: str, repeats: int
) -> tuple[float, float, float, float]:
    taken = []
    used = sum(process.cpu_times()[:2])
    for _ in range(repeats):
        began = time.perf_counter()
        answer = client.get(page, timeout=60)
        taken.append(1000 * (time.perf_counter() - began))
        answer.raise_for_status()
    cpu_ms = 1000 * (sum(process.cpu_times()[:2]) - used) / repeats
    middle = statistics.median(taken)
    return round(middle), round(max(taken)), round(cpu_ms), round(len(answer.content) / 1000)


def _first_paint_ms(address: str) -> float | None:
    """Return it as Chromium measures it, None without Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    script = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_timeout(3000)
        paint_ms = float(page.evaluate(script))
        browser.close()
    return paint_ms


if __name__ == "__main__":
    main()
