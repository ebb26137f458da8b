"""Links of pages lead somewhere, as GitHub shows the pages; the site checks its own."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            p
            for top in ("benchmarks", "demo", "deploy", "docs", "model")
            for p in (ROOT / top).rglob("*.md")
        ),
    ]
)
LINK = re.compile(r"\]\(([^()\s]+)(?: \"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")


def prose(page: Path) -> str:
    """Return a page without its code."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"`[^`\n]*`", "", text)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")
        again = sum(
            name == anchor or re.fullmatch(rf"{re.escape(anchor)}-\d+", name) is not None
            for name in found
        )
        found.append(f"{anchor}-{again}" if again else anchor)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    """A page that moves, or a heading that is renamed, takes its links along."""
    for groups in LINK.findall(prose(page)):
        link = "".join(groups)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)}: no {link}"
        assert not anchor or anchor in anchors(target), f"{page.relative_to(ROOT)}: no {link}"


def test_links_are_found() -> None:
    """A search that finds nothing would accept everything."""
    assert sum(len(LINK.findall(prose(page))) for page in PAGES) > 200


def test_the_start_leads_to_every_page() -> None:
    """A page that nobody links is found by nobody."""
    docs = ROOT / "docs"
    start = (docs / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in docs.glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in start} == set()
