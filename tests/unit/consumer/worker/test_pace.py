"""How fast a worker is."""

import pytest

from consumer.worker.pace import Pace


def test_the_last_minute_counts():
    """A worker that has become faster shows that after a minute, and keeps its pace when idle."""
    pace, texts = Pace(), 0
    for now in range(100):
        pace.note(now, busy_s=now, texts=texts)
        texts += 10 if now < 30 else 40
    assert pace.texts_per_s == pytest.approx(40)
    for now in range(100, 300):
        pace.note(now, busy_s=100, texts=texts)
    assert pace.texts_per_s == pytest.approx(40)


def test_a_worker_that_has_done_nothing_has_no_pace():
    """Before the first batch is through there is no figure that could be mistaken for one."""
    pace = Pace()
    for now in range(5):
        pace.note(now, busy_s=0.0, texts=0)
    assert pace.texts_per_s == 0
