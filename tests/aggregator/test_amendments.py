"""Stored figures follow what is declared, told while running or found at the next start."""

import contextlib
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from aggregator.closings import Closings
from aggregator.events import Counter
from aggregator.facts import Facts
from aggregator.ingest.subscriber import Message
from aggregator.kernels.register import ROW_COLUMNS, IntervalRows, advance
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.ledger.registers import Registers
from aggregator.register.database import RegisterDatabase
from aggregator.restate import Restater
from aggregator.restatements import Restatement
from aggregator.rollups import Rollups
from aggregator.store.base import StoreRefused, StoreRetriable
from contract.interval import DAY_MS, GRID_MS, HOUR_MS, MINUTE_MS, day_start
from contract.meta import meta_hash
from contract.stored import Level
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from tests.aggregator.test_pipeline import META, NOW, OUTBOX, T0, Rig, batch, meta_of, told
from tests.register_example import write_folder
from tests.suites.memory_store import MemoryStore

SITE = ("370114", "works")
__all__ = ["rig"]


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.records.close()
    rig.facts.close()
    rig.restatements.close()


def readings(*values: int):
    """A minute apart, kWh; the rig's batch of seq n reads n."""
    return [told(), *(batch(n, time_ms=T0 + n * MINUTE_MS) for n in values)]


def total(rig: Rig, level: Level = Level.INTERVAL) -> float:
    """Energy of the site's only channel [kWh]."""
    store = MemoryStore(rig.database, GRID_MS)
    store.open()
    rows = store.intervals(level, np.arange(1, dtype=np.int32), T0 - 62 * DAY_MS, T0 + DAY_MS)
    return float(rows.amount.sum()) / MICRO


def exchange(at_minute: int, final: int | None, start: int | None) -> MeterEvent:
    return MeterEvent(
        EventKind.EXCHANGE, *SITE, T0 + at_minute * MINUTE_MS, "li", "new meter",
        meter="em-1", channel="energy_import",
        final_micro=None if final is None else final * MICRO,
        start_micro=None if start is None else start * MICRO,
    )  # fmt: skip


def said(rig: Rig, cause: str) -> list[tuple[str, float | None, float | None]]:
    found = rig.restatements.find(*SITE, day_start(T0) - DAY_MS, T0 + DAY_MS)
    return [(r.measure, r.from_value, r.to_value) for r in found if r.cause == cause]


def test_an_event_told_while_running_restates_and_its_undoing_too(rig):
    rig.now_ms = NOW + 2 * DAY_MS  # so that the day is settled
    done = []

    def tell() -> None:
        rig.facts.tell(exchange(2, 2, 1), NOW)
        done.append(rig.pipeline.amend(*SITE))

    def undo() -> None:
        assert done[0].result() > 0
        assert total(rig) == 1 + 2  # 1 to 2 of the old meter, 1 to 3 of the new one
        rig.facts.undo(1, "wang", "it was another meter", NOW)
        done.append(rig.pipeline.amend(*SITE))

    rig.run(readings(1, 2, 3), tell, readings(), undo, readings())
    assert done[1].result() > 0
    assert total(rig) == total(rig, Level.MONTH) == 2
    amounts = [(was, now) for name, was, now in said(rig, "event 1") if name == "amount"]
    assert amounts == [(2, 3)]
    amounts = [(was, now) for name, was, now in said(rig, "event 1 undone") if name == "amount"]
    assert amounts == [(3, 2)]


def test_a_multiplier_corrected_while_nobody_ran_restates_at_the_next_start(rig):
    rig.run(readings(1, 2, 3))
    assert total(rig) == 2
    rig.multiplier = 40
    rig.run(readings(4))
    assert total(rig) == total(rig, Level.MONTH) == 3 * 40
    rig.run(readings(5))
    assert total(rig) == 4 * 40


METERS = "site,meter,carrier,role,parent,multiplier,edge,valid_from,note,calibrated_on\n"
PROFILES = "site,meter,carrier,weekday,weekend,valid_from,source\n"
EVENINGS = " ".join("1" * 18 + "9" * 6)


