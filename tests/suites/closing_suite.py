"""What closing must do on every database: real pipeline, embedded DuckDB, records at `url`.

Three meters are read in the last days of October 2026. `grid` has a gap on the 30th, `pv` one over
the end of the month, `line` falls silent at noon of the 31st.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from aggregator.amendments import Amendments
from aggregator.api.corrections import (
    carrier_corrections,
    channel_corrections,
    estimates_withdrawn,
)
from aggregator.api.main import build_app
from aggregator.api.month import account_of_parts, month_parts, spans_of_parts
from aggregator.api.reader import StoreLedgerReader
from aggregator.book import Book
from aggregator.closings import Closing, ClosingError, Closings, Part
from aggregator.config import PaceSection
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.facts import Facts
from aggregator.ingest.subscriber import Inbox, Message
from aggregator.kernels.jit import warm_up
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.meter_events import EventKind, MeterEvent, check_event
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.periods import month_of
from aggregator.pipeline import Pipeline
from aggregator.records import Records
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.restatements import Restatement, Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.embedded import EmbeddedStore
from contract.data import Batch, blocks_of, encode_data
from contract.interval import DAY_MS, GRID_MS, HOUR_MS, MINUTE_MS
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.reading import Reading
from contract.stored import Level
from contract.topics import Address, MessageKind, topic
from contract.units import MICRO, to_micro
from tests.aggregator.api_ledger import ApiClient

GW = Address("370114", "works", "gw-1")
OUTBOX = "00000000000000aa"
MONTH_MS = month_of("2026-10")
NOVEMBER_MS = month_of("2026-11")
DECEMBER_MS = month_of("2026-12")
DAY_29, DAY_30, DAY_31 = (NOVEMBER_MS - n * DAY_MS for n in (3, 2, 1))
SETTLED_MS = NOVEMBER_MS + 6 * HOUR_MS
METERS = {"grid": (Role.BOUNDARY_IN, 40), "pv": (Role.OWN_GENERATION, 1), "line": (Role.SUB, 1)}
CHANNEL = MetaChannel("energy_import", "kWh", 1_000_000.0, 4_000.0, 0.001)
META = encode_meta(Meta(tuple(MetaMeter(name, "s", "m", (CHANNEL,)) for name in METERS)))


class _Script(Inbox):
    """Hands out one prepared list per cycle, then stops the pipeline."""

    def __init__(self, cycles: Sequence[Sequence[Message] | Callable[[], None]], events: Events):
        super().__init__(1, events)
        self.cycles = list(cycles)
        self.stop: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False

    def take(self, wait_s: float, most_bytes: int = 0) -> list[Message]:
        while self.cycles and not self.busy():
            cycle = self.cycles.pop(0)
            if not callable(cycle):
                return list(cycle)
            cycle()
        if not self.busy():
            self.stop()
        return []


def micro(meter: str, time_ms: int) -> int:
    """What a meter shows: whole milliunits, faster in the afternoon."""
    hours = Fraction(time_ms - DAY_29, HOUR_MS)
    day, hour = divmod(hours, 24)
    speed = {"grid": 3, "pv": 50, "line": 7}[meter]
    shown = 1_000 + speed * (36 * day + hour + max(hour - 12, Fraction(0)))
    return round(shown * 1_000) * 1_000


class Works:
    """A site on a real store; each `run` is a new process on the same data."""

    def __init__(self, folder, url) -> None:
        self.now_ms = NOVEMBER_MS + 40 * MINUTE_MS
        self.store = EmbeddedStore(folder / "ledger.duckdb", GRID_MS)
        self.store.open()
        self.records, self.facts = Records(url), Facts(url)
        self.restatements, self.closings = Restatements(url), Closings(url)
        self.records.open()
        self.seq = 0
        self.register = self.register_of()
        self.set_name = "demo"
        warm_up()

    def register_of(self, without: str = "", **roles: Sequence[tuple[int, Role]]) -> Register:
        site = Site(
            "works", GW.region, "厂", "works", "x", None, None, None, None,
            tariffs=("demo-electricity",),
        )  # fmt: skip
        rows = {name: roles.get(name, ((0, role),)) for name, (role, _) in METERS.items()}
        return Register.of(
            [site],
            [
                Meter("works", name, "electricity", role, "", METERS[name][1], "", since, "")
                for name, own in rows.items()
                if name != without
                for since, role in own
            ],
        )

    @property
    def site(self) -> Site:
        return self.register.sites["works"]

    def run(self, *cycles: Sequence[Message] | Callable[[], None]) -> None:
        events = Events(lambda: self.now_ms, io.StringIO())
        self.parameters = Parameters(self.store.directory, self.register)
        self.parameters.declare("370114", "works", self.facts.declared("370114", "works"))
        self.factors = builtin_library().choose(self.set_name)
        self.tariffs = SiteTariffs(self.register, builtin_tariffs(), GRID_MS)
        measures = Measures(self.store.directory, self.parameters, self.factors, self.tariffs)
        book = Book(self.store, self.parameters, measures)
        told = Message(topic(GW, MessageKind.META), META)
        inbox = _Script([[told], *cycles], events)
        self.pipeline = Pipeline(
            store=self.store,
            records=self.records,
            book=book,
            parameters=self.parameters,
            amendments=Amendments(
                self.store, book, self.parameters, self.facts, self.restatements,
                lambda: self.now_ms,
            ),
            rollups=Rollups(self.store, events),
            live=Live(),
            inbox=inbox,
            publish=lambda _topic, _payload: None,
            events=events,
            pace=PaceSection(commit_readings=1, late_quiet_s=0),
            time_ms=lambda: self.now_ms,
        )  # fmt: skip
        inbox.stop = self.pipeline.stop
        inbox.busy = lambda: self.pipeline.amending
        self.pipeline.run()

    def batch(self, *readings: tuple[str, int, int]) -> Message:
        self.seq += 1
        blocks = blocks_of(
            [Reading(meter, "energy_import", at, value) for meter, at, value in readings]
        )
        data = Batch(OUTBOX, self.seq, meta_hash(META), 1, (), blocks)
        return Message(topic(GW, MessageKind.DATA), encode_data(data))

    def read(self, meter: str, *times: int) -> Message:
        """A batch of what a meter shows."""
        return self.batch(*((meter, at, micro(meter, at)) for at in times))

    def october(self) -> None:
        quarters = range(DAY_29, NOVEMBER_MS + 30 * MINUTE_MS + 1, GRID_MS)
        gaps = {
            "grid": (DAY_30 + 8 * HOUR_MS, DAY_30 + 20 * HOUR_MS),
            "pv": (DAY_31 + 20 * HOUR_MS, NOVEMBER_MS + 15 * MINUTE_MS),
            "line": (DAY_31 + 12 * HOUR_MS, NOVEMBER_MS + HOUR_MS),
        }
        self.run(
            *(
                [self.read(name, *(at for at in quarters if not low < at < high))]
                for name, (low, high) in gaps.items()
            )
        )

    @property
    def reader(self) -> StoreLedgerReader:
        return StoreLedgerReader(
            self.store, self.register, self.factors, self.tariffs, Live(),
            facts=self.parameters.facts, counters=dict, now_ms=lambda: self.now_ms,
        )  # fmt: skip

    def parts(self, month_ms: int = MONTH_MS) -> Sequence[Part]:
        return month_parts(self.reader, self.site, month_ms)

    def now(self, closing: Closing) -> Sequence[Part]:
        return self.parts(closing.month_ms)

    def index(self, meter: str) -> int:
        key = SeriesKey("370114", "works", meter, "energy_import")
        return self.store.directory.series.find(key)

    def close(self, reason: str = "monthly report", month_ms: int = MONTH_MS) -> Closing:
        return self.closings.add(
            "370114", month_ms, self.parts(month_ms), author="Li Wei", reason=reason,
            factor_set=self.set_name, now_ms=self.now_ms,
        )  # fmt: skip

    def restated(self, closing: Closing) -> Sequence[Restatement]:
        return self.closings.restated(closing, "works")

    def found(self, closing: Closing) -> Sequence[Restatement]:
        """With what was withdrawn of the estimates for open registers."""
        reported, restated = self.closings.reported(closing, "works"), self.restated(closing)
        return [*restated, *estimates_withdrawn(closing, reported, self.now(closing), restated)]

    def channel(self, closing: Closing, meter: str):
        reported = self.closings.reported(closing, "works")
        rows = channel_corrections(reported, self.now(closing), self.found(closing))
        return next(row for row in rows if row.meter == meter)

    def carrier(self, closing: Closing):
        reported, now = self.closings.reported(closing, "works"), self.now(closing)
        month_ms = closing.month_ms
        then, today = (
            account_of_parts(self.reader, self.site, parts, month_ms) for parts in (reported, now)
        )
        spans, spans_now = (spans_of_parts("works", parts, month_ms) for parts in (reported, now))
        (row,) = carrier_corrections(then, today, spans, spans_now, self.found(closing))
        return row

    def stop(self) -> None:
        for part in (self.records, self.facts, self.restatements, self.closings, self.store):
            part.close()


def energy(meter: str, from_ms: int, to_ms: int) -> int:
    """What passes a meter between two readings [micro-units]."""
    return (micro(meter, to_ms) - micro(meter, from_ms)) * METERS[meter][1]


GRID = energy("grid", DAY_29, NOVEMBER_MS)
# pv: what 4 h 15 min brought is spread evenly when the month is closed
PV_GAP = (DAY_31 + 20 * HOUR_MS, NOVEMBER_MS + 15 * MINUTE_MS)
PV = energy("pv", DAY_29, PV_GAP[0]) + round(Fraction(energy("pv", *PV_GAP) * 16, 17))
LINE = energy("line", DAY_29, DAY_31 + 12 * HOUR_MS)
OPEN = energy("line", DAY_30 + 12 * HOUR_MS, DAY_31)
"""Estimated for the line's last afternoon: as in the two before; no weekend's is known."""


class ClosingSuite:
    @pytest.fixture
    def unread(self, tmp_path, url) -> Iterator[Works]:
        works = Works(tmp_path, url)
        yield works
        works.stop()

    @pytest.fixture
    def works(self, unread):
        unread.october()
        return unread

    def test_what_is_reported_is_the_stored_month(self, works):
        works.now_ms = SETTLED_MS
        closing = works.close()
        parts = {part.meter: part for part in works.closings.reported(closing, "works")}
        assert {name: part.amount for name, part in parts.items()} == {
            "grid": GRID, "pv": PV, "line": LINE + OPEN,
        }  # fmt: skip
        series = np.arange(3, dtype=np.int32)
        stored = works.store.intervals(Level.MONTH, series, MONTH_MS, NOVEMBER_MS)
        for i, index in enumerate(stored.series.tolist()):
            part = parts[works.store.directory.series.key(index).meter]
            for name in stored.__slots__:
                if name not in ("series", "start_ms") and part.meter != "line":
                    assert getattr(part, name) == getattr(stored, name)[i], name
        # 28 days were never read; the line's register is open at the end of the month
        assert parts["grid"].missing_ms == 28 * DAY_MS
        assert parts["grid"].estimated_ms == 12 * HOUR_MS
        line = parts["line"]
        assert line.missing_ms == 28 * DAY_MS
        assert (line.open_amount, line.open_ms) == (OPEN, 12 * HOUR_MS)
        assert (line.amount_estimated, line.estimated_ms) == (OPEN, 12 * HOUR_MS)
        kept = stored.take(stored.series == works.index("line"))
        assert line.co2_kg == pytest.approx(kept.co2_kg[0] * (LINE + OPEN) / LINE)
        assert works.channel(closing, "line").amount_micro == 0  # not read again yet
        assert works.channel(closing, "line").findings == []
        assert parts["pv"].amount_estimated == PV - energy("pv", DAY_29, PV_GAP[0])

    def test_a_month_is_closed_once_and_only_when_its_days_are_settled(self, works):
        works.now_ms = SETTLED_MS - 1
        with pytest.raises(ClosingError, match="2026-10 is not settled before 06:00 of 2026-11-01"):
            works.close()
        assert works.closings.closings() == ()
        works.now_ms = SETTLED_MS
        closing = works.close()
        assert works.closings.closings("370114") == (closing,)
        with pytest.raises(ClosingError, match="was closed on 2026-11-01 by Li Wei"):
            works.close("again")
        assert works.closings.find("370114", MONTH_MS) == closing
        assert works.closings.closings("370115") == ()

    def test_a_month_without_figures_is_not_closed(self, works):
        works.now_ms = SETTLED_MS
        with pytest.raises(ClosingError, match="no figures of 370114 in 2026-09"):
            works.closings.add(
                "370114", month_of("2026-09"), month_parts(works.reader, works.site,
                month_of("2026-09")), author="a", reason="b", factor_set="demo", now_ms=SETTLED_MS,
            )  # fmt: skip

    def test_late_readings_and_an_event_are_corrections_and_the_report_stays(self, works):
        works.now_ms = SETTLED_MS
        closing = works.close()
        reported = works.closings.reported(closing, "works")
        then = works.carrier(closing)
        assert then.findings == []
        assert then.reported.consumption == then.now.consumption == {"kWh": GRID + PV}

        works.now_ms = late_ms = NOVEMBER_MS + DAY_MS + 9 * HOUR_MS
        works.run([works.read("pv", *range(PV_GAP[0] + GRID_MS, PV_GAP[1], GRID_MS))])
        pv = works.channel(closing, "pv")
        true = energy("pv", DAY_29, NOVEMBER_MS)
        assert true != PV
        assert (pv.reported.integers["amount"], pv.now.integers["amount"]) == (PV, true)
        assert pv.amount_micro == sum(f.amounts.get("kWh", 0) for f in pv.findings) == true - PV
        assert pv.now.integers["amount_estimated"] == 0
        assert [(f.cause, f.found_ms, f.days) for f in pv.findings] == [
            ("late readings", late_ms, 1)
        ]

        # The grid's meter was read in the wrong unit all along.
        works.now_ms = told_ms = NOVEMBER_MS + 5 * DAY_MS
        wrong = MeterEvent(
            EventKind.CORRECTION, "370114", "works", MONTH_MS, "Li Wei", "read in half units",
            meter="grid", until_ms=month_of("2026-12"), factor="2",
        )  # fmt: skip
        done, told = [], []

        def tell() -> None:
            told.append(works.facts.tell(check_event(wrong), works.now_ms).id)
            done.append(works.pipeline.amend("370114", "works"))

        works.run(tell, [])
        assert done[0].result() > 0
        grid = works.channel(closing, "grid")
        assert (grid.reported.integers["amount"], grid.now.integers["amount"]) == (GRID, 2 * GRID)
        assert [(f.why, f.found_ms, f.days, f.amounts) for f in grid.findings] == [
            ("read in half units", told_ms, 3, {"kWh": GRID})
        ]
        assert grid.findings[0].measures["cost_cny"] == pytest.approx(
            grid.reported.measures["cost_cny"]
        )

        site = works.carrier(closing)
        assert site.reported.consumption == {"kWh": GRID + PV}
        assert site.now.consumption == {"kWh": 2 * GRID + true}
        assert [(f.found_ms, f.amounts["kWh"]) for f in site.findings] == [
            (late_ms, true - PV), (told_ms, GRID),
        ]  # fmt: skip
        assert site.unexplained == {}
        with ApiClient(build_app(works.reader, closings=works.closings)) as client:
            answer = client.get("/api/v1/closings/370114/2026-10").json()
        assert [(row["cause"], row["author"]) for row in answer["carriers"][0]["found"]] == [
            ("late readings", ""), (f"event {told[0]}", "Li Wei"),
        ]  # fmt: skip
        assert works.closings.reported(closing, "works") == reported
        totals: dict[str, int] = {}
        for record in works.restated(closing):
            if record.measure == "amount":
                moved = to_micro(record.to_value) - to_micro(record.from_value)
                totals[record.meter] = totals.get(record.meter, 0) + moved
        assert totals == {"pv": pv.amount_micro, "grid": grid.amount_micro}

    def test_a_register_still_open_at_the_end_is_corrected_once_it_is_read_again(self, works):
        works.now_ms = SETTLED_MS
        closing = works.close()
        works.now_ms = again_ms = NOVEMBER_MS + 4 * DAY_MS
        works.run([works.read("line", again_ms - HOUR_MS)])  # newer than all: not late
        line = works.channel(closing, "line")
        gap_ms = again_ms - HOUR_MS - (DAY_31 + 12 * HOUR_MS)
        total = energy("line", DAY_31 + 12 * HOUR_MS, again_ms - HOUR_MS)
        share = round(Fraction(total * 12 * HOUR_MS, gap_ms))
        assert line.reported.integers["amount"] == LINE + OPEN
        assert line.now.integers["amount"] == LINE + share
        assert line.amount_micro == share - OPEN != 0
        assert line.reported.integers["estimated_ms"] == line.now.integers["estimated_ms"]
        assert [(f.cause, f.found_ms, f.amounts) for f in line.findings] == [
            ("newer readings", again_ms, {"kWh": share}),
            ("open register", again_ms, {"kWh": -OPEN}),
        ]
        assert line.unexplained_micro == 0
        assert works.carrier(closing).findings == []  # a sub-meter is in no total

    def test_a_register_silent_all_month_is_estimated_until_it_was_silent_for_a_quarter(
        self, works
    ):
        works.now_ms = DECEMBER_MS + 6 * HOUR_MS
        closing = works.close(month_ms=NOVEMBER_MS)
        line = {p.meter: p for p in works.closings.reported(closing, "works")}["line"]
        assert line.channel == "energy_import"
        assert (line.open_ms, line.missing_ms, line.received) == (30 * DAY_MS, 0, 0)
        month = 30 * energy("line", DAY_30, DAY_31)  # all days are alike
        assert line.open_amount == line.amount == line.amount_estimated == month
        last = next(p for p in works.parts() if p.meter == "line")
        assert line.co2_kg == pytest.approx(last.co2_kg * month / (LINE + OPEN))
        assert works.carrier(closing).now is not None

        works.now_ms = again_ms = DECEMBER_MS + 4 * DAY_MS
        works.run([works.read("line", again_ms - HOUR_MS)])
        row = works.channel(closing, "line")
        counted = {f.cause: f.amounts["kWh"] for f in row.findings}
        assert counted["open register"] == -line.open_amount
        counted = {f.cause: f.estimated.get("kWh", 0) for f in row.findings}
        assert counted["open register"] == -line.open_amount
        assert row.now.integers["amount"] == counted["newer readings"] > 0
        assert row.unexplained_micro == 0

    def test_a_register_silent_for_a_quarter_is_missing(self, works):
        february_ms = month_of("2027-02")
        works.now_ms = month_of("2027-03") + 6 * HOUR_MS
        assert {p.meter: p.channel for p in works.parts(month_of("2027-01"))}["line"] != ""
        parts = {p.meter: p for p in works.parts(february_ms)}
        assert parts["line"].channel == ""
        assert (parts["line"].missing_ms, parts["line"].open_ms) == (28 * DAY_MS, 0)

    def test_what_was_restated_before_the_closing_is_in_the_report(self, works):
        late = range(DAY_30 + 8 * HOUR_MS + GRID_MS, DAY_30 + 20 * HOUR_MS, GRID_MS)
        works.now_ms = SETTLED_MS - 1
        works.run([works.read("grid", *late[:8])])
        closing_before = works.restatements.find("370114", "works", MONTH_MS, NOVEMBER_MS)
        assert {r.cause for r in closing_before if r.day_ms == DAY_30 and r.meter == "grid"} == {
            "newer readings", "late readings",
        }  # fmt: skip
        works.now_ms = SETTLED_MS
        closing = works.close()
        assert works.restated(closing) == ()
        cost = works.channel(closing, "grid").reported.measures["cost_cny"]
        # The same cause again, on the same day: the record from before is not continued.
        works.now_ms = SETTLED_MS + HOUR_MS
        works.run([works.read("grid", *late[8:])])
        (finding,) = works.channel(closing, "grid").findings
        assert finding.found_ms == SETTLED_MS + HOUR_MS
        now = works.channel(closing, "grid").now.measures["cost_cny"]
        assert abs(now - cost) > 0.01
        assert finding.measures["cost_cny"] == pytest.approx(now - cost)
        found = works.restatements.find("370114", "works", MONTH_MS, NOVEMBER_MS)
        assert found[: len(closing_before)] == closing_before

    def test_a_role_given_afterwards_is_told_apart_from_what_was_found(self, works):
        works.now_ms = SETTLED_MS
        closing = works.close()
        works.register = works.register_of(line=((0, Role.OWN_GENERATION),))
        works.run([])
        site = works.carrier(closing)
        assert site.reported.consumption == {"kWh": GRID + PV}
        assert site.now.consumption == {"kWh": GRID + PV + LINE + OPEN}
        assert (site.findings, site.unexplained) == ([], {"kWh": LINE + OPEN})

    def test_a_meter_registered_afterwards_is_a_correction_with_a_record(self, unread):
        works = unread
        works.register = works.register_of(without="pv")
        works.october()
        works.now_ms = SETTLED_MS
        closing = works.close()
        assert works.carrier(closing).reported.consumption == {"kWh": GRID}
        works.register = works.register_of()
        works.now_ms = NOVEMBER_MS + DAY_MS
        works.run([works.read("grid", NOVEMBER_MS + HOUR_MS)])
        site = works.carrier(closing)
        assert site.now.consumption == {"kWh": GRID + PV}
        assert [(f.cause, f.amounts) for f in site.findings] == [("register", {"kWh": PV})]
        assert site.findings[0].measures["kgce_calorific"] == pytest.approx(PV / MICRO * 0.1229)
        assert site.unexplained == {}

    def test_a_meter_of_which_nothing_is_known_is_named(self, works):
        works.register = Register.of(
            works.register.sites.values(),
            [
                *(row for rows in works.register.rows.values() for row in rows),
                Meter("works", "feeder", "electricity", Role.BOUNDARY_IN, "", 1, "", 0, ""),
            ],
        )
        works.run([])
        works.now_ms = SETTLED_MS
        closing = works.close()
        works.register = works.register_of()  # forgotten afterwards
        reported = works.closings.reported(closing, "works")
        account = account_of_parts(works.reader, works.site, reported, MONTH_MS)
        assert account.without_data == ["feeder"]
        assert account.measured_share == pytest.approx(
            sum(p.measured_ms for p in reported if p.meter in ("grid", "pv")) / (3 * 31 * DAY_MS)
        )

    def test_a_role_within_the_month_counts_while_it_holds(self, works):
        works.register = works.register_of(
            line=((0, Role.SUB), (DAY_30, Role.BOUNDARY_IN), (DAY_31, Role.BOUNDARY_OUT)),
            pv=((DAY_31, Role.OWN_GENERATION),),
        )
        works.run([])
        works.now_ms = SETTLED_MS
        closing = works.close()
        own = [p for p in works.closings.reported(closing, "works") if p.meter == "line"]
        parts = [
            energy("line", DAY_29, DAY_30),
            energy("line", DAY_30, DAY_31),
            energy("line", DAY_31, DAY_31 + 12 * HOUR_MS) + OPEN,
        ]
        assert [(p.role, p.amount) for p in own] == list(
            zip(("sub", "boundary_in", "boundary_out"), parts, strict=True)
        )
        pv = PV - energy("pv", DAY_29, DAY_31)
        wanted = GRID + pv + parts[1] - parts[2]
        assert works.carrier(closing).reported.consumption == {"kWh": wanted}
        # The figures say the same as the account made of intervals, but for what is estimated
        with ApiClient(build_app(works.reader)) as client:
            query = {"site": "works", "from": "2026-10-01", "to": "2026-11-01"}
            answer = client.get("/api/v1/consumption", query).json()
        counted = {"energy_kwh": (wanted + OPEN) / MICRO}
        assert answer["sites"][0]["carriers"][0]["consumption"] == counted

    def test_the_api_tells_both_and_what_lies_between(self, works):
        works.now_ms = SETTLED_MS
        works.close()
        works.now_ms = NOVEMBER_MS + DAY_MS
        works.run([works.read("pv", *range(PV_GAP[0] + GRID_MS, PV_GAP[1], GRID_MS))])
        true = energy("pv", DAY_29, NOVEMBER_MS)
        with ApiClient(build_app(works.reader, closings=works.closings)) as client:
            (row,) = client.get("/api/v1/closings").json()["closings"]
            assert (row["region"], row["month"], row["author"]) == ("370114", "2026-10", "Li Wei")
            assert client.get("/api/v1/closings?region=370115").json() == {"closings": []}
            answer = client.get("/api/v1/closings/370114/2026-10").json()
            (site,) = answer["sites"]
            (carrier,) = site["carriers"]
            assert "channels" not in site
            assert carrier["reported"]["consumption"] == {"energy_kwh": (GRID + PV) / MICRO}
            assert carrier["now"]["consumption"] == {"energy_kwh": (GRID + true) / MICRO}
            assert carrier["correction"]["consumption"] == {"energy_kwh": (true - PV) / MICRO}
            assert carrier["unexplained"] == {}
            assert carrier["found"][0]["cause"] == "late readings"
            assert carrier["correction"]["kgce_calorific"] == pytest.approx(
                carrier["found"][0]["kgce_calorific"]
            )
            assert carrier["correction"]["cost_cny"] == 0  # what pv brings is not bought
            assert "cost_cny" not in carrier["found"][0]
            assert answer["carriers"][0]["correction"] == carrier["correction"]
            assert site["reported"]["total"]["kgce_calorific"] == pytest.approx(
                (GRID + PV) / MICRO * 0.1229
            )
            answer = client.get("/api/v1/closings/370114/2026-10?detail=channels&site=works").json()
            channels = {row["meter"]: row for row in answer["sites"][0]["channels"]}
            assert channels["pv"]["reported"]["amount"] == {"energy_kwh": PV / MICRO}
            assert channels["pv"]["now"]["amount"] == {"energy_kwh": true / MICRO}
            assert channels["grid"]["correction"]["amount"] == {"energy_kwh": 0.0}
            line = channels["line"]["reported"]
            assert (line["open_amount"], line["open_s"]) == ({"energy_kwh": OPEN / MICRO}, 43_200)
            assert line["open_estimation"] == "same quarters of four weeks"
            grid = channels["grid"]["reported"]
            assert (grid["open_amount"], grid["open_s"]) == ({"energy_kwh": 0.0}, 0)
            assert grid.get("open_estimation") is None
            late = channels["pv"]
            assert late["found"][0]["estimated"] == late["correction"]["amount_estimated"]
            assert late["correction"]["amount_estimated"]["energy_kwh"] < 0
            content = client.get("/api/v1/closings/370114/2026-10?format=csv").content
            lines = content.decode("utf-8-sig").splitlines()
            assert lines[0].startswith("region,month,site,carrier,reported_consumption_energy_kwh")
            assert len(lines) == 2
            query = "?format=csv&detail=channels"
            lines = client.get(f"/api/v1/closings/370114/2026-10{query}").text.splitlines()
            assert len(lines) == 4
            for path, status, parameter in (
                ("370114/2026-09", 404, "month"),
                ("370115/2026-10", 404, "month"),
                ("370114/2026-13", 422, "month"),
                ("370114/2026-10?site=nowhere", 404, "site"),
            ):
                refused = client.get(f"/api/v1/closings/{path}")
                assert refused.status_code == status
                assert refused.json()["error"]["parameter"] == parameter
