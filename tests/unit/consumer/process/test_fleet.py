"""The workers of a supervisor, as it ends them."""

import os
import subprocess
import sys
import threading

from consumer.metrics import catalogue as m
from consumer.metrics.board import Board
from consumer.metrics.report import ReportReader
from consumer.process.log_lines import ChildLines, ShownLines
from consumer.process.supervisor import _Child, _Fleet

LAST = b'{"sums": [[["offramp_records_total", ["predicted"]], 7]], "spreads": []}\n'
WORKER = """
import os, signal, sys
def end(*_):
    os.write(int(sys.argv[1]), sys.argv[2].encode())
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
signal.pause()
"""


def test_what_workers_report_as_they_end_is_counted(capfd):
    """Each of them writes a report and is gone; all of it is on the board."""
    names = ["w-0", "w-1", "w-2"]
    board = Board(names, stuck_s=300)
    fleet = _Fleet(names, [], {}, ChildLines(ShownLines(os.dup(2))), board)
    children: list[_Child] = fleet._children
    for child in children:
        child.reports = ReportReader()
        fd = child.reports.writer_fd
        child.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(fd), LAST.decode()],
            stdout=subprocess.PIPE,
            pass_fds=[fd],
        )
        child.reports.started()
    for child in children:
        assert child.process
        assert child.process.stdout
        with child.process.stdout as up:
            assert up.readline() == b"up\n"
    assert fleet.end(threading.Event(), within_s=30) == {0}
    assert board.figures()[0].sums[m.RECORDS.name, ("predicted",)] == 21