def imported(rig: Rig, folder, author: str, *, row: str = "", profile: str = "") -> None:
    """What `nenghao register import` and the next start do."""
    files = {
        "sites.csv": "site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,"
        "longitude\nworks,370114,厂,works,foundry,,,,\n",
        "meters.csv": METERS + row,
        "profiles.csv": PROFILES + profile,
    }
    with RegisterDatabase(f"sqlite:///{rig.file}") as database:
        database.open()
        given = {name: text for name, text in files.items() if row or name != "meters.csv"}
        if not profile:
            del given["profiles.csv"]
        database.import_folder(write_folder(folder / author, given), author=author, now_ms=NOW)
        rig.register = database.register()


def authors(rig: Rig) -> list[str]:
    closings = Closings(f"sqlite:///{rig.file}")
    found = rig.restatements.find(*SITE, day_start(T0) - DAY_MS, T0 + DAY_MS)
    said = closings.authors([one for one in found if one.cause.startswith("register")])
    closings.close()
    return sorted(said.values())


ROW = "works,em-1,electricity,boundary_in,,{},,,,{}\n"


def test_a_restatement_names_who_changed_what_it_depends_on(rig, tmp_path):
    """zhang enters the CT ratio; wang a calibration after it: the energy is zhang's."""
    imported(rig, tmp_path, "start", row=ROW.format(1, ""))
    rig.now_ms = NOW + 2 * DAY_MS
    rig.run(readings(1, 2, 3))
    imported(rig, tmp_path, "zhang", row=ROW.format(40, ""))
    imported(rig, tmp_path, "wang", row=ROW.format(40, "2025-01-02"))
    rig.run(readings(4))
    assert total(rig) == 3 * 40
    assert authors(rig) == ["zhang"]
    imported(rig, tmp_path, "chen", row=ROW.format(50, "2025-01-02"))
    imported(rig, tmp_path, "zhou", row=ROW.format(60, "2025-01-02"))
    rig.run(readings(5))
    assert authors(rig) == ["chen, zhou", "zhang"]


def test_a_restatement_of_a_profile_names_who_kept_it(rig, tmp_path):
    imported(rig, tmp_path, "start", row=ROW.format(1, ""))
    rig.now_ms = NOW + 2 * DAY_MS
    hours = [told(), *(batch(n, time_ms=T0 + n * 5 * HOUR_MS) for n in (1, 2, 3))]
    rig.run(hours)
    imported(rig, tmp_path, "wang", row=ROW.format(1, "2025-01-02"))
    profile = f"works,,electricity,{EVENINGS},{EVENINGS},,fitted\n"
    imported(rig, tmp_path, "zhao", profile=profile)
    rig.run(readings())
    assert authors(rig) == []
    rig.run([told(), batch(4, time_ms=T0 + 20 * HOUR_MS)])
    assert authors(rig) == ["zhao"]


def test_an_event_kept_just_before_a_crash_is_followed_at_the_next_start(rig):
    rig.run(readings(1, 2, 3))
    rig.facts.tell(exchange(2, None, None), NOW)
    rig.run(readings(4))
    assert total(rig) == 0 + 2  # from 1 to 2 at the exchange nobody knows


def round_the_display(*seqs: int, meta: bytes = META):
    """Three minutes apart; the display shows the number's last three digits."""
    return [told(meta), *(batch(n, meta, time_ms=T0 + (n - 990) * 3 * MINUTE_MS) for n in seqs)]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_modulus_that_is_told_later_is_followed_from_the_first_reading_on(rig, restarts):
    """A device map gets it after the rollover was held; and loses it again."""
    rig.now_ms = NOW + 2 * DAY_MS
    none, known = meta_of(None), meta_of(1_000.0)
    seen = []

    def run(*cycles) -> None:
        for part in [[cycle] for cycle in cycles] if restarts else [cycles]:
            rig.run(*part)

    run(
        round_the_display(*range(996, 1_008), meta=none),
        lambda: seen.append(total(rig)),
        round_the_display(1_008, meta=known),
        round_the_display(),
        lambda: seen.append(total(rig)),
        round_the_display(990, meta=known),  # late: nothing may hang on when it came
        round_the_display(1_009, meta=none),
        round_the_display(),
        lambda: seen.append(total(rig)),
    )
    assert seen == [3 + 7, 12, 9 + 9]
    causes = {one.cause for one in records(rig, "amount")} - {"late readings", "newer readings"}
    assert causes == {f"meta {meta_hash(known)}", f"meta {meta_hash(none)}"}
    rig.run([])
    assert rig.facts.applied(*SITE)["em-1", "energy_import"].limits == (0, 60 * MICRO, 10_000)


