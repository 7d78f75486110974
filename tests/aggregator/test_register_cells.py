"""One cell: what is read is written as one spelling, and read again as the same value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.register.cells import (
    COUNT,
    CREDIT_CODE,
    DATE,
    PERIOD,
    TEXT,
    VALID_FROM,
    YES_NO,
    Cell,
    number,
    optional,
)

AMOUNT = number(-1e15, 1e15, "x")
LATEST_MS = 7_258_118_399_999  # 2199-12-31T23:59:59.999Z


@given(st.floats(-1e15, 1e15))
def test_every_number_comes_back_exactly(value):
    text = AMOUNT.write(value)
    assert AMOUNT.read(text) == value
    assert AMOUNT.write(AMOUNT.read(text)) == text


@given(st.integers(0, LATEST_MS - 8 * 3_600_000))
def test_every_time_comes_back_exactly(time_ms):
    text = VALID_FROM.write(time_ms)
    assert VALID_FROM.read(text) == time_ms
    assert VALID_FROM.write(VALID_FROM.read(text)) == text


@given(st.text())
def test_a_text_is_kept_or_refused_never_altered(text):
    try:
        assert TEXT.write(TEXT.read(text)) == text
    except ValueError:
        assert any(ord(mark) < 32 or ord(mark) == 127 for mark in text) or len(text) > 1000


@pytest.mark.parametrize(
    ("cell", "text", "normal"),
    [
        (AMOUNT, "2.4e4", "24000"),
        (AMOUNT, "-0", "0"),
        (AMOUNT, " 0.10", "0.1"),
        (AMOUNT, "1e15", "1000000000000000"),
        (AMOUNT, "0.000001", "1e-06"),
        (VALID_FROM, "2026-03-01T00:00:00+08:00", "2026-03-01"),
        (VALID_FROM, "2026-02-28T16:00Z", "2026-03-01"),
        (VALID_FROM, "2026-03-01T00:00:00.5+08:00", "2026-03-01T00:00:00.500+08:00"),
        (VALID_FROM, "1970-01-01T00:00Z", ""),
        (DATE, "20260301", "2026-03-01"),
        (optional(COUNT), "007", "7"),
        (optional(COUNT), "", ""),
        (optional(DATE), "", ""),
        (YES_NO, "no", "no"),
    ],
)
def test_one_spelling_per_value(cell: Cell, text, normal):
    assert cell.write(cell.read(text)) == normal


@pytest.mark.parametrize(
    ("cell", "text", "reason"),
    [
        (AMOUNT, "", "empty"),
        (AMOUNT, "1_000", "not a number"),
        (AMOUNT, "１２", "not a number"),
        (AMOUNT, "1e400", "is not between"),
        (AMOUNT, "nan", "is not between"),
        (AMOUNT, "1,5", "1,5"),
        (COUNT, "1234567890", "above 999999999"),
        (COUNT, "-1", "not a whole number"),
        (COUNT, "²", "not a whole number"),
        (VALID_FROM, "1969-12-31", "before 1970"),
        (VALID_FROM, "9999-12-31T23:59-12:00", "after 2199"),
        (VALID_FROM, "2026-01-01T00:00:00.0001Z", "finer than a millisecond"),
        (DATE, "2026-02-29", "not a date"),
        (PERIOD, "2026-13", "neither a year"),
        (PERIOD, "2026-1", "neither a year"),
        (PERIOD, "1026", "neither a year"),
        (CREDIT_CODE, "91370114", "not a code of 18"),
        (TEXT, "a\0b", "control character"),
        (TEXT, "a" * 1001, "longer than 1000"),
        (YES_NO, "true", "unknown answer"),
    ],
)
def test_refused(cell: Cell, text, reason):
    with pytest.raises(ValueError, match=reason):
        cell.read(text)
