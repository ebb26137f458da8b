"""Walks every command with a hostile value for every argument and option, and says what broke.

    python -m tests.support.cli_walk [--all]

The commands are those of the command line itself, so a new one is walked without being asked for.
Each argument and option gets a few of the values, with `--all` every one, as in `make chaos`.
Run it in a separate process, in an empty folder: some of the values name files.
"""

import contextlib
import io
import json
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from consumer.cli.app import app, main
from consumer.settings.load import Settings
from consumer.settings.variables import setting_names

LIMIT_S = 60.0  # for one command; the first to need torch takes 20 s where others load the machine
CODES = {0, 1, 2, 3, 4}
HOSTILE = (
    *(
        "",
        "a\0b",
        "a\nb",
        "\udcff",
        "\u202e",
        "x" * 10_000,
        "%s%n%",
        "../up",
        '{"a": 1}',
        "[" * 5000,
    ),
    *("1" + "0" * 30, "-1", "0", "NaN", "inf", "1e400", "1,2,x", "9" * 5000),
    *(".", "missing/none.tsv", "rubbish.tsv.zst", "empty.json", "rubbish.toml"),
    *("redis://127.0.0.1:99999/0", "redis://127.0.0.1:1/0", "redis://[::1", "127.0.0.1:port"),
    *("redis+cluster://h:0/x", "http://[::1", "127.0.0.1:99999", "127.0.0.1:1", "a b", "é.tsv"),
)
EACH = 1  # of them each argument and option of each command; all are met over the walk
NEEDED = {
    "domain": "hotels",
    "file": "texts.tsv",
    "matrix": "matrix.tsv",
    "layers": "1,2",
    "topics": "a.+",
    "exit_": "1",
    "files": "texts.tsv",
    "texts_file": "texts.tsv",
    "place": "0@1",
    "events_per_second": "1000",
}
QUICK = {  # where a command has these, and something else is tried
    "trials": "1",
    "texts": "20",
    "token_file": "missing",  # ends a dashboard before it serves
}


def commands() -> Iterator[tuple[tuple[str, ...], list[TyperArgument | TyperOption]]]:
    """Yield every command with its arguments and options."""

    def walk(command: Any, words: tuple[str, ...]):
        if isinstance(command, TyperGroup):
            for name, inner in command.commands.items():
                yield from walk(inner, (*words, name))
        else:
            params = command.params
            yield words, [p for p in params if isinstance(p, TyperArgument | TyperOption)]

    yield from walk(typer.main.get_command(app), ())


def words_for(params, hostile=None, value: str = "") -> list[str]:
    """Return a command's arguments: what it needs, and one of them hostile."""
    options, arguments = [], []
    for param in params:
        given = value if param is hostile else NEEDED.get(param.name, "missing")
        if isinstance(param, TyperArgument):
            if param.required or param is hostile:
                arguments.append(given)
        elif param.name == "yes":
            options.append("--yes")
        elif param.name in QUICK and param is not hostile:
            options.append(f"{param.opts[0]}={QUICK[param.name]}")
        elif param.required or param is hostile:
            options.append(f"{param.opts[0]}={given}")
    return [*options, "--", *arguments]


def cases(*, everything: bool) -> Iterator[list[str]]:
    """Yield what is tried."""
    found = list(commands())
    takes = [(p, w, params) for w, params in found for p in params if not flag(p)]
    at = 0
    for param, words, params in takes:
        values: tuple[str, ...] = HOSTILE
        if not everything:
            values = tuple(HOSTILE[(at + n) % len(HOSTILE)] for n in range(EACH))
            at += EACH
        assigns = "NAME=VALUE" in (getattr(param, "metavar", None) or "")
        for value in values:
            shown = f"alpha={value}" if assigns else value
            yield [*words, *words_for(params, param, shown)]
    names = list(setting_names(Settings))
    for number, name in enumerate(names):
        for n in range(len(HOSTILE) if everything else EACH):
            value = HOSTILE[(number * EACH + n) % len(HOSTILE)]
            yield ["config", "show", f"--set={name}={value}"]


def flag(param) -> bool:
    """Say whether it takes no value."""
    return bool(getattr(param, "is_flag", False)) or param.name == "help"


def broken(arguments: list[str]) -> str | None:
    """Run a command and return what was not as it should be."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    code: object = None
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001  (whatever it is, it is what is looked for)
        return traceback.format_exc(limit=-4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    err.flush()
    said = err.buffer.getvalue().decode()
    if code not in CODES:
        return f"exit code {code!r}"
    if "Traceback" in said:
        return said
    out.flush()
    if code in (1, 2) and not said.strip() and not out.buffer.getvalue().strip():
        return f"exit code {code} without a word"
    return None


def too_long(*_: object) -> None:
    """Tell of a hang."""
    raise TimeoutError(f"took longer than {LIMIT_S} s")


def prepare() -> None:
    """Write the files that values name."""
    Path("texts.tsv").write_text("text\tlabel\na\t0\n")
    Path("matrix.tsv").write_text("0\t1\n0\t1\n1\t1\n")
    Path("rubbish.tsv.zst").write_bytes(b"\xff\x00rubbish")
    Path("rubbish.toml").write_bytes(b"\xff\x00rubbish")
    Path("empty.json").write_text("")
    Path("é.tsv").write_bytes(b"text\n\xff\n")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, too_long)
    prepare()
    begun, tried = time.monotonic(), 0
    slow: defaultdict[str, float] = defaultdict(float)
    for arguments in cases(everything="--all" in sys.argv):
        tried += 1
        start = time.monotonic()
        if (found := broken(arguments)) is not None:
            typer.echo(json.dumps({"arguments": [a[:100] for a in arguments], "broken": found}))
        slow[" ".join(arguments[:2])] += time.monotonic() - start
    longest = sorted(slow.items(), key=lambda row: -row[1])[:8]
    said = f"{tried} tried in {time.monotonic() - begun:.1f} s, longest {longest}"
    typer.echo(said, err=True)
