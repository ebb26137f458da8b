"""The commands that pages show: in blocks of code, and within sentences."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_SKIPPED = {".venv", ".git", "build", "dist", "decisions"}
_OURS = {"offramp", ".venv/bin/offramp"}
_FENCE = re.compile(r"^\s*```(\w*)(?: title=\"(.*)\")?")
_INLINE = re.compile(r"`offramp ([^`]+)`")
_ENDS = {"|", "||", "&&", "&", ";", ">", ">>", "<"}  # of one command in a line of a shell


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def pages() -> list[Path]:
    """Return all pages of the repository, except decisions, which tell what was once."""
    found = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]
    for top in ("benchmarks", "demo", "deploy", "docs", "model"):
        found += (ROOT / top).rglob("*.md")
    return sorted(p for p in found if not _SKIPPED & set(p.relative_to(ROOT).parts))


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    inside: Block | None = None
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if fence and inside is None:
            inside = Block(fence[1], fence[2] or "", "")
        elif fence and inside is not None:
            yield inside
            inside = None
        elif inside is not None:
            inside = Block(inside.language, inside.title, f"{inside.text}{line}\n")


def typed(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `offramp ..` in a block, fenced or indented."""
    language: str | None = None  # of the fence that is open
    shown: list[str] = []
    for line in text.splitlines():
        if fence := _FENCE.match(line):
            language = fence[1] if language is None else None
        elif language in {"", "sh"} or (language is None and line.startswith("    ")):
            shown.append(line.strip())
    for line in "\n".join(shown).replace("\\\n", " ").splitlines():
        if "offramp" in line:
            yield from _arguments(line)


def mentioned(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `offramp ..` within a sentence, which may lack some."""
    for found in _INLINE.findall(text):
        yield found.split("|")[0].split()


def _arguments(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # a quote that ends in another line: no command of ours does this
        return
    for token in [*tokens, ";"]:
        if token not in _ENDS:
            words.append(token)
            continue
        for at, word in enumerate(words):
            begins = all("=" in before for before in words[:at]) or words[at - 1] == "--"
            if word in _OURS and begins:
                yield words[at + 1 :]
        words = []
