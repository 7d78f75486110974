"""The pipeline's answers to what edges send and to what its surroundings refuse to do."""

import contextlib
import io
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from aggregator.amendments import Amendments
from aggregator.arrivals import Arrivals
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.events import Counter, Events
from aggregator.facts import Facts
from aggregator.fleet import Fleet
from aggregator.information import Information
from aggregator.ingest.subscriber import Inbox, Message
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.pipeline import Pipeline
from aggregator.points import Points
from aggregator.records import Records
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Refused
from contract.ack import Ack, decode_ack
from contract.data import Batch, blocks_of, encode_data
from contract.interval import DAY_MS, GRID_MS, MINUTE_MS, day_start
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.reading import Reading
from contract.state import encode_state, offline_state
from contract.stored import ARRIVAL_DAY, EDGE_HISTORY, METER_INFO, NODE_PLAN, Level
from contract.topics import Address, MessageKind, topic
from contract.units import MICRO, to_micro
from contract.wire import MAX_SEQ
from tests.suites.memory_store import MemoryDatabase, MemoryStore

GW = Address("370114", "works", "gw-1")
T0 = 1_760_000_000_000
NOW = T0 + 60 * MINUTE_MS
OUTBOX = "00000000000000aa"


def meta_of(
    modulus: float | None = 1_000.0, meters: Sequence[str] = ("em-1",), rating: float = 60.0
) -> bytes:
    channel = MetaChannel("energy_import", "kWh", modulus, rating, 0.01)
    return encode_meta(Meta(tuple(MetaMeter(name, "s", "m", (channel,)) for name in meters)))


META = meta_of()


def told(payload: bytes = META) -> Message:
    return Message(topic(GW, MessageKind.META), payload)


def batch(
    seq: int,
    meta: bytes = META,
    outbox: str = OUTBOX,
    meter: str = "em-1",
    time_ms: int | None = None,
) -> Message:
    at = T0 + seq % 1_000 * MINUTE_MS // 10 if time_ms is None else time_ms
    reading = Reading(meter, "energy_import", at, to_micro(seq % 1_000))
    payload = encode_data(Batch(outbox, seq, meta_hash(meta), 1, (), blocks_of([reading])))
    return Message(topic(GW, MessageKind.DATA), payload)


class _Script(Inbox):
    """Hands out one prepared list per cycle, then stops the pipeline."""

    def __init__(self, cycles: list[Sequence[Message] | Callable[[], None]], events: Events):
        super().__init__(1, events)
        self.cycles = cycles
        self.stop: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False
        self.in_between = False
        """Whether cycles go on while figures are amended; the end never does."""

    def take(self, wait_s: float, most_bytes: int = 0) -> list[Message]:
        while self.cycles and (self.in_between or not self.busy()):
            cycle = self.cycles.pop(0)
            if not callable(cycle):
                return list(cycle)
            cycle()
        if not self.busy():
            self.stop()
        return []


