"""A policy that has lived, dashboards that show it, and who may change it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from deploy.local.services import start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import fill, harm
from tests.support.servers.dashboard import dashboard

TOKEN = "c2VjcmV0LW9mLXRoZS10ZXN0cw"  # noqa: S105 - of these tests alone


@pytest.fixture(scope="package")
def lived() -> Iterator[str]:
    """URL of a Redis with the policy."""
    with start_redis() as server:
        with RedisStore(server.url) as store:
            fill(store)
            harm(store)
        yield server.url


@pytest.fixture(scope="package")
def looking(lived: str) -> Iterator[str]:
    """Address of a dashboard that changes nothing."""
    with dashboard(lived) as address:
        yield address


@pytest.fixture(scope="package")
def changing(lived: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a dashboard that changes what those ask for who know the token."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(f"{TOKEN}\n")
    with dashboard(lived, "--token-file", str(file), "--allow-writes") as address:
        yield address


@pytest.fixture
def token() -> str:
    """The token of `changing`."""
    return TOKEN


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; none is downloaded."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Debian's package chromium; `make debian` installs it")
    with sync_playwright() as playwright:
        # As root there is no sandbox; only pages of the tests are opened.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Callable[..., AbstractContextManager[Page]]:
    """What opens a page at an address, on which no script may fail and no dialog may open."""

    @contextmanager
    def opened(address: str, **options: Any) -> Iterator[Page]:
        wrong: list[str] = []

        def closed(dialog: Dialog) -> None:
            wrong.append(f"dialog {dialog.message}")
            dialog.dismiss()

        with browser.new_context(base_url=address, **options) as context:
            page = context.new_page()
            page.on("console", lambda said: wrong.extend([said.text] * (said.type == "error")))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("dialog", closed)
            yield page
        assert wrong == []

    return opened
