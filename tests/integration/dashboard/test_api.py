"""The JSON API: it says what the commands say, and its description says what it says."""

import json

import httpx
import jsonschema_rs
import pytest

from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import ERRORS, HOSTILE, META, beat
from tests.support.policy_cli import data, offramp_policy
from tests.support.waiting import wait_for


def got(address: str, path: str, **params):
    answer = httpx.get(f"{address}/api/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def run(lived):
    """The commands on the same Redis."""
    return offramp_policy(lived)


@pytest.mark.parametrize("name", ["hotels", "films", "laptops", HOSTILE])
def test_a_domain_is_what_the_commands_say(looking, run, name):
    """`policy show`, `explain` and `policy history`, field by field."""
    assert got(looking, "domain", name=name) == data(run("show", name, "-o", "json"))
    assert got(looking, "explain", name=name) == data(run("explain", name, "-o", "json"))
    assert got(looking, "history", name=name) == data(run("history", name, "-o", "json"))


def test_lists_are_what_the_commands_say(looking, run, lived):
    """`policy list`, `policy audit` and `policy workers`."""
    found = got(looking, "domains")
    wanted = data(run("list", "-o", "json"))
    assert {name: found[name] for name in wanted} == wanted
    assert found["found"] == len(ERRORS) + 1
    assert got(looking, "audit") == data(run("audit", "-o", "json"))
    assert got(looking, "workers") == data(run("workers", "-o", "json"))


def test_domains_are_searched_sorted_and_paged(looking):
    """In any case of letters, up and down, by what is known of each."""
    wait_for(lambda: got(looking, "domains", sort="texts")["sorted"])

    def names(**params):
        return [row["domain"] for row in got(looking, "domains", **params)["domains"]]

    assert names(search="TEL") == ["hotels"]
    assert names(search="<script") == [HOSTILE]
    assert names(search="nothing") == []
    assert names(sort="domain", order="up") == sorted([*ERRORS, HOSTILE])
    rows = got(looking, "domains", sort="saved")["domains"]
    saved = [row["holdout"]["layers_saved"]["share"] for row in rows]
    assert saved == sorted(saved, reverse=True)
    by_texts = names(sort="texts", order="up")
    assert by_texts[0] == HOSTILE
    assert names(sort="texts", order="up", offset=2, limit=3) == by_texts[2:5]
    assert names(show="frozen") == ["laptops"]
    assert set(names(show="pinned")) == {"films", HOSTILE}


def test_what_if_works_the_choice_out_again(looking, lived):
    """A higher price gives a shallower exit, and nothing is changed."""
    now = got(looking, "domain", name="hotels")["learnt"]
    assert got(looking, "what-if", name="hotels")["exit"] == now
    dear = got(looking, "what-if", name="hotels", cost_weight=1)
    assert dear["exit"] < now
    assert f"moves from exit {now} to exit {dear['exit']}" in dear["text"]
    free = got(looking, "what-if", name="hotels", cost_weight=0)
    assert free["exit"] > now
    strict = got(looking, "what-if", name="hotels", tolerance=0.001)
    assert strict["exit"] == META.exits - 1
    assert got(looking, "what-if", name="hotels", gate=0.889)["gate"] is None  # none is set
    gated = got(looking, "what-if", name="hotels", gate=0.95)
    assert gated["gate"]["promise"] == 0.95
    with RedisStore(lived) as store:
        store.open(META)
        assert store.describe().revision == 1


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("domains", {"limit": "0"}),
        ("domains", {"limit": "9" * 5000}),
        ("domains", {"limit": f"{10:012}" + "0" * 5}),
        ("domains", {"limit": f"{10:012}" + "0" * 5000}),
        ("domains", {"sort": "salary"}),
        ("domains", {"offset": "-1"}),
        ("domain", {}),
        ("what-if", {"name": "hotels", "cost_weight": "nan"}),
        ("what-if", {"name": "hotels", "cost_weight": "-1"}),
        ("what-if", {"name": "hotels", "tolerance": "2"}),
        ("what-if", {"name": "hotels", "gate": "0.3"}),
        ("heat-map", {"measure": "mood"}),
    ],
)
def test_a_wrong_question_is_told_so(looking, path, params):
    """The status is 400, and the answer says what is wrong."""
    answer = httpx.get(f"{looking}/api/{path}", params=params)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_unknown_domain_is_not_found(looking):
    """With what may be meant."""
    answer = httpx.get(f"{looking}/api/domain", params={"name": "hotel"})
    assert answer.status_code == 404
    assert "did you mean hotels" in answer.json()["error"]


def test_an_answer_that_has_not_changed_is_not_sent_again(looking):
    """Whoever has it sends its tag, and gets nothing but that it is the same."""
    first = httpx.get(f"{looking}/api/audit")
    again = httpx.get(f"{looking}/api/audit", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_every_answer_is_as_described(looking):
    """The description names each path there is, and what it answers fits what it says."""
    described = got(looking, "openapi.json")
    needs_kafka = {"/api/topics", "/api/dead-letters"}  # which nobody asks here
    reads = {path for path, item in described["paths"].items() if "get" in item} - needs_kafka
    for path in reads:
        item = described["paths"][path]["get"]
        params = {p["name"]: "hotels" for p in item["parameters"] if p["required"]}
        schema = item["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, got(looking, path.removeprefix("/api/"), **params))
    from consumer.dashboard import api

    served = {route.path for route in api.ROUTES}
    assert served == {*described["paths"], "/api/openapi.json"}


def test_the_overview_counts_what_there_is(looking, lived):
    """Texts, domains by state, and what needs attention: here nothing but what was set by hand."""
    with RedisStore(lived) as store:
        beat(store)
        store.open(META)
        totals = store.totals()
    wait_for(lambda: got(looking, "overview")["domains_read"] == len(ERRORS) + 1)
    found = got(looking, "overview")
    assert found["texts"] == totals.stats.texts
    assert found["workers"] == 1
    assert sum(found["states"].values()) == len(ERRORS) + 1
    assert (found["states"]["pinned"], found["states"]["frozen"]) == (2, 1)
    assert found["holdout"]["agreement"]["texts"] == sum(totals.stats.held)
    assert json.dumps(found)
