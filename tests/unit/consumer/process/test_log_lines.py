"""What a worker's log leaves out."""

import io
import logging
import os
import subprocess
import sys
import time

import pytest
from kafka.errors import Cancelled, KafkaTimeoutError

from consumer.process.log_lines import ChildLines, OncePerMinute, ShownLines


@pytest.fixture
def clock():
    return [1_000.0]


@pytest.fixture
def say(clock):
    """Return what logs a line, and says what was written of it."""
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(OncePerMinute(clock=lambda: clock[0]))

    def log(name, message, *args):
        handler.stream = io.StringIO()
        handler.handle(logging.LogRecord(name, logging.ERROR, "", 0, message, args, None))
        return handler.stream.getvalue().strip()

    return log


def test_a_line_of_another_package_is_written_once_a_minute(say, clock):
    """The next one says how many were left out; another line is another one."""
    assert say("kafka.cluster", "Topic %s not found", "a") == "Topic a not found"
    assert [say("kafka.cluster", "Topic %s not found", "a") for _ in range(3)] == [""] * 3
    assert say("kafka.cluster", "Topic %s not found", "b") == "Topic b not found"
    clock[0] += 61
    expected = "Topic a not found (and 3 times more since the last)"
    assert say("kafka.cluster", "Topic %s not found", "a") == expected
    assert say("kafka.cluster", "Topic %s not found", "b") == "Topic b not found"


def test_closing_a_client_is_no_error(say):
    """What kafka-python says of a request under way is left out then; other faults are not."""
    assert say("kafka.cluster", "Metadata refresh: failed %s", Cancelled()) == ""
    assert say("kafka.cluster", "Metadata refresh: failed %s", KafkaTimeoutError()) != ""


def test_our_own_lines_are_all_written(say):
    """Each batch has one, and two may say the same."""
    assert [say("offramp.worker", "batch events=1") for _ in range(2)] == ["batch events=1"] * 2


def test_each_line_of_a_child_has_its_name(capfdbinary):
    """Also what is no line of a log, the last one without an end, and lines that come in pieces."""
    script = "import sys, time; w = lambda s: (sys.stderr.write(s), sys.stderr.flush());"
    script += "w('one\\ntw'); time.sleep(0.3); w('o\\n\\nrest')"
    lines, children = ChildLines(ShownLines(2)), []
    for name in ("w-0", "w-1"):
        child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
        assert child.stderr is not None
        children.append(child)
        lines.add(name, child.stderr)
    deadline, written = time.monotonic() + 20, list[bytes]()
    while len(written) < 8 and time.monotonic() < deadline:
        lines.pass_on(0.1)
        written += capfdbinary.readouterr().err.splitlines()
    assert [child.wait(20) for child in children] == [0, 0]
    for named in (b"w-0", b"w-1"):
        own = [line for line in written if line.startswith(named)]
        assert own == [named + b" | " + said for said in (b"one", b"two", b"", b"rest")]


def test_lines_that_nobody_reads_hold_nobody_up():
    """Those that come late are read in order; how many there was no room for is said after them."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    shown, total = ShownLines(writer), 40_000
    for number in range(total):
        shown.write(f"a line with the number {number:>20}\n")
    shown.finish(0.1)
    read = bytearray()
    for _ in range(10_000):
        try:
            read += os.read(reader, 65_536)
        except BlockingIOError:
            break
        shown.flush()
    shown.write("the last\n")
    shown.finish(1)
    *lines, last = (read + os.read(reader, 65_536)).decode().splitlines()
    numbers = [int(line.split()[-1]) for line in lines if line.startswith("a line")]
    assert numbers == list(range(len(numbers)))
    said = f"supervisor | {total - len(numbers)} lines left out because nobody read them"
    assert (lines[len(numbers) :], last) == ([said], "the last")
    assert len(numbers) > total // 2
    os.close(reader)
    shown.write("to nobody\n")
    os.close(writer)
