"""Which offsets are counted: a mark with gaps against a plain set of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from policy_state.store.offsets import GAPS_MAX, Counted, Status, format_gaps, parse_gaps, uncovered
from tests.support.memory.marks import judged

ranges = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda r: (r[0], r[0] + r[1]))


def offsets(counted: Counted) -> set[int]:
    """Return every offset that is counted."""
    return set(range(counted.upto)) - {o for gap in counted.gaps for o in range(*gap)}


@given(many=st.lists(ranges, max_size=25))
def test_what_is_counted_is_what_was_applied(many: list[tuple[int, int]]) -> None:
    """After any ranges in any order exactly the offsets that were applied are counted."""
    counted, once = Counted(), set[int]()
    for first, following in many:
        wanted = set(range(first, following))
        found = judged(counted, first, following)
        missing = {o for piece in found.missing for o in range(*piece)}
        if found.status is Status.APPLIED:
            assert not wanted & once
            once |= wanted
        else:
            assert found.after == counted
            assert missing == wanted - once
            assert (found.status is Status.DUPLICATE) == (not missing)
        counted = found.after
        assert offsets(counted) == once
    assert parse_gaps(format_gaps(counted.gaps)) == counted.gaps


def test_pieces_that_are_missing_can_be_applied() -> None:
    """What an overlap names as missing is applied when it comes, piece by piece."""
    counted = Counted(100, ((20, 30), (50, 60)))
    missing = judged(counted, 0, 120).missing
    assert missing == ((20, 30), (50, 60), (100, 120))
    for piece in missing:
        found = judged(counted, *piece)
        assert found.status is Status.APPLIED
        counted = found.after
    assert counted == Counted(120)


def test_the_smallest_gaps_are_given_up_first() -> None:
    """Of too many gaps the large ones stay, and what the others held is said to be lost."""
    counted, lost = Counted(0), 0
    for number in range(GAPS_MAX + 8):
        size = 50 if number == 3 else 1
        found = judged(counted, counted.upto + size, counted.upto + size + 5)
        counted, lost = found.after, lost + found.lost
    assert (len(counted.gaps), lost) == (GAPS_MAX, 8)
    assert [b - a for a, b in counted.gaps].count(50) == 1


@given(wanted=ranges, taken=st.lists(ranges, max_size=5))
def test_uncovered_is_the_difference_of_sets(
    wanted: tuple[int, int], taken: list[tuple[int, int]]
) -> None:
    """The pieces hold what is wanted and not taken, each offset once."""
    left = [o for piece in uncovered(wanted, taken) for o in range(*piece)]
    assert left == sorted(set(range(*wanted)) - {o for t in taken for o in range(*t)})
