"""The pages of routes and dead letters, on a real broker."""

import json
import time

import httpx
import jsonschema_rs
import pytest
from kafka import KafkaProducer
from playwright.sync_api import expect
from typer.testing import CliRunner

from consumer.cli.app import app
from tests.support.servers.dashboard import dashboard
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

SCRIPT = "<script>alert(4)</script>"
TEXT = "the text of a letter"


@pytest.fixture(scope="module")
def names(kafka):
    """Topics of a group, three records to read, and three dead letters that anybody wrote."""
    prefix = f"dash{time.time_ns()}"
    topics = {name: f"{prefix}.{name}" for name in ("in", "out", "dead")}
    create_topics(kafka, dict.fromkeys(topics.values(), 1))
    with KafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        for _ in range(3):
            producer.send(topics["in"], b'{"text": "fine"}')
        for class_ in ("invalid-json", "invalid-json", SCRIPT):
            said = {"stage": "parse", "class": class_, "message": SCRIPT, "topic": SCRIPT}
            headers = [(f"offramp.error.{name}", text.encode()) for name, text in said.items()]
            producer.send(topics["dead"], TEXT.encode(), headers=headers)
    return topics


@pytest.fixture(scope="module")
def settings(names, tmp_path_factory):
    """The settings of this group, in a file."""
    file = tmp_path_factory.mktemp("settings") / "offramp.toml"
    file.write_text(
        f'[kafka]\ngroup = "{names["in"]}"\ndead_letters = "{names["dead"]}"\n'
        f'policy_topic = "{names["in"]}.policy"\n'  # no other test makes it
        f"[[routes]]\ntopics = '{names['in']}'\nname = 'shops'\ndomain = 'fixed:hotels'\n"
        f"output = '{names['out']}'\n"
    )
    return str(file)


@pytest.fixture(scope="module")
def shown(lived, kafka, settings):
    """A function that serves a dashboard of this group."""

    def serve(*options, servers=kafka):
        return dashboard(lived, "-c", settings, "--bootstrap-servers", servers, *options)

    return serve


@pytest.fixture(scope="module")
def address(shown):
    """Address of a dashboard that asks Kafka."""
    with shown() as address:
        yield address


def test_routes_show_what_waits_in_their_topics(address, names, open_page):
    """Lag of the input, and what is missing; the domain leads to its page."""
    with open_page(address) as page:
        page.goto("/routes")
        expect(page.locator("#routes tbody tr")).to_contain_text("fixed:hotels")
        row = page.locator("#lag tbody tr", has_text=names["in"]).first
        expect(row).to_contain_text("ready")
        expect(row.locator("td").nth(3)).to_have_text("3")
        expect(page.locator("#lag .badge.alarm")).to_have_text("missing")  # the policy topic
        row.get_by_role("link", name="hotels").click()
        expect(page.locator("h1")).to_have_text("hotels")


def test_the_overview_finds_what_the_status_finds(address, lived, kafka, settings, open_page):
    """Nobody works here, three records wait, and three letters are young: in the same words."""
    servers = ("-c", settings, "-b", kafka, "--redis-url", lived)
    done = CliRunner().invoke(app, ["status", *servers, "-o", "json"])
    assert done.exit_code == 4, done.output
    wanted = json.loads(done.stdout)["findings"]
    assert len(wanted) > 2
    found = wait_for(
        lambda: (
            (now := httpx.get(f"{address}/api/overview", timeout=30).json())["domains_read"]
            == now["domains"]
            and now["findings"]
        )
    )
    assert found == wanted
    with open_page(address) as page:
        page.goto("/")
        shown = page.locator("#notices .problem")
        expect(shown.first).to_contain_text("no worker of group")
        expect(shown.first.locator("code")).to_contain_text("offramp worker --group")
        expect(page.locator("#notices")).not_to_contain_text("All is well")


def test_dead_letters_are_counted_by_class_and_their_texts_stay_away(address, open_page):
    """What others wrote into their headers is only text."""
    with open_page(address) as page:
        page.goto("/dead-letters")
        rows = page.locator("table").first.locator("tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("invalid-json")
        expect(rows.first).to_contain_text("2")
        expect(rows.last).to_contain_text(SCRIPT)
        assert page.locator("script:not([src])").count() == 0
        assert TEXT not in page.content()
    found = httpx.get(f"{address}/api/dead-letters").json()
    assert found["letters"] == 3
    assert TEXT not in str(found)


def test_answers_about_kafka_are_as_described(address):
    """`topics list` and the dead letters fit the description of the API."""
    described = httpx.get(f"{address}/api/openapi.json").json()["paths"]
    for path in ("/api/topics", "/api/dead-letters"):
        schema = described[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, httpx.get(address + path).json())


def test_texts_of_dead_letters_are_shown_where_that_is_allowed(shown):
    """With --allow-texts, on the page and in the answer."""
    with shown("--allow-texts") as address:
        assert TEXT in httpx.get(f"{address}/dead-letters").text
        assert httpx.get(f"{address}/api/dead-letters").json()["latest"][0]["value"] == TEXT


def test_a_kafka_that_is_away_costs_its_part_of_the_page_only(shown):
    """The routes are there, and so is the reason why nothing is known of their topics."""
    with shown("--set", "kafka.request_timeout_s=0.2", servers="127.0.0.1:1") as address:
        page = httpx.get(f"{address}/routes", timeout=30)
        assert page.status_code == 200
        assert "fixed:hotels" in page.text
        assert "127.0.0.1:1" in page.text
        assert httpx.get(f"{address}/api/topics", timeout=30).status_code == 503


def test_without_kafka_the_pages_say_how_to_see_more(looking):
    """And the API refuses, with the same words."""
    for path in ("/routes", "/dead-letters"):
        assert "--bootstrap-servers" in httpx.get(looking + path).text
    answer = httpx.get(f"{looking}/api/topics")
    assert (answer.status_code, "--bootstrap-servers" in answer.text) == (400, True)