def test_late_readings_of_a_settled_day_leave_one_record_per_figure(rig):
    rig.run(readings(10, 20))
    rig.now_ms = NOW + 2 * DAY_MS
    rig.run(readings(12, 1), readings(5))
    assert total(rig) == 19
    (record,) = records(rig, "amount")
    assert (record.cause, record.from_value, record.to_value) == ("late readings", 10, 19)
    assert record.details == f"gw-1/{OUTBOX}:1,12"  # committed together; 5 changes nothing


def records(rig: Rig, measure: str) -> list[Restatement]:
    found = rig.restatements.find(*SITE, day_start(T0) - DAY_MS, T0 + DAY_MS)
    return [one for one in found if one.measure == measure]


def daily(*days: int) -> list[Message]:
    """Readings a day apart, that many kWh; the rig's clock stands behind the last."""
    return [told(), *(batch(n, time_ms=T0 + (n - 200) * DAY_MS) for n in days)]


def rows(rig: Rig) -> list[list[int]]:
    store = MemoryStore(rig.database, GRID_MS)
    found = store.intervals(Level.INTERVAL, np.arange(1, dtype=np.int32), 0, 2**60)
    return [column.tolist() for column in found.columns()[1:9]]


@pytest.mark.parametrize("stopped", [False, True])
def test_readings_go_on_while_a_long_past_is_amended(rig, tmp_path, stopped):
    """In between they come newer, late before and behind the piece that is done; or the end."""
    exchanged = replace(exchange(0, 40 - 20, 10), at_ms=T0 - 160 * DAY_MS - GRID_MS)
    rejected = replace(exchanged, kind=EventKind.REJECT, at_ms=T0 - 60 * DAY_MS)
    rejected = replace(rejected, final_micro=None, start_micro=None)
    between: set[int] = set()
    rig.in_between = True

    def tell() -> None:
        for event in (exchanged, rejected):
            rig.facts.tell(event, NOW)
            rig.pipeline.amend(*SITE)

    def look() -> None:
        between.update([rig.count(Counter.COMMITS)] if rig.pipeline.amending else [])

    def stop() -> None:
        rig.pipeline.stop()

    known = [n for n in range(10, 180) if n not in (15, 100, 141)]
    more = [daily(180), look, daily(15), look, daily(181, 141), look, daily(100), daily(182)]
    if stopped:
        rig.run(daily(*known), tell, *more[:5], stop)
        rig.facts.undo(2, "li", "it was right", NOW)
        rig.run(*more)
        rig.facts.tell(replace(rejected, reason="no, it was not"), NOW)
        rig.run(daily(183))
    else:
        rig.run(daily(*known), tell, *more, daily(183))
    assert len(between) > 1
    (tmp_path / "other").mkdir()
    other = Rig(tmp_path / "other")
    for event in (exchanged, rejected):
        other.facts.tell(event, NOW)
    other.run(daily(*sorted([*known, 15, 100, 141, 180, 181, 182, 183])))
    assert rows(rig) == rows(other)
    applied = rig.facts.applied(*SITE)
    assert applied == other.facts.applied(*SITE)
    assert [one.unsure for one in applied.values()] == [None]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_channel_that_the_kernel_refuses_is_acknowledged_and_repaired(rig, monkeypatch, lasting):
    """At once when the fault has passed; else at the next start."""
    refusals: list[int] = []
    begun: list[bool] = []

    def refuse(heads, slots, *rest, **more):
        if begun and len(slots) and (lasting or not refusals):
            refusals.append(len(slots))
            return IntervalRows(np.empty((ROW_COLUMNS, 0), np.int64)), np.full(len(slots), 2, "u1")
        return advance(heads, slots, *rest, **more)

    rig.run(readings(1))
    with monkeypatch.context() as faulty:
        faulty.setattr("aggregator.runs.advance", refuse)
        rig.run(readings(2), lambda: begun.append(True), readings(3), readings(4), [])
        assert rig.acks[-1].outboxes[OUTBOX].upto == 4
        assert (rig.count(Counter.UNMADE) > 1) == (len(refusals) > 1) == lasting
        (told_once,) = rig.logged("channel_refused")
        assert (told_once["meter"], told_once["channel"]) == ("em-1", "energy_import")
        ((_, noted),) = rig.facts.applied(*SITE).items()
        assert bool(noted.unsure) == lasting
    if lasting:
        rig.run(readings(5))
    assert total(rig) == total(rig, Level.MONTH) == (4 if lasting else 3)
    ((_, noted),) = rig.facts.applied(*SITE).items()
    assert noted.unsure is None


