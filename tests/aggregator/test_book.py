"""Any order, split and doubling of readings ends in the oracle's figures (invariants 1 and 2)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.book import Book
from aggregator.directory import SeriesKey, Source
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Commit, DirtyDay, StoreRetriable
from contract.interval import GRID_MS, MINUTE_MS, day_start
from contract.meta import Meta, MetaChannel, MetaMeter
from contract.reading import Quality
from contract.stored import Level
from contract.topics import Address
from contract.units import MICRO
from tests.oracle import register as oracle
from tests.suites.memory_store import MemoryDatabase, MemoryStore

ADDRESS = Address("370114", "works", "gw-1")
MULTIPLIER = 40
MODULUS = 1_000.0
RATING = 60.0
T0 = 1_760_000_000_000
OUTBOX = {"gw-1": "0" * 16, "gw-2": "1" * 16}


TARIFFS = ("demo-electricity",)


class District:
    """One site with two registered meters and one unknown, on a store in memory."""

    def __init__(self, multiplier: int = MULTIPLIER) -> None:
        self.multiplier = multiplier
        self.store = MemoryStore(MemoryDatabase(), GRID_MS)
        self.store.open()
        self.restart()

    def restart(self, registered: tuple[str, ...] = ("em-1", "em-2")) -> None:
        meters = list(self.rows(registered))
        site = Site(
            "works", "370114", "厂", "works", "foundry", None, None, None, None, tariffs=TARIFFS
        )
        register = Register.of([site], meters)
        self.parameters = Parameters(self.store.directory, register)
        channel = MetaChannel("energy_import", "kWh", MODULUS, RATING, 0.01)
        self.parameters.tell(
            ADDRESS,
            Meta(tuple(MetaMeter(name, "s", "m", (channel,)) for name in ("em-1", "em-2"))),
        )
        factors = builtin_library().choose("national")
        measures = Measures(
            self.store.directory,
            self.parameters,
            factors,
            SiteTariffs(register, builtin_tariffs(), GRID_MS),
        )
        self.book = Book(self.store, self.parameters, measures)

    def rows(self, registered: tuple[str, ...]) -> Iterator[Meter]:
        """Rows of the register."""
        for name in registered:
            yield self.meter(name, self.multiplier)

    def meter(self, name: str, ratio: int, since_ms: int = 0) -> Meter:
        return Meter("works", name, "electricity", Role.BOUNDARY_IN, "", ratio, "", since_ms, "")

    def columns(
        self, readings: list[tuple[str, int, int]], seq: int, quality: int = 0, edge: str = "gw-1"
    ) -> ReadingColumns:
        """Readings (meter, time_ms, micro) as columns of one batch."""
        directory = self.store.directory
        series = [
            directory.series.add(SeriesKey("370114", "works", meter, "energy_import"))
            for meter, _, _ in readings
        ]
        source = directory.sources.add(Source("370114", "works", edge, OUTBOX[edge]))
        n = len(readings)
        return ReadingColumns(
            np.array(series, np.int32),
            np.array([time for _, time, _ in readings], np.int64),
            np.array([value for _, _, value in readings], np.int64),
            np.full(n, quality, np.uint8),
            np.full(n, source, np.int32),
            np.full(n, seq, np.int64),
        )

    def take(
        self, readings: list[tuple[str, int, int]], seq: int, quality: int = 0, edge: str = "gw-1"
    ) -> None:
        """Do what the pipeline does with one commit."""
        self.take_raw(self.columns(readings, seq, quality, edge))

    def take_raw(self, raw: ReadingColumns) -> None:
        none = ReadingColumns.empty(cumulative=True)
        instant = ReadingColumns.empty(cumulative=False)
        lacking = self.book.load_site("370114", "works")
        verdicts = self.book.verdicts(none)
        self.store.commit(Commit.without_readings(lacking, verdicts=verdicts))
        counted = self.book.counted(raw)
        if self.book.is_late(counted):
            intervals = self.book.recompute(counted)
        else:
            intervals = self.book.advance(counted)
        verdicts = self.book.verdicts(raw)
        self.store.commit(Commit(raw, instant, intervals, {}, frozenset(), verdicts))

    def verdicts(self, meter: str) -> dict[tuple[int, str], tuple[int, str]]:
        """(time, rule) -> value, outcome."""
        index = self.store.directory.series.find(
            SeriesKey("370114", "works", meter, "energy_import")
        )
        stand = self.store.verdicts(np.array([index], np.int32), 0, 2**60)
        return {(v.time_ms, str(v.rule)): (v.value, str(v.outcome)) for v in stand}

    def figures(self, meter: str) -> dict[int, tuple[int, ...]]:
        index = self.store.directory.series.find(
            SeriesKey("370114", "works", meter, "energy_import")
        )
        if index < 0:
            return {}
        rows = self.store.intervals(Level.INTERVAL, np.array([index], np.int32), 0, 2**60)
        return {
            int(rows.start_ms[i]): (
                int(rows.amount[i]),
                int(rows.amount_estimated[i]),
                int(rows.amount_held[i]),
                int(rows.measured_ms[i]),
                int(rows.estimated_ms[i]),
                int(rows.received[i]),
                int(rows.flags[i]),
            )
            for i in range(len(rows))
        }


def expected(readings: list[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    channel = oracle.Channel(
        modulus=int(MODULUS) * 1_000_000 * MULTIPLIER,
        limit=int(RATING) * 1_000_000 * MULTIPLIER,
        slack=10_000 * MULTIPLIER,
        gap_ms=1_800_000,
    )
    scaled = [(time, value * MULTIPLIER) for time, value in readings]
    rows = oracle.ledger(channel, scaled, GRID_MS).rows
    return {
        start: (
            row.amount,
            row.amount_estimated,
            row.amount_held,
            row.measured_ms,
            row.estimated_ms,
            min(row.received, 1),
            row.flags,
        )
        for start, row in rows.items()
    }


@st.composite
def register_walks(draw):
    """A register's life: steps, gaps, rollovers, jumps and dips."""
    n = draw(st.integers(0, 60))
    time_ms, value = T0 + draw(st.integers(0, 3_000_000)), draw(st.integers(0, 999_000_000))
    readings = []
    for _ in range(n):
        readings.append((time_ms, value))
        gap = draw(
            st.sampled_from(
                [30_000, 30_000, MINUTE_MS, 5 * MINUTE_MS, 20 * MINUTE_MS, 700 * MINUTE_MS]
            )
        )
        time_ms += gap + draw(st.integers(-20_000, 20_000))
        change = draw(
            st.sampled_from(["step", "step", "step", "step", "still", "jump", "fall", "back"])
        )
        if change == "step":
            value += draw(st.integers(0, 400_000))
        elif change == "jump":
            value += draw(st.integers(10_000_000, 400_000_000))
        elif change == "fall":
            value -= draw(st.integers(1, 500_000_000))
        elif change == "back" and len(readings) > 1:
            value = readings[-2][1] + draw(st.integers(0, 1_000))
        value %= 1_000_000_000
    return readings


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_arrival_ends_in_the_oracles_figures(data):
    walks = {name: data.draw(register_walks(), label=name) for name in ("em-1", "em-2", "em-9")}
    everything = [(name, *reading) for name, walk in walks.items() for reading in walk]
    order = data.draw(st.permutations(everything)) if data.draw(st.booleans()) else everything
    district = District()
    seq = 0
    while order:
        size = data.draw(st.integers(1, max(1, len(order))))
        batch, order = order[:size], order[size:]
        again = data.draw(st.lists(st.sampled_from(everything), max_size=3))
        seq += 1
        district.take([*batch, *again], seq)
        if data.draw(st.booleans()):
            district.restart()
    for name in ("em-1", "em-2"):
        assert district.figures(name) == expected(walks[name])
    assert district.figures("em-9") == {}


