"""What restated a figure, written in one line and joined: against plain sets of batches."""

from hypothesis import given
from hypothesis import strategies as st

from aggregator.details import batches_text, joined

BATCHES = st.sets(
    st.tuples(
        st.sampled_from(["gw-1", "gw-2"]),
        st.sampled_from(["00000000000000aa", "00000000000000bb"]),
        st.integers(1, 12),
    ),
    max_size=20,
)


def read(text: str) -> set[tuple[str, str, int]]:
    found = set()
    for part in text.split():
        name, ranges = part.rsplit(":", 1)
        edge, outbox = name.split("/")
        for one in ranges.split(","):
            low, _, high = one.partition("-")
            found |= {(edge, outbox, seq) for seq in range(int(low), int(high or low) + 1)}
    return found


@given(BATCHES, BATCHES)
def test_batches_of_both_are_named_once(some, others):
    old, new = batches_text(some), batches_text(others)
    assert read(old) == some
    if some and others:
        assert read(joined(old, new)) == some | others
        assert joined(old, new) == batches_text(some | others)


def test_neighbours_are_a_range():
    seqs = [4, 1, 2, 3, 9]
    assert batches_text(("gw-1", "aa", seq) for seq in seqs) == "gw-1/aa:1-4,9"


def test_of_rows_of_tables_the_last_count():
    assert joined("grid-37-2022", "grid-37-2023") == "grid-37-2023"
    assert joined("", "gw-1/aa:1") == "gw-1/aa:1"
