"""The command line as a whole: one name for one thing, and help that fits a terminal."""

from collections.abc import Iterator

import typer
from typer.core import TyperGroup, TyperOption
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.cli.output import Output

WIDTH = 80
SAYS_NOTHING = {"dashboard", "policy export", "shadow"}  # pages; the export itself; a log


def commands() -> Iterator[tuple[str, list[TyperOption]]]:
    """Yield every command with its options."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, list[TyperOption]]]:
        if isinstance(command, TyperGroup):
            for name, inner in command.commands.items():
                yield from walk(inner, (*words, name))
        else:
            params = getattr(command, "params", [])
            yield " ".join(words), [p for p in params if isinstance(p, TyperOption)]

    yield from walk(typer.main.get_command(app), ())


def test_minus_o_is_the_format_of_every_command() -> None:
    """`-o` and `--output` take the same formats everywhere, and nothing else is called so."""
    for name, options in commands():
        meant = [o for o in options if {"-o", "--output", "--format"} & set(o.opts)]
        formats = [o for o in meant if o.opts == ["--output", "-o"]]
        assert len(formats) == (name not in SAYS_NOTHING), name
        for option in formats:
            assert isinstance(option.default, Output), name


def test_a_short_option_is_short_for_the_same_thing_everywhere() -> None:
    """A letter stands for one long name in all commands, and that name has it in all of them."""
    letters: dict[str, set[str]] = {}
    for _, options in commands():
        for option in options:
            long = next(opt for opt in option.opts if opt.startswith("--"))
            short = next((opt for opt in option.opts if not opt.startswith("--")), "")
            letters.setdefault(long, set()).add(short)
    assert {name: found for name, found in letters.items() if len(found) > 1} == {}
    owners = [short for found in letters.values() for short in found if short]
    assert sorted(owners) == sorted(set(owners))


def test_names_of_options_are_not_cut_at_80_columns() -> None:
    """Each is in the help to its end, whatever the command."""
    for name, options in commands():
        shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": str(WIDTH)})
        for option in [option for option in options if not option.hidden]:
            assert f"{option.opts[0]} " in shown.stdout, name


def test_help_of_all_commands_has_a_line_for_each_at_80_columns() -> None:
    """What is used every day stands at the top, in panels, one line a command."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": str(WIDTH)}).stdout
    lines = shown.splitlines()
    assert all(len(line) <= WIDTH for line in lines)
    panels = [line.strip("╭─╮ ") for line in lines if line.startswith("╭")]
    assert panels == ["Options", "Run", "Look and pin", "Topics and routes", "Models", "Lab"]
    below = lines[next(i for i, line in enumerate(lines) if line.startswith("╭─ Run")) :]
    named = [line.split()[1] for line in below if line.startswith("│")]
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert sorted(named) == sorted(group.commands)