def test_a_day_of_backlog_after_live_readings():
    """The way a gateway returns: newest first, then a day in batches, oldest last."""
    minutes = [(T0 + i * MINUTE_MS, 1_000_000 + 50_000 * i) for i in range(1_440)]
    district = District()
    district.take([("em-1", *reading) for reading in minutes[-5:]], 1)
    for seq, start in enumerate(range(1_200, -1, -240), 2):
        district.take([("em-1", *reading) for reading in minutes[start : start + 240]], seq)
    figures = district.figures("em-1")
    assert figures == expected(minutes)
    assert sum(row[0] for row in figures.values()) == MULTIPLIER * 50_000 * 1_439


def test_late_readings_behind_many_live_ones_of_the_same_interval():
    """The head holds what the interval has so far: it is outdated though its newest part is not."""
    border = T0 // GRID_MS * GRID_MS + GRID_MS
    times = [border - 10 * MINUTE_MS, *(border + i * 10_000 for i in range(1, 60))]
    readings = [(time, 1_000_000 + 500 * i) for i, time in enumerate(times)]
    late = [(border - 1_000, 1_000_100), (border + 95_000, readings[10][1] - 50)]
    district = District()
    district.take([("em-1", *reading) for reading in readings[:40]], 1)
    district.take([("em-1", *reading) for reading in late], 2)
    district.take([("em-1", *reading) for reading in readings[40:]], 3)
    assert district.figures("em-1") == expected(sorted(readings + late))


