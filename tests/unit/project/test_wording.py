"""Words of messages: numbers of things, names that are not there, and examples in the help."""

import re
from pathlib import Path

import pytest
from typer.core import TyperArgument
from typer.testing import CliRunner

import consumer
from consumer.cli.app import app
from consumer.kafka.dead_letters import CLASSES
from demo.view import live_table
from policy_state.suggesting import no_such_policy
from policy_state.wording import counted
from tests.support.cli_walk import commands


@pytest.mark.parametrize(
    ("number", "thing", "said"),
    [
        (0, "text", "0 texts"),
        (1, "text", "1 text"),
        (2, "text", "2 texts"),
        (1, "copy", "1 copy"),
        (3, "copy", "3 copies"),
    ],
)
def test_one_thing_is_in_the_singular(number: int, thing: str, said: str) -> None:
    """One is one text, none and several are texts."""
    assert counted(number, thing) == said
    assert counted(number, thing, "pieces") == (said if number == 1 else f"{number} pieces")


def test_a_policy_that_is_missing_is_told_with_what_to_do() -> None:
    """Where there is none yet it is waited for; else the message names the one meant, or all."""
    assert no_such_policy("default", []).startswith("no policy exists yet: a worker creates it")
    assert no_such_policy("defualt", ["default"]).endswith("; did you mean default?")
    assert no_such_policy("x", ["a1", "b2"]).endswith("; the policies are: a1, b2")


def test_the_example_of_set_is_one_that_the_command_takes() -> None:
    """In the help of each command that does not use all settings."""
    tried = 0
    for words, params in commands():
        options = [param for param in params if "--set" in param.opts]
        if not options or words in {("worker",), ("config", "show")}:
            continue
        told = getattr(options[0], "help", "")
        example = re.search(r"e\.g\. (\S+)\.$", told)
        if example is None:  # one that Kafka needs is cut at 80 columns
            assert told.endswith("see `config show`."), words
            continue
        needed = [
            *("x" for param in params if isinstance(param, TyperArgument)),
            *(f"{p.opts[0]}=x" for p in params if p.required and p.opts[0].startswith("-")),
        ]
        asked = [f"--set={example[1]}", "--set=batch.max_events=64"]  # the first unused one is told
        result = CliRunner().invoke(app, [*words, *needed, *asked])
        if "this command does not use it" in str(result.exception):
            assert "--set batch.max_events:" in str(result.exception), words
            tried += 1
    assert tried > 12


def test_the_classes_of_dead_letters_are_those_of_the_code_and_of_the_docs() -> None:
    """`--class` knows each that a step gives, and docs/events.md tells what it means."""
    code = "".join(path.read_text() for path in Path(consumer.__file__).parent.rglob("*.py"))
    given = set(re.findall(r'InvalidEvent\(\s*"\w+", "([a-z0-9-]+)"', code))
    assert len(given) > 10
    assert given <= CLASSES
    page = (Path(consumer.__file__).parents[1] / "docs" / "events.md").read_text()
    assert not {name for name in CLASSES if f"`{name}`" not in page}


def test_the_demo_says_why_nothing_is_counted_yet() -> None:
    """Until the first event is counted, the title says what the workers do."""
    title = str(live_table({}, {}, ["hotels"], total=16_000, rate=0).title)
    assert title == "0 of 16,000 events · the workers are loading the model"