class Rig:
    """A pipeline on a store in memory; each `run` is a new process on the same data."""

    def __init__(self, folder):
        self.database = MemoryDatabase()
        self.file = folder / "records.sqlite"
        self.records = Records(f"sqlite:///{self.file}")
        self.records.open()
        self.facts = Facts(f"sqlite:///{self.file}")
        self.restatements = Restatements(f"sqlite:///{self.file}")
        self.log = io.StringIO()
        self.acks: list[Ack] = []
        self.parameters: Parameters
        self.multiplier = 1
        self.factor_set = "national"
        self.register: Register | None = None
        self.now_ms = NOW
        self.store = MemoryStore
        self.meters: Sequence[str] = ("em-1",)
        self.in_between = False

    def run(self, *cycles: Sequence[Message] | Callable[[], None]) -> None:
        self.events = Events(lambda: NOW, self.log)
        store = self.store(self.database, GRID_MS)
        store.open()
        site = Site("works", "370114", "厂", "works", "foundry", None, None, None, None)
        meters = [
            Meter("works", id_, "electricity", Role.BOUNDARY_IN, "", self.multiplier, "", 0, "")
            for id_ in self.meters
        ]
        register = self.register or Register.of([site], meters)
        self.parameters = Parameters(store.directory, register)
        for place in self.facts.sites():
            self.parameters.declare(*place, self.facts.declared(*place))
        factors = builtin_library().choose(self.factor_set)
        tariffs = SiteTariffs(register, builtin_tariffs(), GRID_MS)
        self.measures = measures = Measures(store.directory, self.parameters, factors, tariffs)
        inbox = _Script(list(cycles), self.events)
        book = Book(store, self.parameters, measures)
        self.pipeline = pipeline = Pipeline(
            store=store,
            records=self.records,
            book=book,
            parameters=self.parameters,
            amendments=Amendments(
                store, book, self.parameters, self.facts, self.restatements, lambda: self.now_ms
            ),
            rollups=Rollups(store, self.events),
            live=Live(),
            inbox=inbox,
            publish=lambda _topic, payload: self.acks.append(decode_ack(payload)),
            events=self.events,
            pace=PaceSection(commit_readings=1),
            time_ms=lambda: self.now_ms,
            information=Information(store, register, factors, lambda: self.now_ms),
            fleet=Fleet(),
            arrivals=Arrivals(store),
        )
        inbox.stop = pipeline.stop
        inbox.busy = lambda: pipeline.amending
        inbox.in_between = self.in_between
        pipeline.run()

    def records_fail(self, *, failing: bool) -> None:
        """Let the database refuse every insert and update, as a full disk does."""
        with contextlib.closing(sqlite3.connect(self.file)) as db:
            for table in ("meta", "quarantine", "edge_state"):
                for action in ("INSERT", "UPDATE"):
                    name = f"no_{action}_{table}"
                    db.execute(
                        f"CREATE TRIGGER {name} BEFORE {action} ON {table} "
                        "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
                        if failing
                        else f"DROP TRIGGER {name}"
                    )

    def count(self, counter: Counter) -> int:
        return self.events.counts()[counter]

    def logged(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.records.close()
    rig.facts.close()
    rig.restatements.close()


def test_states_become_a_history_and_metas_name_their_meters(rig):
    state = encode_state(replace(offline_state(NOW), online=True, boot="b"))
    online, offline = (
        Message(topic(GW, MessageKind.STATE), payload)
        for payload in (state, encode_state(offline_state(T0)))
    )

    def tick() -> None:
        rig.now_ms += 10_000

    rig.run([told(), batch(1)], [online], tick, [online], tick, [offline])
    store = MemoryStore(rig.database, GRID_MS)
    edges = store.points(EDGE_HISTORY, 0, 2**60)
    assert [(tags[2], at - NOW, row["online"], row["boot"]) for tags, at, row in edges.rows()] == [
        ("gw-1", 0, 1, "b"), ("gw-1", 20_000, 0, "b"),
    ]  # fmt: skip
    ((tags, _, meter),) = store.points(METER_INFO, 0, 1).rows()
    assert (tags[2], meter["serial"], meter["model"]) == ("em-1", "s", "m")


def test_readings_are_counted_by_day_and_late_ones_with_them(rig):
    day_ms = day_start(NOW)
    at = {1: NOW - MINUTE_MS, 2: NOW - GRID_MS - 1, 3: day_ms - MINUTE_MS, 4: NOW - 2 * MINUTE_MS}

    def arrived() -> dict[int, tuple[int, ...]]:
        points = MemoryStore(rig.database, GRID_MS).points(ARRIVAL_DAY, 0, 2**60)
        assert {tags for tags, _, _ in points.rows()} == {("370114", "works", "gw-1")}
        return {at: tuple(row.values()) for _, at, row in points.rows()}

    rig.run([told(), batch(1, time_ms=at[1]), batch(2, time_ms=at[2])])
    assert arrived() == {day_ms: (2, 1, GRID_MS + 1)}
    rig.run([batch(2, time_ms=at[2]), batch(3, time_ms=at[3]), batch(4, time_ms=at[4])])
    assert arrived() == {
        day_ms: (3, 1, GRID_MS + 1),
        day_ms - DAY_MS: (1, 1, NOW - at[3]),
    }


def test_batches_do_not_wait_for_all_that_came_with_them(rig, monkeypatch):
    """A whole city's first batches come at once, and each site has to be loaded."""
    passing = SimpleNamespace(monotonic=partial(next, count(step=0.6)))
    monkeypatch.setattr("aggregator.pipeline.time", passing)
    rig.run([told(), *(batch(seq) for seq in range(1, 7))])
    uptos = [ack.outboxes[OUTBOX].upto for ack in rig.acks]
    assert len(uptos) > 1
    assert uptos == sorted(uptos)
    assert uptos[-1] == 6


def test_points_of_other_threads_are_made_and_written_by_the_pipeline(rig):
    of = NODE_PLAN
    done = []

    def ask() -> None:
        row = (("370114", "works"), 0, {"steps": "0:x"})
        done.append(rig.pipeline.put(lambda: Points.of_rows(of, [row])))

    rig.run(ask)
    assert [future.result(0) for future in done] == [1]
    assert len(MemoryStore(rig.database, GRID_MS).points(of, 0, 1)) == 1


def test_more_unknown_metas_than_an_ack_may_name_are_asked_for_in_turn(rig):
    metas = [meta_of(1_000.0 + i) for i in range(20)]
    data = [batch(i + 1, meta) for i, meta in enumerate(metas)]
    rig.run(data, data)
    first, second = (set(ack.need_meta) for ack in rig.acks)
    assert len(first) == len(second) == 16
    wanted = [meta for meta in metas if meta_hash(meta) in first]
    rig.acks.clear()
    rig.run([told(meta) for meta in wanted], data)
    assert set().union(*(ack.need_meta for ack in rig.acks)) == {
        meta_hash(meta) for meta in metas if meta not in wanted
    }


@pytest.mark.parametrize(("outboxes", "ranges"), [(17, 1), (40, 1), (9, 70)])
def test_many_outboxes_are_acknowledged_in_several_acks(rig, outboxes, ranges):
    names = [f"{i:016x}" for i in range(outboxes)]
    high = MAX_SEQ - MAX_SEQ % 1_000
    data = [batch(high - 2 * i, outbox=name) for i in range(ranges) for name in names]
    rig.run([told(), *data])
    assert len(rig.acks) > 1
    settled = {name: outbox for ack in rig.acks for name, outbox in ack.outboxes.items()}
    assert set(settled) == set(names)
    assert {len(outbox.ranges) for outbox in settled.values()} == {min(ranges, 64)}


def test_metas_that_come_together_are_one_transaction(rig, monkeypatch):
    kept: list[tuple[int, int]] = []

    def keep(self, came, used):
        kept.append((len(came), len(used)))
        return 0

    monkeypatch.setattr("aggregator.records.Records.keep_metas", keep)
    rig.run([told(), batch(1)], [batch(2)])
    assert kept == [(1, 1)]


def test_records_that_take_nothing_do_not_end_the_pipeline(rig, monkeypatch):
    monkeypatch.setattr("aggregator.pipeline._STATES_S", 0.0)
    state = encode_state(offline_state(T0))
    broken = Message(topic(GW, MessageKind.DATA), b"{")
    rig.run(
        lambda: rig.records_fail(failing=True),
        [told(), Message(topic(GW, MessageKind.STATE), state), broken, batch(1)],
        [broken],
        lambda: rig.records_fail(failing=False),
        [told(), batch(1)],
    )
    # The meta is known all the same: were it lost with the process, the edge would be asked for it.
    assert [ack.need_meta for ack in rig.acks] == [(), ()]
    assert rig.acks[-1].outboxes[OUTBOX].upto == 1
    assert [kept.payload for kept in rig.records.states()] == [state]
    assert [kept.hash for kept in rig.records.metas()] == [meta_hash(META)]
    assert rig.count(Counter.RECORDS_FAILED) >= 4
    (lost,) = rig.logged("records_lost")
    assert "full" in str(lost["reason"])
    assert len(rig.logged("records_back")) == 1


def test_impossible_times_are_told_when_they_begin_and_kept_each_time(rig):
    wrong = [batch(seq, time_ms=NOW + 10 * MINUTE_MS + seq) for seq in (1, 2, 3)]
    rig.run([told(), *wrong], [batch(4)], [batch(5, time_ms=NOW + 20 * MINUTE_MS)])
    assert len(rig.logged("times_quarantined")) == 2
    assert rig.records.quarantine_size()[0] == 4
    assert rig.count(Counter.DOOR) == 4
    assert rig.acks[-1].outboxes[OUTBOX].upto == 5


def test_impossible_times_that_are_not_kept_are_not_acknowledged(rig):
    """The edge would let go of readings that are nowhere; it sends them again instead."""
    wrong = batch(2, time_ms=NOW + 10 * MINUTE_MS)
    rig.run(
        [told(), batch(1)],
        lambda: rig.records_fail(failing=True),
        [wrong, batch(3)],
        lambda: rig.records_fail(failing=False),
    )
    settled = rig.acks[-1].outboxes[OUTBOX]
    assert (settled.upto, list(settled.ranges)) == (1, [(3, 3)])
    assert rig.count(Counter.DOOR) == 0
    rig.run([wrong])
    assert rig.acks[-1].outboxes[OUTBOX].upto == 3
    assert [kept.payload for kept in rig.records.quarantined()] == [wrong.payload]


def test_a_full_quarantine_is_told_once_and_its_batches_stay_with_their_edges(rig):
    wrong = [batch(seq, time_ms=NOW + 10 * MINUTE_MS + seq) for seq in (1, 2, 3)]
    rig.records = Records(f"sqlite:///{rig.file}", max_kept_bytes=len(wrong[0].payload))
    rig.run([told(), *wrong], wrong[1:], [batch(4)])
    assert rig.count(Counter.NO_ROOM) == 4
    assert len(rig.logged("quarantine_full")) == 1
    settled = rig.acks[-1].outboxes[OUTBOX]
    assert (settled.upto, list(settled.ranges)) == (1, [(4, 4)])


def test_an_unregistered_meter_is_named_once_and_its_readings_are_counted(rig):
    data = [[batch(seq, meter=meter)] for seq, meter in enumerate(("x-1", "x-1", "x-2", "em-1"), 1)]
    rig.run([told()], *data)
    assert [line["meter"] for line in rig.logged("meter_unregistered")] == ["x-1", "x-2"]
    assert rig.count(Counter.UNREGISTERED) == 3


class _Refusing(MemoryStore):
    """Takes all but one line of each commit, as InfluxDB does where a field has another type."""

    def commit(self, commit):
        result = super().commit(commit)
        time_ms = int(commit.cumulative.time_ms[0])
        return replace(result, refused=(Refused(f"reading,meter=em-1 a=1i {time_ms}", "a float"),))


def test_a_line_that_the_database_refuses_is_kept_as_a_dead_letter(rig):
    rig.store = _Refusing
    rig.run([told()], [batch(1)], [batch(2)])
    kept = [(letter.topic, letter.reason, letter.payload) for letter in rig.records.quarantined()]
    assert sorted(kept) == [
        ("refused line", "a float", f"reading,meter=em-1 a=1i {T0 + n * 6_000}".encode())
        for n in (1, 2)
    ]
    assert rig.acks[-1].outboxes[OUTBOX].upto == 2
    assert rig.count(Counter.REFUSED) == 2
    assert len(rig.logged("line_refused")) == 1


def test_one_late_channel_in_a_group_makes_no_other_late(rig, monkeypatch):
    """Of a channel with a late reading all is recomputed, of the others nothing."""
    recomputed: list[int] = []
    recompute = Book.recompute

    def watched(book: Book, readings):
        recomputed.append(len(readings))
        return recompute(book, readings)

    monkeypatch.setattr(Book, "recompute", watched)
    rig.meters = ("em-1", "em-2")
    meta = meta_of(meters=("em-1", "em-2"))

    def both(seq: int, own: int, other: int) -> Message:
        readings = [
            Reading(meter, "energy_import", T0 + minute * MINUTE_MS, to_micro(minute))
            for meter, minute in (("em-1", own), ("em-2", other))
        ]
        readings.sort(key=lambda reading: reading.time_ms)
        blocks = blocks_of(readings)
        payload = encode_data(Batch(OUTBOX, seq, meta_hash(meta), 1, (), blocks))
        return Message(topic(GW, MessageKind.DATA), payload)

    rig.run([told(meta)], [both(1, 10, 10)], [both(2, 5, 11)], [both(3, 20, 12)])
    assert [count for count in recomputed if count] == [1]
    assert rig.count(Counter.LATE) == 1
    store = MemoryStore(rig.database, GRID_MS)
    rows = store.intervals(Level.INTERVAL, np.arange(2, dtype=np.int32), 0, 2**60)
    assert [int(rows.amount[rows.series == i].sum()) // MICRO for i in (0, 1)] == [15, 2]


class _RefusingFigures(MemoryStore):
    """Takes no hours and no months."""

    def write_intervals(self, level, *more):
        result = super().write_intervals(level, *more)
        refused = (Refused(f"{level},meter=em-1 amount=1i {T0}", "a float"),)
        return replace(result, refused=refused if level in (Level.HOUR, Level.MONTH) else ())


def test_roll_ups_that_the_database_refuses_are_dead_letters_too(rig):
    rig.store = _RefusingFigures
    rig.run([told()], [batch(1)])
    kept = sorted(letter.payload.split(b",")[0] for letter in rig.records.quarantined())
    assert kept == [b"hour", b"month"]
    assert rig.count(Counter.REFUSED) == 2
    assert len(rig.logged("line_refused")) == 2
    rig.run([told()])
    assert rig.count(Counter.REFUSED) == 0  # and not tried for ever


def test_the_meta_of_the_newest_reading_is_in_force_before_and_after_a_restart(rig):
    a, b = meta_of(1_000.0), meta_of(2_000.0)

    def modulus():
        return rig.parameters.facts(0).modulus_micro / MICRO

    seen = []
    rig.run(
        [told(a), batch(1, a)],
        [told(b), batch(20, b)],
        lambda: seen.append(modulus()),
        [told(a), batch(40, a)],
        lambda: seen.append(modulus()),
        [told(b), batch(21, b)],  # from the backlog: read before the newest
        lambda: seen.append(modulus()),
    )
    assert seen == [2_000.0, 1_000.0, 1_000.0]
    rig.run(lambda: seen.append(modulus()), [told(b), batch(22, b)])
    assert seen[3:] == [1_000.0]
    assert modulus() == 1_000.0