def test_a_register_too_large_for_its_multiplier_is_not_counted():
    district = District(multiplier=10_000_000)
    raw = district.columns([("em-1", T0, 2**52), ("em-1", T0 + 1, 5)], 1)
    assert district.book.counted(raw).value.tolist() == [5]


@pytest.mark.parametrize("micro", [-1, 0, 1])
def test_a_first_reading_makes_one_empty_interval(micro):
    district = District()
    district.take([("em-1", T0, micro)], 1)
    assert [row[0] for row in district.figures("em-1").values()] == [0]


def test_a_site_whose_store_was_away_is_loaded_at_the_next_try(monkeypatch):
    minutes = [(T0 + i * MINUTE_MS, 1_000_000 + 50_000 * i) for i in range(40)]
    district = District()
    district.take([("em-1", *reading) for reading in minutes[:20]], 1)
    district.restart()
    with monkeypatch.context() as away:

        def refuse(*_args, **_kwargs):
            raise StoreRetriable("away")

        away.setattr(district.store, "readings", refuse)
        with pytest.raises(StoreRetriable):
            district.book.load_site("370114", "works")
    district.take([("em-1", *reading) for reading in minutes[20:]], 2)
    assert district.figures("em-1") == expected(minutes)


def test_readings_that_do_not_count_are_no_head():
    district = District()
    district.take([("em-1", T0, 5_000_000)], 1, quality=int(Quality.RANGE))
    district.restart()
    district.take([("em-1", T0 + MINUTE_MS, 6_000_000)], 2)
    assert district.figures("em-1") == expected([(T0 + MINUTE_MS, 6_000_000)])


def test_a_meter_registered_later_gets_its_past():
    minutes = [(T0 + i * MINUTE_MS, 1_000_000 + 50_000 * i) for i in range(46)]
    district = District()
    district.restart(registered=("em-2",))
    district.take([("em-1", *reading) for reading in minutes[:40]], 1)
    assert district.figures("em-1") == {}
    district.restart()
    district.take([("em-1", *reading) for reading in minutes[40:]], 2)
    assert district.figures("em-1") == expected(minutes)


def test_figures_lost_between_readings_and_intervals_are_made_again(monkeypatch):
    """What a crash of a store that is not atomic leaves behind: raw readings and a dirty mark."""
    minutes = [(T0 + i * MINUTE_MS, 1_000_000 + 50_000 * i) for i in range(200)]
    late = minutes[60:120]
    district = District()
    district.take([("em-1", *r) for r in minutes if r not in late], 1)
    dirty = frozenset(
        DirtyDay("370114", "works", day_start(time)) for time in (late[0][0], late[-1][0])
    )
    none, instant = (ReadingColumns.empty(cumulative=kind) for kind in (True, False))
    raw = district.columns([("em-1", *reading) for reading in late], 2)
    district.store.commit(Commit(raw, instant, IntervalColumns.empty(), {}, dirty))
    monkeypatch.setattr(MemoryStore, "atomic", False)
    district.restart()
    lacking = district.book.load_site("370114", "works")
    district.store.commit(Commit(none, instant, lacking, {}, frozenset()))
    assert district.figures("em-1") == expected(minutes)


