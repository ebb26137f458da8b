"""The dashboard and its Redis: with the rights of a viewer, and while the server is away."""

import httpx
import pytest
import redis

from deploy.local.services import start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import META, fill
from tests.support.servers.dashboard import dashboard
from tests.support.servers.proxies import proxy
from tests.support.servers.redis_users import add_shipped_users
from tests.support.waiting import wait_for

PAGES = ("/", "/domains", "/domain?name=hotels", "/routes", "/workers", "/audit")


@pytest.fixture
def filled():
    """A Redis of the test alone, with the policy and the users of the shipped file."""
    with start_redis() as server:
        with RedisStore(server.url) as store:
            fill(store)
        with redis.Redis.from_url(server.url) as raw:
            add_shipped_users(raw)
        yield server


def test_a_viewer_sees_every_page_and_changes_nothing(filled, tmp_path):
    """All pages are answered, all domains read; a change is refused by Redis, and said so."""
    (tmp_path / "token").write_text("x" * 40)
    url = f"redis://offramp-viewer:change-me-viewer@{filled.address}/0"
    told = {"authorization": f"Bearer {'x' * 40}"}
    options = ("--token-file", str(tmp_path / "token"), "--allow-writes")
    with dashboard(url, *options) as address, httpx.Client(headers=told, base_url=address) as asked:
        wait_for(lambda: asked.get("/api/overview").json()["domains_read"] == len(META.layers))
        for page in PAGES:
            assert asked.get(page).status_code == 200, page
        form = {"domain": "hotels", "action": "freeze", "reason": "r", "by": "b"}
        answer = asked.post("/api/change", data=form)
        assert answer.status_code == 403
        assert "lets this user not do that" in answer.json()["error"]


def test_a_redis_that_is_away_is_said_and_waited_for(filled):
    """Pages say so with the status 503, and are back with the server."""
    with (
        proxy(filled.port) as between,
        dashboard(f"redis://127.0.0.1:{between.port}/0") as address,
    ):
        assert httpx.get(f"{address}/domains").status_code == 200
        between.refuse()
        for page in PAGES:
            answer = httpx.get(address + page, timeout=30)
            assert answer.status_code == 503, page
            assert "redis did not answer" in answer.text
        assert httpx.get(f"{address}/api/domains", timeout=30).status_code == 503
        between.heal()
        for page in PAGES:
            assert httpx.get(address + page, timeout=30).status_code == 200, page


def test_a_damaged_policy_is_said_where_all_is_seen(filled):
    """The first page and its document name the key, and still show workers and changes."""
    with redis.Redis.from_url(filled.url, decode_responses=True) as raw:
        (key,) = raw.keys("offramp:{*}:meta")
        with dashboard(filled.url) as address:
            raw.hset(key, "layers", "[]")
            overview = httpx.get(f"{address}/api/overview").json()
            assert (overview["texts"], overview["workers"]) == (None, 1)
            (damage,) = (f for f in overview["findings"] if key in f["text"])
            assert damage["severity"] == "problem"
            page = httpx.get(address)
            assert page.status_code == 200
            assert "is not a policy" in page.text
            assert "contract 12" in page.text
            assert key in httpx.get(f"{address}/domains").text


def test_a_dashboard_may_come_before_redis_and_the_policy():
    """Pages say what is missing, the login answers, and all is shown once workers have made it."""
    with start_redis() as server, proxy(server.port) as between:
        between.refuse()
        with dashboard(f"redis://127.0.0.1:{between.port}/0") as address:
            answer = httpx.get(f"{address}/domains", timeout=30)
            assert answer.status_code == 503
            assert "redis did not answer" in answer.text
            between.heal()
            answer = httpx.get(f"{address}/api/overview", timeout=30)
            assert answer.status_code == 503
            assert "no policy" in answer.json()["error"]
            assert httpx.get(f"{address}/login").status_code == 303
            assert "no policy" in httpx.get(address).text
            with RedisStore(server.url) as store:
                fill(store)
            wait_for(lambda: "hotels" in httpx.get(f"{address}/domains", timeout=30).text)
            assert httpx.get(f"{address}/domain?name=hotels", timeout=30).status_code == 200
