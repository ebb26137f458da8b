"""Who may ask the dashboard, and who may change something."""

import re
import subprocess
from urllib.parse import quote, urlsplit

import httpx
import pytest

from consumer.dashboard.guard import SESSION_S, Access
from consumer.entry import own_command
from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import META

PAGES = ("/", "/domains", "/domain?name=hotels", "/routes", "/workers", "/dead-letters", "/audit")
ANYWHERE = "0.0.0.0"  # noqa: S104 - where a token is asked for
PIN = {"domain": "restaurants", "action": "pin", "exit": "3", "for": "2h", "reason": "incident 12"}


@pytest.fixture
def logged_in(changing, token):
    """A browser's session with the dashboard that changes things."""
    with httpx.Client(base_url=changing, headers={"origin": changing}) as client:
        answer = client.post("/login", data={"token": token, "name": "anna"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        yield client


def form_key(client: httpx.Client) -> str:
    page = client.get("/domain", params={"name": PIN["domain"]}).text
    found = re.search(r'name="form_key" value="(\w+)"', page)
    assert found is not None
    return found[1]


def read(url: str, domain: str):
    with RedisStore(url) as store:
        store.open(META)
        return store.read([domain])[domain], store.audit(limit=1)[0]


@pytest.mark.parametrize("path", [*PAGES, "/api/overview", "/static/app.js", "/nothing"])
def test_no_answer_lets_a_page_load_or_be_framed_from_elsewhere(looking, path):
    """Every answer has the headers, and no page has a script or a style of its own in it."""
    answer = httpx.get(looking + path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    if "html" in answer.headers["content-type"]:
        assert not re.search(
            r"<script(?! src=\"/static/)|<style|<[^<>]*\s(?:style|on\w+)=", answer.text
        )


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::2]", ""])
def test_it_answers_to_no_other_name(looking, host):
    """A name of somebody else that resolves to this machine reads nothing."""
    answer = httpx.get(f"{looking}/api/overview", headers={"host": host})
    assert answer.status_code == 421
    assert "policy" not in answer.text


def test_a_page_of_another_site_reads_nothing(looking):
    """Whatever its origin is, unless it is this server."""
    for origin in ("http://evil.example", "null", looking + "1"):
        assert httpx.get(f"{looking}/api/overview", headers={"origin": origin}).status_code == 403
    assert httpx.get(f"{looking}/api/overview", headers={"origin": looking}).status_code == 200


def test_without_the_token_nothing_is_shown(changing, token):
    """Pages lead to the login, and come back to where one was going; the API refuses."""
    for page in PAGES:
        answer = httpx.get(changing + page)
        assert answer.status_code == 303
        wanted = "" if page == "/" else f"?next={quote(page, safe='')}"
        assert answer.headers["location"] == f"/login{wanted}"
    assert httpx.get(f"{changing}/api/overview").status_code == 401
    for wrong in ("x", token[:-1], token + "x"):
        headers = {"authorization": f"Bearer {wrong}"}
        assert httpx.get(f"{changing}/api/overview", headers=headers).status_code == 401
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{changing}/api/overview", headers=headers).status_code == 200


def test_a_login_gives_a_cookie_that_no_script_and_no_other_site_gets(changing, token):
    """It does not hold the token, leads nowhere else, and is worth nothing once changed."""
    form = {"token": token, "name": "anna", "next": "//evil.example/"}
    answer = httpx.post(f"{changing}/login", data=form, headers={"origin": changing})
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token not in cookie
    session = cookie.split(";")[0].partition("=")[2]
    asked = {"cookie": f"offramp_session={session}"}
    assert httpx.get(f"{changing}/api/overview", headers=asked).status_code == 200
    for forged in (session[:-1], session.replace("anna", "root"), "9" + session, f'"{session}x'):
        asked = {"cookie": f"offramp_session={forged}"}
        assert httpx.get(f"{changing}/api/overview", headers=asked).status_code == 401
    form |= {"token": "wrong"}
    answer = httpx.post(f"{changing}/login", data=form, headers={"origin": changing})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_session_ends():
    """After its time is over, it is nobody's."""
    now_s = [1000.0]
    access = Access(token="x" * 20, clock=lambda: now_s[0])
    session = access.session("anna.b")
    now_s[0] += SESSION_S - 1
    assert access.person(session) == "anna.b"
    now_s[0] += 2
    assert access.person(session) is None


def test_a_change_is_made_and_signed(lived, logged_in):
    """With a session and the key of its forms; the audit says who did it, and why."""
    answer = logged_in.post("/change", data={**PIN, "form_key": form_key(logged_in)})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/domain?name=restaurants"
    snapshot, entry = read(lived, "restaurants")
    assert snapshot.pin == 3
    assert (entry.by, entry.reason, entry.automatic) == ("anna (dashboard)", "incident 12", False)
    form = {"domain": "restaurants", "action": "unpin", "reason": "over"}
    logged_in.post("/change", data={**form, "form_key": form_key(logged_in)})
    assert read(lived, "restaurants")[0].pin is None


def test_a_change_without_the_key_of_the_form_is_refused(lived, changing, logged_in, token):
    """Nor with that of another session, from another site, or without a name or a reason."""
    key = form_key(logged_in)
    form = {"token": token, "name": "mallory"}
    answer = httpx.post(f"{changing}/login", data=form, headers={"origin": changing})
    other = {"cookie": answer.headers["set-cookie"].split(";")[0], "origin": changing}
    told = {"authorization": f"Bearer {token}"}
    refused = [
        logged_in.post("/change", data=PIN),
        logged_in.post("/change", data={**PIN, "form_key": "0" * 64}),
        httpx.post(f"{changing}/change", data={**PIN, "form_key": key}, headers=other),
        logged_in.post(
            "/change", data={**PIN, "form_key": key}, headers={"origin": "http://evil.example"}
        ),
        logged_in.post("/change", data={**PIN, "form_key": key, "reason": " "}),
        httpx.post(f"{changing}/change", data=PIN, headers={"origin": changing}),
        httpx.post(f"{changing}/api/change", data=PIN),
        httpx.post(f"{changing}/api/change", data=PIN, headers=told),  # nobody's
    ]
    assert [answer.status_code for answer in refused] == [403, 403, 403, 403, 400, 303, 403, 400]
    assert read(lived, "restaurants")[0].pin is None


def test_programs_change_with_the_token(lived, changing, token):
    """They say who they are, and get the document of the command."""
    told = {"authorization": f"Bearer {token}"}
    form = {"domain": "restaurants", "action": "freeze", "reason": "look", "by": "script"}
    answer = httpx.post(f"{changing}/api/change", data=form, headers=told)
    assert answer.json()["kind"] == "policy-change"
    assert [record["frozen"] for record in answer.json()["records"]] == [False, True]
    assert read(lived, "restaurants")[1].by == "script (dashboard)"
    form["action"] = "unfreeze"
    assert httpx.post(f"{changing}/api/change", data=form, headers=told).status_code == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"domain": "hotels", "action": "remove"}, 400),
        ({"domain": "hotels", "action": "pin", "exit": "99"}, 400),
        ({"domain": "hotels", "action": "pin", "exit": "-1"}, 400),
        ({"domain": "hotels", "action": "pin", "exit": "1", "for": "soon"}, 400),
        ({"domain": "hotels", "action": "reset", "keep": "nan"}, 400),
        ({"domain": "nowhere", "action": "reset"}, 404),
        ({"domain": "a\u202eb", "action": "pin", "exit": "1"}, 400),
        ({"domain": "hotels", "action": "freeze", "more": "x" * 20_000}, 400),
    ],
)
def test_what_cannot_be_done_is_said(changing, token, form, status):
    """With a status of its kind, and in words."""
    told = {"authorization": f"Bearer {token}"}
    sent = {**form, "reason": "r", "by": "b"}
    answer = httpx.post(f"{changing}/api/change", data=sent, headers=told)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_dashboard_that_only_looks_changes_nothing(lived, looking):
    """It says how changes are made."""
    answer = httpx.post(f"{looking}/change", data=PIN, headers={"origin": looking})
    assert answer.status_code == 403
    assert "--allow-writes" in answer.text
    assert httpx.post(f"{looking}/api/change", data=PIN).status_code == 403
    assert read(lived, "restaurants")[0].pin is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", ANYWHERE], "others can reach this address; set --token-file"),
        (["--allow-writes"], "--allow-writes needs --token-file"),
        (["--token-file", "short"], "the token has 5 characters, at least 16"),
        (["--token-file", "missing"], "No such file"),
        (["--host", "203.0.113.7", "--token-file", "long"], "cannot listen on 203.0.113.7"),
    ],
)
def test_it_does_not_start_where_it_would_be_open(lived, tmp_path, options, said):
    """One line says what to do, and the exit code is 1."""
    (tmp_path / "short").write_text("short")
    (tmp_path / "long").write_text("x" * 40)
    done = subprocess.run(
        own_command("dashboard", "--redis-url", lived, "--port", "0", *options),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_others_reach_it_by_the_names_that_are_allowed(lived, tmp_path):
    """On every address, with a token, by a name that was given."""
    from tests.support.servers.dashboard import dashboard

    (tmp_path / "long").write_text("x" * 40)
    options = ("--host", ANYWHERE, "--allow-host", "Ops.Example", "--token-file")
    with dashboard(lived, *options, str(tmp_path / "long")) as address:
        here = f"http://127.0.0.1:{urlsplit(address).port}/api/overview"
        told = {"authorization": f"Bearer {'x' * 40}"}
        for host, status in (("ops.example", 200), ("ops.example:8200", 200), ("ops.exam", 421)):
            assert httpx.get(here, headers={**told, "host": host}).status_code == status