def test_a_site_that_cannot_be_amended_holds_up_nothing(rig, monkeypatch):
    rig.run(readings(1, 2, 3))
    done = []

    def tell() -> None:
        rig.facts.tell(exchange(2, 2, 1), NOW)
        done.append(rig.pipeline.amend(*SITE))

    def fail(*_args: object) -> None:
        raise IndexError("a fault of ours")

    with monkeypatch.context() as faulty:
        faulty.setattr("aggregator.book.Book.redo", fail)
        rig.run(readings(4), tell, readings(5))
        assert isinstance(done[0].exception(), IndexError)
        assert rig.acks[-1].outboxes[OUTBOX].upto == 5
        assert [line["site"] for line in rig.logged("amendment_failed")] == ["works"]
    rig.run(readings(6))
    assert total(rig) == 1 + 5


def test_each_of_several_facts_that_come_at_once_names_what_it_changed_itself(rig):
    """An exchange, a reading that is rejected and a CT ratio, all told while nobody ran."""
    rig.now_ms = NOW + 2 * DAY_MS
    rig.run(readings(1, 2, 3, 4, 5))
    assert total(rig) == 4
    rig.facts.tell(exchange(2, 2, 1), NOW)  # 1 to 2 of the old one, 1 to 5 of the new one
    rejected = MeterEvent(
        EventKind.REJECT, *SITE, T0 + 5 * MINUTE_MS, "wang", "misread",
        meter="em-1", channel="energy_import",
    )  # fmt: skip
    rig.facts.tell(rejected, NOW)
    rig.multiplier = 10
    rig.run(lambda: rig.pipeline.amend(*SITE), readings(6))
    found = [r for r in records(rig, "amount") if r.cause != "newer readings"]
    assert [(r.cause, r.why, r.from_value, r.to_value) for r in found] == [
        ("register", "declared while no aggregator ran", 4, 40),
        ("event 1", "new meter", 40, 50),
        ("event 2", "misread", 50, 40),
    ]
    assert [one.followed for one in rig.facts.events(*SITE)] == [True, True]
    rig.facts.undo(1, "wang", "it was another meter", NOW)
    rig.facts.undo(2, "wang", "it was right", NOW)
    before = total(rig)
    rig.run(readings(7))
    (undone,) = [r for r in records(rig, "amount") if r.cause.endswith("undone")]
    assert (undone.cause, undone.why) == ("event 1 undone", "it was another meter")
    assert (undone.from_value, undone.to_value) == (before, 50)  # 2 undone changes nothing
    assert [one.followed for one in rig.facts.events(*SITE)] == [False, False]
    assert total(rig) == 60


def co2(rig: Rig) -> dict[int, float]:
    """By start; NaN: not determined."""
    store = MemoryStore(rig.database, GRID_MS)
    found = store.intervals(
        Level.INTERVAL, np.arange(1, dtype=np.int32), day_start(T0), T0 + DAY_MS
    )
    return dict(zip(found.start_ms.tolist(), found.co2_kg.tolist(), strict=True))


