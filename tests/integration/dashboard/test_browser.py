"""The pages in a real browser: what people see, click and type, on a policy that has lived."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import ERRORS, HOSTILE, META, live

OpenPage = Callable[..., AbstractContextManager[Page]]
PAGES = ("/", "/domains", "/domain?name=hotels", "/routes", "/workers", "/dead-letters", "/audit")
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}


@pytest.fixture
def page(open_page: OpenPage, looking: str) -> Iterator[Page]:
    """A page of the dashboard, on which nothing may go wrong."""
    with open_page(looking) as page:
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, f"/domain?name={quote(HOSTILE, safe='')}"])
def test_everybody_can_use_every_page(
    open_page: OpenPage, looking: str, path: str, scheme: str
) -> None:
    """Axe finds nothing, light or dark, on a phone or a desk, and no page is wider than a phone."""
    for size in (PHONE, DESK):
        with open_page(looking, viewport=size, color_scheme=scheme) as page:
            page.goto(path)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], (path, size)
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


def test_the_overview_shows_what_every_exit_does(page: Page) -> None:
    """The heat map has a row per domain, an outlined exit, and four measures to choose from."""
    page.goto("/")
    expect(page.locator("#notices")).to_contain_text("All is well.")
    heat = page.locator("#heat table")
    expect(heat.locator("tbody tr")).to_have_count(len(ERRORS) + 1)
    expect(heat.locator("td.chosen")).to_have_count(len(ERRORS) + 1)
    hotels = heat.locator("tr", has_text="hotels").locator("td")
    shares = hotels.all_text_contents()
    for measure in ("Labels that differ", "Estimated error", "Texts that ran"):
        page.get_by_role("link", name=measure).click()
        assert hotels.all_text_contents() != shares
        shares = hotels.all_text_contents()
    assert hotels.first.text_content() == "3,000"


def test_domains_are_found_sorted_and_opened_from_the_keyboard(page: Page) -> None:
    """`/` goes to the search, Enter searches, and links are reached with Tab."""
    page.goto("/domains")
    page.keyboard.press("/")
    page.keyboard.type("TELS")
    page.keyboard.press("Enter")
    rows = page.locator("#list tbody tr")
    expect(rows).to_have_count(1)
    expect(page.locator("#found")).to_contain_text("1 of 7 domains")
    page.get_by_label("Name contains").fill("")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(len(ERRORS) + 1)
    page.get_by_role("link", name="Texts", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_contain_text("Texts")
    down = rows.locator("th").all_text_contents()
    page.get_by_role("link", name="Texts").click()
    expect(page.locator("th[aria-sort=ascending]")).to_be_visible()
    assert rows.locator("th").all_text_contents()[0] == down[-1] == HOSTILE
    page.goto("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_a_domain_is_told_from_top_to_bottom(page: Page) -> None:
    """The sentence, figures with intervals, the exits, plots with their marks, and the changes."""
    page.goto("/domain?name=tweets")
    expect(page.locator(".sentence")).to_contain_text("After 900 texts exit 5 (layer 12)")
    expect(page.locator("#figures .interval")).to_have_count(3)
    rows = page.locator("#exits tbody tr")
    expect(rows).to_have_count(META.exits)
    expect(rows.nth(5)).to_contain_text("used now")
    bars = rows.locator("rect.reward")
    lengths = [float(bar.get_attribute("width") or 0) for bar in bars.all()]
    assert lengths.index(max(lengths)) == 5
    plots = page.locator("figure.plot")
    expect(plots).to_have_count(3)
    assert len((plots.first.locator("polyline").first.get_attribute("points") or "").split()) > 10
    expect(plots.nth(1).locator("polygon.band")).to_have_count(META.exits)
    expect(plots.nth(1).locator(".mark.drift")).to_have_count(1)
    plots.nth(1).locator("summary").click()
    expect(plots.nth(1).locator("details tbody tr").last).to_contain_text("900")
    expect(page.locator("#audit")).to_contain_text("drift: disagreement of exit 2")
    page.goto("/domain?name=films")
    expect(page.locator(".badges")).to_contain_text("pinned to exit 2 until")
    expect(page.locator("#actions-title ~ .actions")).to_contain_text("offramp unpin films")


def test_sliders_work_the_choice_out_again(page: Page) -> None:
    """With the mouse or the keyboard; the answer says where the choice would move."""
    page.goto("/domain?name=hotels")
    answer = page.locator("#what-if-text")
    expect(answer).to_contain_text("stays at exit 2")
    page.get_by_label("Cost weight").focus()
    page.keyboard.press("End")
    expect(answer).to_contain_text("moves from exit 2 to exit")
    page.keyboard.press("Home")
    expect(answer).to_contain_text("moves from exit 2 to exit 5")
    page.get_by_label("Tolerance").focus()
    page.keyboard.press("End")
    expect(answer).not_to_contain_text("exit 5 (layer 12)")
    page.get_by_label("Gate").focus()
    page.keyboard.press("ArrowRight")
    expect(answer).to_contain_text("gate")


def test_a_page_keeps_itself_up_to_date(page: Page, lived: str) -> None:
    """New texts are seen without loading it again, and a server that is gone is reported."""
    page.goto("/domain?name=restaurants")
    expect(page.locator("#live")).to_have_text("live", timeout=15_000)
    before = page.locator("#figures > div").last.locator("b").text_content()
    page.evaluate("window.sameDocument = true")
    with RedisStore(lived) as store:
        store.open(META)
        live(store, "restaurants", 64, first=3000, seed=40)
    expect(page.locator("#figures > div").last.locator("b")).not_to_have_text(
        str(before), timeout=15_000
    )
    assert page.evaluate("window.sameDocument") is True


def test_a_page_that_cannot_be_updated_says_so(browser: Browser, looking: str) -> None:
    """What is shown stays, and the top of the page says why it is old."""
    with browser.new_context(base_url=looking) as context:
        page = context.new_page()
        page.goto("/domain?name=hotels")
        expect(page.locator("#live")).to_have_text("live", timeout=15_000)
        away = "<p id=error>redis is away</p>"
        page.route("**/domain*", lambda route: route.fulfill(status=503, body=away))
        expect(page.locator("#live")).to_have_text("not updated: redis is away", timeout=15_000)
        expect(page.locator(".sentence")).to_be_visible()
        page.unroute_all()
        expect(page.locator("#live")).to_have_text("live", timeout=15_000)


def test_names_and_reasons_from_outside_are_only_text(page: Page) -> None:
    """A domain called like a script, a person like an image: nothing runs, all of it is shown."""
    for path in ("/", "/domains", "/audit", f"/domain?name={quote(HOSTILE, safe='')}"):
        page.goto(path)
        expect(page.get_by_text(HOSTILE).first).to_be_visible()
        assert page.locator("script:not([src])").count() == 0
        assert page.locator("main img").count() == 0
    expect(page.get_by_text('<img src=x onerror="alert(1)">').first).to_be_visible()
    page.goto("/domains")
    page.get_by_label("Name contains").fill('"><script>alert(3)</script>')
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_contain_text("No domain matches.")


def test_changes_are_made_by_who_has_logged_in(open_page: OpenPage, changing: str, token) -> None:
    """The login leads back to the page; a pin is made, shown and signed; then it is taken back."""
    with open_page(changing) as page:
        page.goto("/domain?name=support%20tickets")
        page.get_by_label("Token").fill(token)
        page.get_by_label("Your name").fill("bea")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_have_text("support tickets")
        pin = page.locator(".card", has_text="Send every text to one exit")
        pin.get_by_label("Exit").select_option("4")
        pin.get_by_label("For").fill("2h")
        pin.get_by_label("Why").fill("<b>bold</b>")
        pin.get_by_role("button", name="Pin").click()
        expect(page.locator(".badges")).to_contain_text("pinned to exit 4 until")
        expect(page.locator("#audit tbody tr").first).to_contain_text("bea (dashboard)")
        expect(page.locator("#audit tbody tr").first).to_contain_text("<b>bold</b>")
        unpin = page.locator(".card", has_text="Let the policy choose again")
        unpin.get_by_label("Why").fill("over")
        unpin.get_by_role("button", name="Unpin").click()
        expect(page.locator(".badges")).not_to_contain_text("pinned")
        page.get_by_role("button", name="Log out").click()
        expect(page.locator("h1")).to_have_text("Log in")


def test_a_dashboard_that_only_looks_offers_no_change(page: Page) -> None:
    """It shows the commands instead."""
    page.goto("/domain?name=hotels")
    assert page.locator(".actions button").count() == 0
    expect(page.locator(".actions")).to_contain_text("offramp policy reset")


def test_without_scripts_pages_are_still_read_and_searched(
    open_page: OpenPage, looking: str
) -> None:
    """Plots are drawn, the search finds, and the sliders have a button."""
    with open_page(looking, java_script_enabled=False) as page:
        page.goto("/domains?search=hot")
        page.get_by_role("link", name="hotels").click()
        expect(page.locator("figure.plot polyline").first).to_be_attached()
        page.get_by_role("button", name="Work it out").click()
        expect(page.locator("#what-if-text")).not_to_contain_text("gate")  # there was none
        expect(page.get_by_label("Gate")).to_have_value("0.889")
