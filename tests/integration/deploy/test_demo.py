"""The demo, as `make demo` runs it, with fewer events."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time

import psutil
import pytest

from consumer.kafka.targets import is_compacted
from consumer.kafka.topics import NewTopic, connected, create_new_topics, describe_cluster
from consumer.settings.sections import PRETRAINED, KafkaSettings
from demo.fleet import AHEAD, feeding, read_all
from demo.running import PREDICTIONS, topics_of
from demo.texts import Text, draw, later_files, read_domains, read_texts, sample_files
from tests.support.waiting import wait_for


def test_the_samples_are_enough_and_labelled():
    """Five domains or more, at least 120 texts each, no text twice, both classes alike often."""
    files, later = sample_files(), later_files()
    assert len(files) >= 5
    assert later
    assert later.keys() < files.keys()
    texts = {name: read_texts(path) for name, path in files.items()}
    assert all(len(rows) >= 120 for rows in texts.values())
    texts |= {f"{name}, later": read_texts(path) for name, path in later.items()}
    everything = [text.text for rows in texts.values() for text in rows]
    assert len(set(everything)) == len(everything)
    for rows in texts.values():
        positive = sum(text.label == 1 for text in rows)
        assert {text.label for text in rows} == {0, 1}
        assert 0.4 * len(rows) <= positive <= 0.6 * len(rows)


def test_labels_of_own_files_count_where_the_model_has_them(tmp_path):
    """By name or number; those of another model leave the accuracy out rather than spoil it."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\nfine,positive\nbad,0\nso so,\n")
    assert [text.label for text in read_texts(path)] == [1, 0, None]
    path.write_text("text,label\nfine,positive\nbad,5\n")
    assert [text.label for text in read_texts(path)] == [None, None]
    assert [text.label for text in read_texts(path, ("5", "positive"))] == [1, 0]


def test_draws_use_every_text_before_any_again():
    """Each domain's texts come round in turn, with ids of their own."""
    texts = {name: read_texts(path)[:5] for name, path in sample_files().items()}
    events = list(draw(texts, 10, seed=1))
    assert len({e.id for e in events}) == 10 * len(texts)
    films = [e.number for e in events if e.domain == "films"]
    assert sorted(films[:5]) == sorted(films[5:]) == list(range(5))


def test_a_domain_turns_to_its_later_texts_in_the_middle():
    """The first half has none of them and the second half has only them; others do not turn."""
    texts = read_domains(sample_files(), later_files(), ("negative", "positive"))
    events = list(draw(texts, 20, seed=1))
    turned = [texts["hotels"][e.number].later for e in events if e.domain == "hotels"]
    assert turned == [False] * 10 + [True] * 10
    assert not any(texts["films"][e.number].later for e in events if e.domain == "films")


def test_the_feeder_waits_for_what_it_has_written(kafka):
    """It keeps the domains side by side: a while ahead of what is predicted, and no further."""
    texts = {"waits": [Text(f"text {i}", None) for i in range(10)]}
    settings = KafkaSettings(bootstrap_servers=kafka)
    create_new_topics(settings, [NewTopic("texts.waits", 1)])
    done = 0
    with feeding(kafka, "texts.{}".format, draw(texts, 9000, seed=0), done=lambda: done):
        wait_for(lambda: len(read_all(kafka, "texts.waits")) == AHEAD)
        time.sleep(0.5)
        assert len(read_all(kafka, "texts.waits")) == AHEAD
        done = 10
        wait_for(lambda: len(read_all(kafka, "texts.waits")) == AHEAD + 10)


def test_its_topics_are_all_that_a_fleet_needs(kafka):
    """As `offramp topics init` makes them: what people set in the demo is kept, too."""
    settings = KafkaSettings(
        bootstrap_servers=kafka, dead_letters="demo-dead", policy_topic="demo-policy"
    )
    create_new_topics(settings, topics_of(["demo-films"], settings))
    there = describe_cluster(settings).partitions
    assert there.keys() >= {"texts.demo-films", PREDICTIONS, "demo-dead", "demo-policy"}
    assert there["demo-policy"] == 1
    with connected(settings) as admin:
        assert is_compacted(admin, "demo-policy")


def demo(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "demo", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        **options,
    )


