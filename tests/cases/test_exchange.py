"""A meter is taken out and another put in; people tell the registers late, or wrong."""

import pytest

from tests.cases.rig import (
    DAY_MS,
    HOUR_MS,
    KWH,
    MINUTE_MS,
    EventKind,
    Life,
    agree,
    at,
)

DAY = at("2026-03-10 00:00")
CHANGE = DAY + 10 * HOUR_MS + 5 * MINUTE_MS
END = DAY + 2 * DAY_MS
NEW = 12 * KWH
"""What the new meter showed when it was put in."""


def exchanged(tale, life):
    """The old meter is read until the change, the new one right after it; use goes on."""
    final = life.shown(CHANGE)
    old = life.polls(DAY, CHANGE - 5 * MINUTE_MS)
    tale.send(old)
    tale.send([(t, NEW + life.shown(t) - final) for t, _ in life.polls(CHANGE + 300_000, END)])
    return final


def test_exchange_seen_late(story):
    tale, life = story(), Life(DAY, 2)
    final = exchanged(tale, life)
    before = tale.so_far()
    step = NEW + life.used(CHANGE, CHANGE + 300_000) - life.shown(CHANGE - 300_000)
    assert before.total(of="held") == step < 0
    assert before.total() == life.used(DAY, END) - life.used(CHANGE - 300_000, CHANGE + 300_000)
    assert before.restated() == {}

    seen = END + 3 * DAY_MS
    tale.say(EventKind.EXCHANGE, CHANGE, when=seen, final_micro=final, start_micro=NEW)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == ledger.total(of="estimated") == 0
    assert ledger.restated() == {
        DAY: (before.day(DAY).amount / KWH, life.used(DAY, DAY + DAY_MS) / KWH)
    }
    assert ledger.restated("amount_held") == {DAY: (step / KWH, 0.0)}
    (record,) = ledger.records()
    assert (record.cause, record.why, record.found_ms) == ("event 1", "seen on site", seen)


@pytest.mark.parametrize("wrong_by", [KWH // 2, 100 * KWH], ids=["plausible", "a wrong digit"])
def test_exchange_with_wrong_final_reading_corrected_next_week(story, wrong_by):
    tale, life = story(), Life(DAY, 2)
    final, told, week = exchanged(tale, life), END + DAY_MS, END + 8 * DAY_MS
    right = life.used(DAY, DAY + DAY_MS)
    last = life.used(CHANGE - 300_000, CHANGE)

    tale.say(EventKind.EXCHANGE, CHANGE, when=told, final_micro=final + wrong_by, start_micro=NEW)
    wrong = tale.so_far()
    plausible = wrong_by < KWH
    as_told = right + wrong_by if plausible else right - last  # else the last step is held
    assert wrong.day(DAY).amount == as_told
    assert wrong.total(of="held") == (0 if plausible else last + wrong_by)

    tale.say(EventKind.EXCHANGE, CHANGE, when=week, final_micro=final, start_micro=NEW)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == 0
    first, second = ledger.records()
    assert (first.cause, first.from_value, first.to_value) == ("event 1", *wrong.restated()[DAY])
    assert (second.cause, second.found_ms) == ("event 2", week)
    assert (second.from_value, second.to_value) == (as_told / KWH, right / KWH)


def test_exchange_of_which_nobody_wrote_the_registers_down(story):
    """What was used while nobody looked is nobody's to say: missing, and the rest stays known."""
    tale, life, other = story(), Life(DAY, 2), Life(DAY, 2, first=NEW, seed=2)
    last, first, kwh = CHANGE - HOUR_MS, CHANGE + HOUR_MS, 0.1229
    tale.send(life.polls(DAY, last))
    tale.send(other.polls(first, END))
    before = tale.so_far()
    assert before.total(of="held") == other.shown(first) - life.shown(last) < 0

    tale.say(EventKind.EXCHANGE, CHANGE, when=END + DAY_MS)
    ledger = tale.end()
    day = ledger.day(DAY)
    assert day.amount == life.used(DAY, last) + other.used(first, DAY + DAY_MS)
    assert (day.held, day.estimated, day.missing_ms) == (0, 0, first - last)
    assert float(day.measures[0]) == pytest.approx(day.amount / KWH * kwh)
