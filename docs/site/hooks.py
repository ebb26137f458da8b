"""What `make docs` does besides rendering `docs`: pages made from code, and files outside docs.

Pages link to files of the repository as GitHub shows them (`../benchmarks/results/worth.md`). The
site has a copy of each file that is linked, and links lead there.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.site import reference
from docs.site.notebook import page_of

_ROOT: Final = Path(__file__).parents[2]
_LINK: Final = re.compile(r'(?<=\]\()[^)\s#"]+(?=[)#])')
_LESS_FOUND: Final = 0.3  # of pages from outside, and of decisions, in the search


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from code, and the files of the repository that are linked."""
    for uri, text in reference.pages().items():
        files.append(File.generated(config, uri, content=text))
    notebook = _ROOT / "docs" / "concepts" / "exits.ipynb"
    files.append(File.generated(config, "concepts/exits.md", content=page_of(notebook)))
    for path in sorted(_outside(file.src_uri for file in files.documentation_pages())):
        files.append(File.generated(config, path, abs_src_path=str(_ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the text with links that hold on the site."""
    uri = page.file.src_uri
    if not (_ROOT / "docs" / uri).exists() or uri.startswith("decisions/0"):
        page.meta.setdefault("search", {"boost": _LESS_FOUND})

    def on_site(link: re.Match[str]) -> str:
        target = _target(uri, link[0])
        if target is None:
            return link[0]
        return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(uri) or ".")

    return _LINK.sub(on_site, markdown)


def _outside(uris: Iterable[str]) -> set[str]:
    """Return the files outside of docs that pages link to, and what these link to."""
    found: set[str] = set()
    left = list(uris)
    while left:
        uri = left.pop()
        source = _ROOT / _source(uri)
        if source.suffix != ".md" or not source.exists():
            continue
        for link in _LINK.findall(source.read_text(encoding="utf-8")):
            target = _target(uri, link)
            if target and not target.startswith("docs/") and target not in found:
                found.add(target)
                left.append(target)
    return found


def _source(uri: str) -> str:
    """Return the file of the repository that a page of the site comes from."""
    return f"docs/{uri}" if (_ROOT / "docs" / uri).exists() else uri


def _target(uri: str, link: str) -> str | None:
    """Return the file of the repository that a link of a page leads to, if it is one."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(_source(uri)), link))
    return path if (_ROOT / path).is_file() else None
