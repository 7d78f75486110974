"""Late data re-open what they touch of sites, nodes, the region and balances, and nothing else."""

from dataclasses import replace

from aggregator.register.model import Meter, Role
from contract.interval import month_start
from contract.stored import BALANCES, NODE_FIGURES, THE_REGION, TOTAL, UNALLOCATED
from tests.cases.rig import DAY_MS, GRID_MS, HOUR_MS, SITE, Level, Life, at

DAY = at("2026-03-10 00:00")
MONTH = month_start(DAY)
DOWN, MOVE, UP, END = (DAY + hours * HOUR_MS for hours in (8, 10, 13, 24))
LENGTHS = {Level.INTERVAL: GRID_MS, Level.HOUR: HOUR_MS, Level.DAY: DAY_MS, Level.MONTH: 0}


def rows() -> tuple[Meter, ...]:
    """A feeder below the incomer: of the line until it moves to the hall, while nothing is read."""
    incomer = Meter(SITE, "em-1", "electricity", Role.BOUNDARY_IN, "", 1, "", 0, "")
    feeder = replace(incomer, id="em-2", role=Role.SUB, parent="em-1", node="line")
    return incomer, feeder, replace(feeder, node="hall", valid_from_ms=MOVE)


def amounts(ledger, level, node, site=SITE):
    found = ledger.points(NODE_FIGURES[level], site=site, node=node, carrier="electricity")
    return {key[-1]: row["amount"] for key, row in found.items() if key[-1] < END}


def balances(ledger, level):
    return ledger.points(BALANCES[level], node=TOTAL).items()


def wanted(used, level, from_ms=DAY, to_ms=END):
    """What each figure of a level must say of [from_ms, to_ms)."""
    if level is Level.MONTH:
        return {MONTH: used(from_ms, to_ms)}
    step = LENGTHS[level]
    starts = range(DAY + (from_ms - DAY) // step * step, to_ms, step)
    return {t: used(max(t, from_ms), min(t + step, to_ms)) for t in starts}


def test_a_backfill_days_later_reaches_every_level_of_every_node(story):
    tale = story(meters=("em-1", "em-2"))
    whole, part = Life(DAY, 1), Life(DAY, 1, seed=2, most=300_000)
    tale.restart(*rows(), when=DAY)
    for life, meter, edge in ((whole, "em-1", "gw-1"), (part, "em-2", "gw-2")):
        tale.send(life.polls(DAY, DOWN), meter=meter, edge=edge)
        tale.send(life.polls(UP, END), meter=meter, edge=edge)
    tale.restart(when=END + 2 * DAY_MS)
    before = tale.so_far()
    for life, meter, edge in ((whole, "em-1", "gw-1"), (part, "em-2", "gw-2")):
        lost = life.polls(DOWN + 300_000, UP - 300_000)
        tale.send(lost, meter=meter, edge=edge, arrives=END + 2 * DAY_MS)
    after = tale.end()

    def rest(from_ms, to_ms):
        return whole.used(from_ms, to_ms) - part.used(from_ms, to_ms)

    for site in (SITE, THE_REGION):
        for level in (Level.HOUR, Level.DAY, Level.MONTH):
            assert amounts(after, level, TOTAL, site) == wanted(whole.used, level)
            assert amounts(after, level, UNALLOCATED, site) == wanted(rest, level)
    assert amounts(after, Level.INTERVAL, TOTAL) == wanted(whole.used, Level.INTERVAL)
    for level in (Level.HOUR, Level.DAY, Level.MONTH):
        assert amounts(after, level, "hall") == wanted(part.used, level)
        assert amounts(after, level, "line") == wanted(part.used, level, DAY, MOVE)

    for level, touched in (
        (Level.INTERVAL, set(range(DOWN, UP, GRID_MS))),
        (Level.HOUR, set(range(DOWN, UP, HOUR_MS))),
        (Level.DAY, {DAY}),
        (Level.MONTH, {MONTH}),
    ):
        of = NODE_FIGURES[level]
        was, now = before.points(of), after.points(of)
        assert {key[-1] for key in now if now[key] != was.get(key)} == touched, level
    for level, start in ((Level.DAY, DAY), (Level.MONTH, MONTH)):
        (row,) = [r for key, r in balances(after, level) if key[-1] == start]
        used = whole.used(DAY, END)
        assert (row["parent"], row["residual"]) == (used, rest(DAY, END)), start
        assert row["over"] == int(20 * rest(DAY, END) > used)
