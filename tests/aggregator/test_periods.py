"""Figures of a level that no border parts, against every base interval looked at in turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.periods import first_start, pieces
from contract.interval import DAY_MS, HOUR_MS, day_start, hour_start, month_start, next_month
from contract.stored import Level

GRID_MS = 900_000
MARCH_MS = month_start(1_772_380_800_000)


def end_of(level: Level, start_ms: int) -> int:
    if level is Level.MONTH:
        return next_month(start_ms)
    return start_ms + {Level.DAY: DAY_MS, Level.HOUR: HOUR_MS}.get(level, GRID_MS)


def starts(level: Level, from_ms: int, to_ms: int) -> list[int]:
    start = {Level.MONTH: month_start, Level.DAY: day_start, Level.HOUR: hour_start}.get(level)
    return [
        at
        for at in range(from_ms // GRID_MS * GRID_MS, to_ms, GRID_MS)
        if from_ms <= at and (start is None or start(at) == at)
    ]


times = st.integers(0, 40 * 24 * 4 * 3).map(lambda n: MARCH_MS + n * GRID_MS // 3)


@given(level=st.sampled_from(Level), borders=st.lists(times, max_size=4), a=times, b=times)
def test_pieces_make_up_the_figures_asked_for_and_no_border_lies_inside_one(level, borders, a, b):
    from_ms, to_ms = min(a, b), max(a, b)
    found = list(pieces(level, GRID_MS, borders, from_ms, to_ms))
    covered = []
    for one, start_ms, end_ms in found:
        for at in starts(one, start_ms, end_ms):
            covered.append((at, end_of(one, at)))
            if one is not Level.INTERVAL:
                assert not any(at < border < end_of(one, at) for border in borders)
    asked = [(at, end_of(level, at)) for at in starts(level, from_ms, to_ms)]
    assert [low for low, _ in covered[1:]] == [high for _, high in covered[:-1]]
    assert covered[:1] == [] or covered[0][0] == asked[0][0]
    assert covered[-1:] == [] or covered[-1][1] == asked[-1][1]
    assert bool(covered) == bool(asked)
    for at, end in asked:  # what no border parts is not read as more than one figure
        if not any(at < border < end for border in borders):
            assert (at, end) in covered


@pytest.mark.parametrize("level", Level)
def test_without_borders_there_is_one_piece(level: Level):
    end_ms = next_month(MARCH_MS)
    assert list(pieces(level, GRID_MS, [], MARCH_MS, end_ms)) == [(level, MARCH_MS, end_ms)]
    assert first_start(level, GRID_MS, MARCH_MS) == MARCH_MS
