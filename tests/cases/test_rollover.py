"""A register passes its last digit and goes on from zero."""

from itertools import pairwise

import pytest

from tests.cases.rig import (
    DAY_MS,
    HOUR_MS,
    KWH,
    MINUTE_MS,
    ROLLOVER,
    EventKind,
    Life,
    agree,
    at,
)

DAY = at("2026-03-10 00:00")
ROUND = 10_000 * KWH


def test_rollover(story):
    tale = story(modulus=10_000.0)
    life = Life(DAY, 1, first=9_800 * KWH, modulus=ROUND)
    tale.send(life.polls(DAY, DAY + DAY_MS))
    ledger = tale.end()
    agree(ledger, life, DAY, DAY + DAY_MS)
    assert ledger.proof().events_micro == ROUND
    assert ledger.total(of="held") == ledger.total(of="estimated") == 0
    assert [row.flags for row in ledger.rows().values() if row.flags] == [ROLLOVER]
    assert ledger.day(DAY).amount == life.used(DAY, DAY + DAY_MS)


def test_rollover_during_a_gap(story):
    gap, back = DAY + 3 * HOUR_MS, DAY + 9 * HOUR_MS
    tale = story(modulus=10_000.0)
    life = Life(DAY, 1, first=9_900 * KWH, modulus=ROUND)
    assert life.shown(gap) > life.shown(back)
    tale.send(life.polls(DAY, gap))
    tale.send(life.polls(back, DAY + DAY_MS))
    ledger = tale.end()
    agree(ledger, life, DAY, gap)
    agree(ledger, life, back, DAY + DAY_MS)
    assert ledger.total(gap, back) == ledger.total(gap, back, "estimated") == life.used(gap, back)
    assert ledger.day(DAY).amount == life.used(DAY, DAY + DAY_MS)
    assert ledger.day(DAY).estimated_ms == back - gap
    assert ledger.total(of="held") == 0
    assert ledger.proof().events_micro == ROUND


def test_a_rollover_that_only_a_person_can_know(story):
    """No modulus is declared: the fall is held, until the rollover is told; and again without."""
    tale, told = story(modulus=None), DAY + 3 * DAY_MS
    life = Life(DAY, 1, first=9_800 * KWH, modulus=ROUND)
    shown = life.polls(DAY, DAY + DAY_MS)
    tale.send(shown)
    before = tale.so_far()
    ((last, first),) = [(was, now) for was, now in pairwise(shown) if now[1] < was[1]]
    step = life.used(last[0], first[0])
    assert before.total(of="held") == step - ROUND < 0
    assert before.total() == life.used(DAY, DAY + DAY_MS) - step

    wrapped = tale.say(EventKind.ROLLOVER, first[0] - MINUTE_MS, when=told, final_micro=ROUND)
    known = tale.so_far()
    agree(known, life, DAY, DAY + DAY_MS)
    assert known.total(of="held") == known.total(of="estimated") == 0
    assert known.proof().closes
    assert known.restated("amount_held") == {DAY: ((step - ROUND) / KWH, 0.0)}

    tale.undo(wrapped, when=told + DAY_MS)
    ledger = tale.end()
    assert ledger.rows() == before.rows()
    assert [one.cause for one in ledger.records()] == ["event 1", "event 1 undone"]


@pytest.mark.parametrize("below", [KWH, 5_000 * KWH], ids=["near the top", "in mid-range"])
def test_a_reset(story, below):
    """Near the top it is booked as a rollover by itself: a person's word overrules that."""
    when, end, told = DAY + 10 * HOUR_MS + 5 * MINUTE_MS, DAY + DAY_MS, DAY + 3 * DAY_MS
    tale, most = story(modulus=10_000.0), KWH // 5
    final = ROUND - below
    first = final - Life(DAY, 1, most=most).used(DAY, when)
    life = Life(DAY, 1, most=most, first=first)
    tale.send(life.polls(DAY, when - 5 * MINUTE_MS))
    tale.send([(t, micro - final) for t, micro in life.polls(when, end)])
    used, step = life.used(DAY, end), life.used(when - 5 * MINUTE_MS, when)
    before = tale.so_far()
    rolled = below == KWH
    assert before.total() == used + (below if rolled else -step)
    assert before.total(of="held") == (0 if rolled else step - final)
    assert [row.flags for row in before.rows().values()].count(ROLLOVER) == int(rolled)

    reset = tale.say(EventKind.RESET, when, when=told, final_micro=final, start_micro=0)
    known = tale.so_far()
    agree(known, life, DAY, end)
    assert known.total(of="held") == known.total(of="estimated") == 0
    assert not any(row.flags for row in known.rows().values())
    assert known.restated() == {DAY: (before.day(DAY).amount / KWH, used / KWH)}
    assert known.proof().closes

    tale.undo(reset, when=told + DAY_MS)
    ledger = tale.end()
    assert ledger.rows() == before.rows()
    assert [one.cause for one in ledger.records()] == ["event 1", "event 1 undone"]
