"""A register that stands still while its meter measures power: an alarm, and nothing else."""

import numpy as np
import pytest

from aggregator.batch import ReadingColumns
from aggregator.directory import SeriesKey, Source
from aggregator.events import Counter, Events
from aggregator.ledger.meter_events import EventKind
from aggregator.ledger.rules import load_rules
from aggregator.rollups import Rollups
from aggregator.store.base import Commit, DirtyDay
from aggregator.stuck import Stuck
from contract.interval import DAY_MS, HOUR_MS, MINUTE_MS, day_start
from tests.aggregator.test_book import ADDRESS, RATING, District
from tests.aggregator.test_book_events import Told, event
from tests.aggregator.test_rules import STUCK, TABLE

DAY = day_start(1_760_000_000_000)
WINDOW = 6 * HOUR_MS
SITE = ("370114", "works", "em-1")
FULL = RATING / 20 + 0.001
"""Power just above 5 % of the rating."""


class Watched:
    """A district whose roll-ups look for stuck registers."""

    def __init__(self, district: District | None = None, table: str = TABLE) -> None:
        self.district = district or District()
        self.store = self.district.store
        self.events = Events(lambda: 0)
        stuck = Stuck(self.store, self.district.parameters, load_rules(table))
        self.rollups = Rollups(self.store, self.events, stuck)
        self.seq = 0

    def take(self, shown, power=(), *, channel="power", quality=0) -> None:
        """Readings (time, micro) of the register, (time, kW) of the power; roll-ups follow."""
        self.seq += 1
        readings = [("em-1", *one) for one in shown]
        if readings:
            self.district.take(readings, self.seq)
        directory = self.store.directory
        index = directory.series.add(SeriesKey(*SITE, channel))
        source = directory.sources.add(Source(*SITE[:2], ADDRESS.edge, "0" * 16))
        n = len(power)
        instant = ReadingColumns(
            np.full(n, index, np.int32), np.array([t for t, _ in power], np.int64),
            np.array([kw for _, kw in power], np.float64), np.full(n, quality, np.uint8),
            np.full(n, source, np.int32), np.full(n, self.seq, np.int64),
        )  # fmt: skip
        self.store.commit(
            Commit(self.district.columns([], 1), instant, _no_figures(), {}, frozenset())
        )
        self.flush()

    def flush(self) -> None:
        days = [DirtyDay(*SITE[:2], DAY + i * DAY_MS) for i in (-1, 0, 1)]
        for day in days:
            self.rollups.mark([day], day.day_ms, day.day_ms + DAY_MS - 1)
        self.rollups.flush()

    def verdicts(self):
        return self.district.verdicts("em-1")


def _no_figures():
    return Commit.without_readings().intervals


def polls(from_ms, to_ms, value=5_000_000, rise=0, every_ms=5 * MINUTE_MS):
    return [(t, value + rise * i) for i, t in enumerate(range(from_ms, to_ms + 1, every_ms))]


def flagged(*starts, mean=FULL):
    return {(DAY + s, "stuck-register"): (round(mean * 1e6), "flagged") for s in starts}


def test_a_register_that_stands_still_under_power_is_flagged_and_nothing_is_moved():
    watched = Watched()
    shown = polls(DAY, DAY + 2 * WINDOW)
    watched.take(shown[:-1], [(t, FULL) for t, _ in shown])
    assert watched.verdicts() == flagged(0)  # the second window has not ended
    before = watched.district.figures("em-1")
    watched.take(shown[-1:])
    assert watched.verdicts() == flagged(0, WINDOW)
    assert {start: row for start, row in watched.district.figures("em-1").items()
            if start in before and start < DAY + WINDOW} == {
        start: row for start, row in before.items() if start < DAY + WINDOW
    }  # fmt: skip
    watched.flush()
    assert watched.events.counts()[Counter.STUCK_REGISTER] == 2


@pytest.mark.parametrize(
    ("shown", "power"),
    [
        (polls(DAY, DAY + WINDOW, rise=1), FULL),
        (polls(DAY, DAY + WINDOW), RATING / 20),
        (polls(DAY, DAY + WINDOW), -10 * FULL),
        (polls(DAY, DAY + WINDOW - 1), FULL),
        (polls(DAY + 5 * MINUTE_MS, DAY + WINDOW), FULL),
        (polls(DAY, DAY + WINDOW, every_ms=HOUR_MS), FULL),
        ([*polls(DAY, DAY + WINDOW), (DAY + 301_000, 4_999_000)], FULL),
    ],
    ids=["moves", "idle", "exports", "not over", "began later", "gaps", "held"],
)
def test_all_else_is_silent(shown, power):
    watched = Watched()
    if len(shown) > 1 and shown[-1][0] < shown[-2][0]:  # falls for good: held
        shown = [(t, v - (t > DAY + 301_000) * 1_000) for t, v in sorted(shown)]
    watched.take(shown, [(t, power) for t in range(DAY, DAY + WINDOW, MINUTE_MS)])
    assert not [key for key in watched.verdicts() if key[1] == "stuck-register"]


@pytest.mark.parametrize("quality", [1, 2])
def test_power_that_does_not_count_is_not_asked(quality):
    watched = Watched()
    watched.take(polls(DAY, DAY + WINDOW), [(DAY + 1, 50.0)], quality=quality)
    assert watched.verdicts() == {}


def test_without_power_there_is_no_telling():
    watched = Watched()
    watched.take(polls(DAY, DAY + WINDOW), [(DAY + 1, 50.0)], channel="voltage")
    assert watched.verdicts() == {}


def test_a_late_reading_that_shows_it_moved_withdraws_the_alarm():
    watched = Watched()
    watched.take(polls(DAY, DAY + WINDOW), [(DAY + 1, FULL)])
    assert watched.verdicts() == flagged(0)
    watched.take([(DAY + 5 * MINUTE_MS * 30 + 1_000, 4_000_000)])  # a dip: left out, no movement
    assert flagged(0).items() <= watched.verdicts().items()
    watched.take([(DAY + WINDOW - 1_000, 5_000_001), (DAY + WINDOW + 1_000, 5_000_001)])
    assert not [key for key in watched.verdicts() if key[1] == "stuck-register"]


def test_an_event_that_makes_it_move_withdraws_the_alarm():
    told = Told()
    watched = Watched(told)
    watched.take(polls(DAY, DAY + WINDOW + HOUR_MS), [(DAY + 1, FULL)])
    assert watched.verdicts() == flagged(0)
    told.say(event(EventKind.REPLACE, DAY + WINDOW // 2, value_micro=5_000_001))
    told.say(event(EventKind.REPLACE, DAY, value_micro=4_999_999))
    watched.flush()
    assert not [key for key in watched.verdicts() if key[1] == "stuck-register"]


def test_the_row_of_the_day_says_how_long():
    since = np.datetime64(DAY + 8 * HOUR_MS, "ms").astype("datetime64[D]")
    old = STUCK.replace("2020-01-01,,", f"2020-01-01,{since},").replace("hours=6", "hours=24")
    table = TABLE.replace(STUCK, f"{old}\n{STUCK.replace('2020-01-01', str(since))}")
    watched = Watched(table=table)
    shown = polls(DAY - DAY_MS, DAY + WINDOW)
    watched.take(shown, [(t, FULL) for t, _ in shown])
    assert watched.verdicts() == flagged(-DAY_MS, 0)