def test_a_register_too_large_is_left_out_of_late_and_restarted_books_too():
    minutes = [(T0 + i * MINUTE_MS, 1_000_000 + 500 * i) for i in range(30)]
    huge = (T0 + 10 * MINUTE_MS + 1, 429_496_729_500_000)
    district = District(multiplier=20_000)
    district.take([("em-1", *r) for r in [*minutes[:8], *minutes[9:20], huge]], 1)
    district.take([("em-1", *minutes[8])], 2)
    district.restart()
    district.take([("em-1", *reading) for reading in minutes[20:]], 3)
    assert sum(row[0] for row in district.figures("em-1").values()) == 20_000 * 500 * 29


def test_a_good_reading_goes_before_a_doubtful_one_of_the_same_time():
    good, doubtful = ("em-1", T0 + MINUTE_MS, 2_000_000), ("em-1", T0 + MINUTE_MS, 900_000_000)
    around = [("em-1", T0, 1_000_000), ("em-1", T0 + 3 * MINUTE_MS, 3_000_000)]
    for doubtful_first in (True, False):
        district = District()
        district.take(around, 1)
        for seq, what in enumerate((doubtful, good) if doubtful_first else (good, doubtful), 2):
            district.take([what], seq, int(Quality.RANGE) if what is doubtful else 0)
        district.take([("em-1", T0 + 2 * MINUTE_MS, 2_500_000)], 9)
        times = [(T0, 1_000_000), (T0 + 2 * MINUTE_MS, 2_500_000)]
        assert district.figures("em-1") == expected(sorted([*times, good[1:], around[1][1:]]))


def test_a_modulus_that_no_register_can_hold_is_unknown():
    district = District(multiplier=20_000)
    district.parameters.tell(
        ADDRESS,
        Meta((MetaMeter("em-1", "s", "m", (MetaChannel("energy_import", "kWh", 1e9, 1e9),)),)),
    )
    district.take([("em-1", T0, 5_000_000)], 1)
    limits = district.parameters.limits(0, district.multiplier)
    assert (limits.modulus_micro, limits.limit_micro_per_h) == (0, 0)


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_gateways_that_name_a_meter_the_one_that_began_later_says_its_modulus(turned):
    """Live they tell in one order, after a start in another."""
    district = District()
    district.take([("em-1", T0, 5_000_000)], 1)
    told = [
        (replace(ADDRESS, edge=f"gw-{i}"), Meta((MetaMeter("em-1", "s", "m", (channel,)),)), T0 + i)
        for i in (1, 2)
        for channel in [MetaChannel("energy_import", "kWh", 1_000.0 * i, RATING)]
    ]
    for address, meta, since_ms in reversed(told) if turned else told:
        new = district.parameters.tell(address, meta, since_ms, f"hash of {address.edge}")
        assert new == (not turned or address.edge == "gw-2")
    assert district.parameters.limits(0, 1).modulus_micro == 2_000 * MICRO
    assert district.parameters.told_by(district.store.directory.series.key(0)) == "hash of gw-2"


def test_a_site_is_loaded_with_few_queries(monkeypatch):
    """Real pollers stamp each meter with a millisecond of its own."""
    district = District()
    district.restart(registered=tuple(f"em-{i}" for i in range(60)))
    readings = [
        (f"em-{i}", T0 + minute * MINUTE_MS + 37 * i, 1_000_000 + 50_000 * minute)
        for i in range(60)
        for minute in range(20)
    ]
    district.take(readings, 1)
    before = {f"em-{i}": district.figures(f"em-{i}") for i in range(60)}
    district.restart(registered=tuple(f"em-{i}" for i in range(60)))
    asked = []
    real = MemoryStore.readings

    def counted(*args, **kwargs):
        asked.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(MemoryStore, "readings", counted)
    assert len(district.book.load_site("370114", "works")) == 0
    assert len(asked) <= 2
    district.take([("em-7", T0 + 20 * MINUTE_MS + 259, 2_000_000)], 2)
    assert {k: v for k, v in before.items() if k != "em-7"} == {
        name: district.figures(name) for name in before if name != "em-7"
    }