def test_another_factor_set_waits_for_its_command_whatever_else_is_told(rig):
    every_ten = [told(), *(batch(5 * n, time_ms=T0 + 10 * n * MINUTE_MS) for n in range(1, 9))]
    rig.run(every_ten)
    assert np.isnan([*co2(rig).values()]).all()  # nobody has verified that year's row
    rig.now_ms = NOW + 2 * DAY_MS
    rig.factor_set = "demo"

    def tell() -> None:
        rig.facts.tell(exchange(32, 17, 16), NOW)  # 1 kWh more from 30 to 32 minutes
        rig.pipeline.amend(*SITE)

    late = batch(26, time_ms=T0 + 52 * MINUTE_MS)  # what was interpolated there
    rig.run(readings(), tell, [told(), late])
    made = [start_ms for start_ms, kg in co2(rig).items() if not np.isnan(kg)]
    assert made == [(T0 + 30 * MINUTE_MS) // GRID_MS * GRID_MS]
    assert {name for name, *_ in said(rig, "event 1")} >= {"amount", "kgce_calorific"}
    assert said(rig, "late readings") == []

    store = MemoryStore(rig.database, GRID_MS)
    store.open()
    done = Restater(store, rig.measures).apply(
        [SITE], T0, T0 + DAY_MS, rig.now_ms,
        restatements=rig.restatements, rollups=Rollups(store, rig.events),
        cause="factors demo", why="asked for",
    )  # fmt: skip
    assert {change.measure for change in done} == {"co2_kg", "kgce_equivalent"}
    assert not np.isnan([*co2(rig).values()]).any()
    assert {name for name, *_ in said(rig, "factors demo")} == {"co2_kg", "kgce_equivalent"}


def test_readings_of_a_day_that_is_open_leave_none(rig):
    rig.now_ms = day_start(T0) + DAY_MS + 6 * HOUR_MS - 1
    rig.run(readings(10, 20), readings(12, 1))
    assert total(rig) == 19
    assert said(rig, "late readings") == []


def test_a_store_that_is_away_in_the_middle_is_waited_for(rig, monkeypatch):
    rig.run(readings(1, 2, 3))
    rig.multiplier = 40
    real, failures = MemoryStore.commit, [0, 0]

    def commit(self, commit):
        if failures and len(commit.intervals) and not len(commit.cumulative):
            failures.pop()
            raise StoreRetriable("away")
        return real(self, commit)

    monkeypatch.setattr(MemoryStore, "commit", commit)
    rig.run(readings(4))
    assert not failures
    assert total(rig) == 3 * 40


def test_a_register_told_that_cannot_be_counts_as_unknown_and_ends_nothing(rig):
    rig.multiplier = 20_000
    rig.run(readings(1, 2, 3))
    done = []

    def tell() -> None:
        rig.facts.tell(exchange(2, MAX_CUMULATIVE_MICRO // MICRO, 2), NOW)
        done.append(rig.pipeline.amend(*SITE))

    rig.run(readings(4), tell, readings(5))
    assert done[0].result() > 0
    assert total(rig) == 3 * 20_000  # 2 to 5 of the new one; of the old one only 1 is known


def test_an_event_told_first_thing_after_figures_without_notes_is_followed(rig):
    """The database of records was lost; what the figures follow is known once they are loaded."""
    rig.run(readings(1, 2, 3))
    with contextlib.closing(sqlite3.connect(rig.file)) as db, db:
        db.execute("DELETE FROM applied")

    def tell() -> None:
        rig.facts.tell(exchange(2, None, None), NOW)
        rig.pipeline.amend(*SITE)

    rig.run(tell, [], readings(4))
    assert total(rig) == 2


def test_a_day_that_settles_while_the_store_is_away_leaves_its_record(rig, monkeypatch):
    rig.now_ms = settles = day_start(T0) + DAY_MS + 6 * HOUR_MS
    rig.now_ms -= 1
    rig.run(readings(10, 20))
    real, failures = MemoryStore.commit, [0]

    def commit(self, commit):
        if failures and len(commit.cumulative):
            failures.pop()
            rig.now_ms = settles
            raise StoreRetriable("away")
        return real(self, commit)

    monkeypatch.setattr(MemoryStore, "commit", commit)
    rig.run(readings(12, 1))
    assert not failures
    amounts = [(was, now) for name, was, now in said(rig, "late readings") if name == "amount"]
    assert amounts == [(10, 19)]


def test_a_database_that_lacks_a_table_ends_the_pipeline(rig):
    """Waiting does not bring it back: the process ends and says why, and the edges keep all."""
    rig.run(readings(10, 20))
    rig.now_ms = NOW + 2 * DAY_MS
    with contextlib.closing(sqlite3.connect(rig.file)) as db, db:
        db.execute("DROP TABLE restatement")
    acked = len(rig.acks)
    with pytest.raises(StoreRefused, match="no such table: restatement"):
        rig.run(readings(12, 1))
    assert len(rig.acks) == acked


def test_a_damaged_database_is_no_reason_to_wait_and_a_locked_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr("aggregator.register.engine._prepare_sqlite", lambda *_: None)
    file, lost = tmp_path / "register.sqlite", tmp_path / "lost.sqlite"
    with contextlib.closing(Facts(f"sqlite:///{file}?timeout=0")) as facts:
        facts.open()
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreRetriable, match="locked"):
                facts.put_applied(*SITE, {("em-1", "energy_import"): Registers()}, ())
    lost.write_bytes(b"no database" * 1_000)
    with (
        contextlib.closing(Facts(f"sqlite:///{lost}")) as facts,
        pytest.raises(StoreRefused, match="not a database"),
    ):
        facts.sites()
