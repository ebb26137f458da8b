"""Pages that are open while a worker counts texts."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from playwright.sync_api import Page, expect

from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.servers.dashboard import dashboard
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena

_WAIT_MS = 60_000


def test_open_pages_follow_a_worker(
    arena: Arena, open_page: Callable[..., AbstractContextManager[Page]]
) -> None:
    """Figures of the overview and of a domain change without a click."""
    with dashboard(arena.redis_url) as address, open_page(address) as page:
        page.goto("/")
        figures = page.locator("#figures")
        expect(figures).to_contain_text("200 texts counted so far")
        arena.produce(100)
        expect(figures).to_contain_text("300 texts counted so far", timeout=_WAIT_MS)
        page.goto("/domain?name=a")
        expect(page.locator("#figures")).to_contain_text(f"Texts{_texts(arena)}")
        arena.produce(100)
        wait_for(lambda: arena.counted() == 400)
        expect(page.locator("#figures")).to_contain_text(f"Texts{_texts(arena)}", timeout=_WAIT_MS)
        expect(page.locator("#live")).to_have_text("live")


def _texts(arena: Arena) -> int:
    """Return how many texts are counted of the domain `a`."""
    with RedisStore(arena.redis_url) as store:
        return {report.domain: report.texts for report in read_reports(store, "default")}["a"]
