"""Takes the pictures in docs/dashboard.md: python -m tests.support.servers.screenshots.

They are of a real dashboard on a real Redis, whose policy has lived on synthetic texts.
"""

import shutil
import tempfile
from pathlib import Path
from threading import Event, Thread
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from deploy.local.services import start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import META, fill, live
from tests.support.servers.dashboard import dashboard

DOCS = Path(__file__).parents[3] / "docs"
PICTURES: list[tuple[str, str, Literal["light", "dark"], int, int]] = [
    ("overview", "/", "light", 1440, 1000),
    ("overview-dark", "/", "dark", 1440, 1000),
    ("overview-phone", "/", "dark", 390, 1100),
    ("domain", "/domain?name=tweets", "light", 1440, 1500),
    ("domain-phone", "/domain?name=tweets", "light", 390, 1500),
]
_COLOURS = 256


def take(browser: Browser, address: str) -> None:
    """Take all pictures and make them small."""
    for name, path, scheme, width, height in PICTURES:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        page = context.new_page()
        page.goto(address + path)
        page.wait_for_timeout(7000)  # until it has been brought up to date once
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            page.screenshot(path=file.name)
            picture = Image.open(file.name).convert("RGB")
        small = picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        small.save(DOCS / f"dashboard-{name}.png", optimize=True)
        context.close()


def main() -> None:
    """Start everything, and stop it again."""
    over = Event()
    with start_redis() as server, RedisStore(server.url) as store:
        fill(store)

        def lives_on() -> None:
            first, seed = 10_000, 100
            with RedisStore(server.url) as other:
                other.open(META)
                while not over.wait(1):
                    first, seed = live(other, "hotels", 64, first=first, seed=seed), seed + 1

        thread = Thread(target=lives_on)
        thread.start()
        with dashboard(server.url) as address, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            take(chromium, address)
            chromium.close()
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