def test_readings_that_do_not_count_do_not_cut_a_channel(monkeypatch):
    """Forty that are too large to be true, and a restart: the head finds what lies before them."""
    large = 2**50  # beyond what counts behind the multiplier
    monkeypatch.setattr("tests.aggregator.test_book.MULTIPLIER", 10_000)
    minutes = [(T0 + i * MINUTE_MS, 1_000_000 + 50_000 * i) for i in range(120)]
    good = [*minutes[:30], *minutes[80:]]
    wrong = [(time, large) for time, _ in minutes[30:80]]
    district = District(multiplier=10_000)
    for seq, part in enumerate((minutes[:30], wrong), 1):
        district.take([("em-1", *reading) for reading in part], seq)
    district.restart()
    district.take([("em-1", *reading) for reading in minutes[80:100]], 3)
    district.take([("em-1", *reading) for reading in minutes[101:]], 4)
    district.take([("em-1", *minutes[100])], 5)  # late, and next to none that is wrong
    assert district.figures("em-1") == expected(good)


# --------------------------------------------------------------------------- freezes


def with_freezes(polls: list[tuple[int, int]], freezes: list[tuple[int, int]]):
    """The rule, written to be read: a freeze counts where polls are further apart than the gap."""
    known = dict(polls)
    counted = []
    for time, value in freezes:
        before = [poll for poll, _ in polls if poll < time]
        after = [poll for poll, _ in polls if poll > time]
        near = before and after and after[0] - before[-1] <= 1_800_000
        if time not in known and not near:
            counted.append((time, value))
    readings = sorted([*polls, *counted])
    channel = oracle.Channel(
        modulus=int(MODULUS) * 1_000_000 * MULTIPLIER,
        limit=int(RATING) * 1_000_000 * MULTIPLIER,
        slack=10_000 * MULTIPLIER,
    )
    scaled = [(time, value * MULTIPLIER) for time, value in readings]
    rows = oracle.ledger(channel, scaled, GRID_MS, {time for time, _ in counted}).rows
    return {
        start: (*row.values()[:5], min(row.received, 1), row.flags) for start, row in rows.items()
    }


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_freezes_of_any_arrival_end_in_the_oracles_figures(data):
    walk = data.draw(register_walks())
    chosen = data.draw(st.lists(st.booleans(), min_size=len(walk), max_size=len(walk)))
    polls = [reading for reading, frozen in zip(walk, chosen, strict=True) if not frozen]
    freezes = [reading for reading, frozen in zip(walk, chosen, strict=True) if frozen]
    freezes += [(time, 7) for time, _ in data.draw(st.lists(st.sampled_from(polls or [(0, 0)])))]
    freezes = [(time, value) for time, value in dict(freezes).items() if time]
    everything = [(0, r) for r in polls] + [(int(Quality.FREEZE), r) for r in freezes]
    order = data.draw(st.permutations(everything)) if data.draw(st.booleans()) else everything
    district = District()
    seq = 0
    while order:
        size = data.draw(st.integers(1, len(order)))
        for quality in (0, int(Quality.FREEZE)):
            part = [("em-1", *reading) for q, reading in order[:size] if q == quality]
            seq += 1
            if part:
                district.take(part, seq, quality)
        order = order[size:]
        if data.draw(st.booleans()):
            district.restart()
    assert district.figures("em-1") == with_freezes(polls, freezes)


def test_late_readings_of_channels_do_not_fill_each_others_gaps():
    """What nobody read late is not made anew, however the late times of many channels chain."""
    district = District()
    start, hour = day_start(T0), 60 * MINUTE_MS
    seen = {name: range(start, start + 48 * hour, 5 * MINUTE_MS) for name in ("em-1", "em-2")}
    late = {"em-1": [start + h * hour for h in (4, 14, 24, 34, 44)]}
    late["em-2"] = [at + 5 * hour for at in late["em-1"][:-1]]

    def readings(name: str, times: list[int]) -> list[tuple[str, int, int]]:
        return [(name, at, (at - start) // 1_000 * 10) for at in times]

    for seq, name in enumerate(seen, 1):
        district.take(readings(name, [at for at in seen[name] if at not in late[name]]), seq)
    both = readings("em-1", late["em-1"]) + readings("em-2", late["em-2"])
    made = district.book.recompute(district.book.counted(district.columns(both, 3)))
    assert 9 <= len(made) < 100  # of 384: some around each
    district.take(both, 3)
    for name, times in seen.items():
        assert district.figures(name) == expected(
            [(at, v) for _, at, v in readings(name, list(times))]
        )
