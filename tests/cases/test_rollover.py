"""A register passes its last digit and goes on from zero."""

from tests.cases.rig import (
    DAY_MS,
    HOUR_MS,
    KWH,
    ROLLOVER,
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