def test_demo_predicts_everything_and_cleans_up(tmp_path):
    """It ends by itself with a summary in which each event of a file was predicted once."""
    path = tmp_path / "own.tsv"
    path.write_text("text\nfine place\nbad place\n")
    (folders := tmp_path / "tmp").mkdir()
    result = demo(
        *("--events", "60", "-o", "json", "--input", f"mine={path}"),
        env={**os.environ, "TMPDIR": str(folders)},
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["predictions"] == summary["events"] == 60
    assert summary["duplicates"] == 0
    assert {d["domain"] for d in summary["domains"]} == {"mine"}
    assert summary["layers_run"] <= summary["layers_at_full_depth"]
    assert all(d["accuracy"] is None for d in summary["domains"])
    assert PRETRAINED.is_dir()
    assert list(folders.iterdir()) == []


def test_the_result_goes_to_stdout_whole_and_progress_to_stderr():
    """Piped on, it has 80 columns, a line for each line, and no escape codes."""
    result = demo("--events", "60")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "What was learnt"
    assert any(line.startswith("300 predictions for 300 events, 0 twice") for line in lines)
    assert [line.split()[0] for line in lines[-3:]] == ["make", "make", ".venv/bin/offramp"]
    assert all(len(line) <= 80 for line in lines)
    assert not {"\x1b", "\r", "…"} & set(result.stdout + result.stderr)
    for domain in sample_files():
        assert sum(line.split()[:1] == [domain] for line in lines) == 2
    assert "starting Kafka" in result.stderr
    assert "starting Kafka" not in result.stdout
    assert "hotels: from here on its texts are of another kind" in result.stderr
    assert "from here on" not in result.stdout


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, "starting Kafka and Redis"),
        (signal.SIGTERM, "workers"),
        (signal.SIGHUP, "workers"),
        (signal.SIGKILL, "workers"),
    ],
)
def test_whatever_ends_the_demo_all_that_it_started_ends_with_it(tmp_path, number, moment):
    """Servers, workers and folders go, be it asked to end or be it killed."""
    (folders := tmp_path / "tmp").mkdir()
    log = tmp_path / "log"
    # Under `nohup` the tests ignore SIGHUP, and what they start would inherit that.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with log.open("wb") as to:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", "--events", "100000"],
            env={**os.environ, "TMPDIR": str(folders)},
            stdout=subprocess.DEVNULL,
            stderr=to,
        )
    signal.signal(signal.SIGHUP, inherited)
    try:
        wait_for(lambda: moment in log.read_text())
        least = {"workers": 7}.get(moment, 2)  # four processes, and what guards their folders
        started = wait_for(
            lambda: (
                len(found := psutil.Process(process.pid).children(recursive=True)) >= least
                and found
            )
        )
        process.send_signal(number)
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert code == (-number if number == signal.SIGKILL else 128 + number), log.read_text()
    wait_for(lambda: not any(map(psutil.Process.is_running, started)))
    wait_for(lambda: not list(folders.iterdir()))


REPORT = """
from types import SimpleNamespace as Some
from demo.summary import DomainSummary, Drift, Summary
from demo.view import Screen, live_table, next_steps, summary_view
from policy_state.reports.shares import Share
names = ["films", "a-shop-for-household-appliances-and-more"]
shares = (0.1, 0.5, 0.4)
exits = [Some(share=share) for share in shares]
report = Some(texts=1_000_000, exit=2, layer=5, exits=exits, layers_saved=0.5, disagreement=0.1)
screen = Screen(json=False)
reports, counts = dict.fromkeys(names, report), dict.fromkeys(names, 1_000_000)
table = live_table(reports, counts, names, total=2_000_000, rate=99_999)
with screen.doing("something"), screen.live(table) as show:
    screen.say("films: from here on its texts are of another kind")
    show(table)
said = "Down to layer 7, depth saves 13.4 errors in 100 texts for the price of 5.0"
domains = tuple(
    DomainSummary(
        name, True, 1_000_000, 2, 5, shares, 0.5, Share.of(90, 100), 0.95, 0.9, 0.93, said, (said,)
    )
    for name in names
)
drifts = (Drift("films", 100, f"drift: {said}"),)
summary = Summary(
    2_000_000, 2_000_000, 0, 99_999, 6_000_000, 12_000_000, 0.95, 100, 300, 0.1, domains, drifts
)
screen.result(table, summary_view(summary), "", next_steps())
"""


def on_a_terminal(program, **environ):
    """Return what a program writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    names = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "COLORTERM", "TERM"}
    plain = {name: value for name, value in os.environ.items() if name not in names}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**plain, "TERM": "xterm-256color", **environ},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # so a terminal says that nobody writes to it any more
            while part := os.read(ours, 4096):
                said += part
    os.close(ours)
    assert process.returncode == 0, said
    return said.decode()


def test_nothing_is_cut_off_at_80_columns():
    """Long names are folded, and no word or number ends in dots."""
    said = on_a_terminal(REPORT, TERM="dumb")
    assert "…" not in said
    assert "..." not in said
    assert all(len(line) <= 80 for line in said.splitlines())
    for words in (
        *(
            "99,999 events/s",
            "1,000,000",
            "differs",
            "same as",
            "right at",
            "90% ±7",
            "films, later",
        ),
        *("Careful: Down to layer 7", "3.0 times as long", "films has changed", "Try next"),
    ):
        assert words in said


def test_a_terminal_without_colours_gets_none():
    """Where NO_COLOR is set no colour is sent, and to a dumb terminal no code at all."""
    colour = re.compile(r"\x1b\[[0-9;]*(3|4|9|10)[0-8]")
    assert colour.search(on_a_terminal(REPORT))
    assert not colour.search(on_a_terminal(REPORT, NO_COLOR="1"))
    assert "\x1b" not in on_a_terminal(REPORT, TERM="dumb")
