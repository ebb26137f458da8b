"""Every `offramp ..` on a page, and in the examples of the help, is one that the program takes."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from consumer.cli.app import app
from consumer.settings.load import Settings
from consumer.settings.variables import setting_names
from tests.support.docs.commands import ROOT, mentioned, pages, typed

COMMANDS = typer.main.get_command(app)
PAGES = [page for page in pages() if "offramp" in page.read_text(encoding="utf-8")]
PLACEHOLDER = re.compile(r"[A-Z]{2,}|\.\.|\[")  # `offramp pin D --exit K`, `offramp COMMAND`


def found(words):
    """Return the command that is meant, and its arguments."""
    command, rest = COMMANDS, list(words)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"offramp {' '.join(words)}: no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    return command, rest


def accepted(words):
    """Fail if the program would refuse these arguments before it does anything."""
    command, rest = found(words)
    try:
        command.make_context("offramp", list(rest))
    except typer.Exit:
        return  # --help, --version
    except Exception as error:
        error.add_note(f"offramp {' '.join(words)}")
        raise
    known = setting_names(Settings)
    for option, value in pairwise(rest):
        if option == "--set":
            assert value.split("=")[0] in known, f"offramp {' '.join(words)}: no setting {value}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_only_commands_that_there_are(page: Path) -> None:
    """Who copies a command of a page is not told that an option does not exist."""
    text = page.read_text(encoding="utf-8")
    for words in typed(text):
        accepted(words)
    for words in mentioned(text):
        if PLACEHOLDER.search(words[0]):
            continue
        command, rest = found(words)
        known = {name for param in command.params for name in [*param.opts, *param.secondary_opts]}
        asked = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert asked <= known | {"--help"}, f"offramp {' '.join(words)}"


def test_the_examples_of_the_help_are_taken() -> None:
    """The same of what `--help` shows below the options."""

    def examples(command):
        if isinstance(command, TyperGroup):
            for inner in command.commands.values():
                yield from examples(inner)
        yield from re.findall(r"^`(.*)`$", command.epilog or "", re.MULTILINE)

    tried = 0
    for example in examples(COMMANDS):
        for words in typed(f"    {example}"):
            accepted(words)
            tried += 1
    assert tried > 50


def test_commands_are_looked_for_where_pages_show_them() -> None:
    """A search that finds nothing would accept everything."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert sum(len(list(typed(text))) for text in texts) > 100
    assert sum(len(list(mentioned(text))) for text in texts) > 100
