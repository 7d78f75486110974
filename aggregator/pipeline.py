"""The road of every batch, in one thread: inbox, columns, door, book, store, acknowledgement.

Batches are committed in groups: the live ones 200 ms after the first came, those with readings
older than the book's heads some seconds later, gathered per site. An ack leaves only after the
store has committed the raw readings and the intervals they touch. While the store is away the
same commit is repeated, the inbox fills, and edges keep what was not acked.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

import numpy as np

from aggregator.amendments import Amendments
from aggregator.arrivals import Arrivals
from aggregator.batch import Int32, IntervalColumns, ReadingColumns
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.events import (
    Counter,
    Event,
    Events,
    LineRefused,
    MeterUnregistered,
    PayloadQuarantined,
    RecordsBack,
    RecordsLost,
    StoreBack,
    StoreLost,
    TimesQuarantined,
)
from aggregator.fleet import Fleet
from aggregator.information import Information
from aggregator.ingest.assemble import Arrival, Assembler
from aggregator.ingest.decode import decode_batch
from aggregator.ingest.receipts import Settled
from aggregator.ingest.subscriber import Inbox, Message, Publish
from aggregator.ledger.meter_events import MeterEvent
from aggregator.live import Live
from aggregator.orders import Orders
from aggregator.parameters import Parameters
from aggregator.points import Points
from aggregator.records import (
    IMPOSSIBLE_TIME,
    Quarantined,
    Records,
    RecordsUnavailable,
    StoredState,
)
from aggregator.release import Release, release_of
from aggregator.rollups import Rollups
from aggregator.store.base import (
    Commit,
    CommitResult,
    DirtyDay,
    Refused,
    Store,
    StoreRetriable,
)
from contract.ack import MAX_NEED_META, MAX_OUTBOXES, Ack, OutboxAck, encode_ack
from contract.interval import BEIJING_OFFSET_MS, DAY_MS
from contract.meta import Meta, decode_meta, meta_hash
from contract.state import decode_state
from contract.topics import Address, MessageKind, parse_topic, topic
from contract.wire import MAX_ACK_BYTES, DecodeError

_DEAD_LETTER = "refused line"
"""Stands in quarantine where a payload has its topic."""
_RETRY_S = (0.2, 10.0)
_IDLE_S = 0.05
_STATES_S = 5.0
_ACK_FRAME_BYTES = 128 + 70 * MAX_NEED_META
"""What an ack without outboxes takes at most [bytes]: a name of 64 digits, quotes and a comma."""
_OUTBOX_BYTES, _RANGE_BYTES = 80, 36
"""What an outbox, and each of its ranges, takes at most [bytes]: a seq has up to 16 digits."""

Result = TypeVar("Result")


class _Stopped(Exception):  # noqa: N818 - an order, not an error
    """The pipeline was asked to end while the store was away."""


@dataclass(slots=True)
class _Group:
    """Batches that wait for a commit together."""

    since: float = 0.0
    """Monotonic time of the first one [s]."""
    latest: float = 0.0
    """Monotonic time of the last one [s]."""
    readings: int = 0
    arrivals: list[Arrival] = field(default_factory=list)

    def add(self, arrival: Arrival, now: float) -> None:
        if not self.arrivals:
            self.since = now
        self.latest = now
        self.arrivals.append(arrival)
        self.readings += len(arrival)


@dataclass(frozen=True, slots=True)
class _Job:
    """What another thread asks for."""

    region: str
    site: str
    done: Future[int]


@dataclass(frozen=True, slots=True)
class _Points:
    """Points that another thread wants to be written."""

    make: Callable[[], Points]
    done: Future[int]


@dataclass(slots=True)
class _Answer:
    """What the next ack to one edge has to say."""

    sources: set[int] = field(default_factory=set)
    need_meta: set[str] = field(default_factory=set)


class Pipeline:
    """Owns the store's writing side. `run` in a thread of its own; `stop` from another."""

    def __init__(
        self,
        *,
        store: Store,
        records: Records,
        book: Book,
        parameters: Parameters,
        amendments: Amendments,
        rollups: Rollups,
        live: Live,
        inbox: Inbox,
        publish: Publish,
        events: Events,
        pace: PaceSection,
        time_ms: Callable[[], int],
        orders: Orders | None = None,
        information: Information | None = None,
        fleet: Fleet | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._orders = orders
        self._store = store
        self._information = information
        self._fleet = fleet
        self._arrivals = arrivals
        self._records = records
        self._book = book
        self._parameters = parameters
        self._amendments = amendments
        self._rollups = rollups
        self._live = live
        self._inbox = inbox
        self._publish = publish
        self._events = events
        self._pace = pace
        self._time_ms = time_ms
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._jobs: SimpleQueue[_Job | _Points] = SimpleQueue()
        self._loaded: set[tuple[str, str]] = set()
        """(region, site) whose heads are loaded and whose figures follow what is declared."""

        self._assembler = Assembler(store.directory)
        self._metas: dict[tuple[Address, str], Meta] = {}
        self._in_force: dict[Address, tuple[int, str]] = {}
        """Per edge the time of its newest reading [ms] and the meta it was read under."""
        for stored in records.metas():
            meta = parameters.lean(decode_meta(stored.payload))
            self._metas[stored.address, stored.hash] = meta
            if stored.used_ms:
                self._in_force[stored.address] = stored.used_ms, stored.hash
                self._tell(stored.address, meta)
        self._settled = {
            store.directory.sources.add(source): Settled(ranges)
            for source, ranges in store.receipts().items()
        }
        self._waiting: set[tuple[int, int]] = set()
        """(source, seq) of batches that are in a group."""
        self._prompt = _Group()
        self._late: dict[tuple[str, str], _Group] = {}
        self._answers: dict[Address, _Answer] = {}
        self._faulty: set[str] = set()
        """Topics whose last payload broke the contract."""
        self._misdated: set[str] = set()
        """Topics whose last batch had readings with impossible times."""
        self._to_release: set[tuple[str, str]] = set()
        """(region, site) of batches that the door refused though a clock event may cover them."""
        self._unregistered: set[str] = set()
        """Meters told to be unregistered."""
        self._refused: set[str] = set()
        """InfluxDB series told to have refused lines."""
        self._records_lost = False
        self._rolled_up = time.monotonic()
        self._states: dict[Address, StoredState] = {}
        """Last states that are not in the records yet: the broker retains them too."""
        self._states_kept = self._rolled_up

    def run(self) -> None:
        """Work until stopped; what waits is then committed if the store takes it at once."""
        try:
            for place in self._rollups.unsure():
                self._load_site(*place)
            while not self._stopping.is_set():
                for message in self._inbox.take(_IDLE_S):
                    self._receive(message)
                self._work(time.monotonic())
            self._commit_all()
        except _Stopped:
            return  # the store was away: what waits was not acked and comes again
        finally:
            self._ended.set()
            self._cancel_jobs()

    def put(self, make: Callable[[], Points]) -> Future[int]:
        """Make and write points of a dashboard's measurement; how many. As `amend`.

        Nothing is written between: what `make` reads of the store is so when its points are there.
        """
        return self._ask(_Points(make, Future()))

    def amend(self, region: str, site: str) -> Future[int]:
        """Bring a site's figures in line with its events; how many intervals that changed.

        From any thread. Cancelled when the pipeline ends first: the next start does it.
        """
        return self._ask(_Job(region, site, Future()))

    def _ask(self, job: "_Job | _Points") -> Future[int]:
        self._jobs.put(job)
        self._inbox.wake()
        if self._ended.is_set():
            self._cancel_jobs()
        return job.done

    def _cancel_jobs(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._jobs.get_nowait().done.cancel()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()
        self._inbox.wake()

    def _work(self, now: float) -> None:
        """Do what is due, live before late before roll-ups."""
        prompt = self._prompt
        if prompt.arrivals and (
            now - prompt.since >= self._pace.commit_ms / 1_000
            or prompt.readings >= self._pace.commit_readings
        ):
            self._prompt = _Group()
            self._commit(prompt.arrivals, late=False)
        for site, group in list(self._late.items()):
            if (
                now - group.since >= self._pace.late_debounce_s
                or now - group.latest >= self._pace.late_quiet_s
                or group.readings >= self._pace.commit_readings
            ):
                del self._late[site]
                self._commit(group.arrivals, late=True)
        while not self._jobs.empty():
            self._do(self._jobs.get())
        while self._to_release:
            self._release(*self._to_release.pop())
        if now - self._states_kept >= _STATES_S:
            self._states_kept = now
            self._keep_states()
        if now - self._rolled_up >= self._pace.rollup_s:
            self._rolled_up = now
            self._roll_up()
        self._send_acks()
        self._insist(self._rollups.catch_up)  # a piece at a time, after what is live
        self._keep_information()

    def _commit_all(self) -> None:
        groups = [(self._prompt, False), *((group, True) for group in self._late.values())]
        for group, late in groups:
            if group.arrivals:
                self._commit(group.arrivals, late=late)
        self._roll_up()
        self._keep_states()
        self._send_acks()

    def _roll_up(self) -> None:
        """Integrate the rates that came, then sum up what has changed."""
        for part in self._book.integration.touched():
            redone = self._insist(partial(self._book.remade, *part))
            if redone is not None:
                changed = redone.changed
                restate = partial(self._amendments.restate, changed, "late readings")
                self._write_figures(changed, restate)
        days = self._book.integration.done()
        self._insist(lambda: self._rollups.needless(days))
        self._insist(self._rollups.flush)
        if self._arrivals is not None:
            self._write_points(self._insist(self._arrivals.points))
            self._arrivals.written()

    def _keep_states(self) -> None:
        """Write what edges last said of themselves: one transaction for all of them."""
        states = list(self._states.values())
        if states and self._record(lambda: self._records.put_states(states)) is not None:
            self._states.clear()
        if self._fleet is not None:
            for points in self._fleet.points():
                self._write_points(points)
            self._fleet.written()

    def _keep_information(self) -> None:
        """Write one site's names and plans, where they changed."""
        if self._information is not None:
            result = self._insist(self._information.keep)
            self._note_refused(result.refused if result else ())

    def _write_points(self, points: Points) -> int:
        result = self._insist(lambda: self._store.write_points(points))
        self._note_refused(result.refused)
        return result.intervals

    def _record(self, write: Callable[[], Result]) -> Result | None:
        """Write to the records; None when they do not take it now: no reading waits for them."""
        try:
            result = write()
        except RecordsUnavailable as error:
            self._events.count(Counter.RECORDS_FAILED)
            if not self._records_lost:
                self._records_lost = True
                self._events.emit(RecordsLost(str(error)))
            return None
        if self._records_lost:
            self._records_lost = False
            self._events.emit(RecordsBack())
        return result

    def _answer(self, address: Address) -> _Answer:
        return self._answers.setdefault(address, _Answer())

    # ------------------------------------------------------------------ receiving

    def _receive(self, message: Message) -> None:
        try:
            address, kind = parse_topic(message.topic)
        except ValueError:
            self._events.count(Counter.FOREIGN)
            return
        try:
            if kind is MessageKind.DATA:
                self._receive_data(address, message)
            elif kind is MessageKind.META:
                self._receive_meta(address, message.payload)
            elif kind is MessageKind.STATE:
                self._receive_state(address, message.payload)
            elif kind is MessageKind.REPLY and self._orders is not None:
                self._orders.take_reply(address, message.payload)
        except DecodeError as error:
            self._events.count(Counter.UNDECODABLE)
            self._quarantine(message, str(error))
            self._say_once(
                self._faulty, message.topic, PayloadQuarantined(message.topic, str(error))
            )
        else:
            self._faulty.discard(message.topic)

    def _receive_meta(self, address: Address, payload: bytes) -> None:
        meta = decode_meta(payload)
        name = meta_hash(payload)
        if (address, name) not in self._metas:
            kept = self._record(lambda: self._records.put_meta(name, payload, address))
            if kept is None:
                return  # unknown as before: the edge is asked for it when its data come
            self._metas[address, name] = self._parameters.lean(meta)

    def _use_meta(self, address: Address, name: str, newest_ms: int) -> None:
        """Let the meta of an edge's newest reading be in force, whatever order batches come in."""
        last_ms, last = self._in_force.get(address, (0, ""))
        if (newest_ms, name) > (last_ms, last):
            self._in_force[address] = newest_ms, name
            if name != last:
                self._tell(address, self._metas[address, name])
                self._record(lambda: self._records.use_meta(name, address, newest_ms))

    def _tell(self, address: Address, meta: Meta) -> None:
        """Let a meta be in force."""
        self._parameters.tell(address, meta)
        if self._information is not None:
            self._information.tell(address, meta)

    def _receive_state(self, address: Address, payload: bytes) -> None:
        state = decode_state(payload)
        self._live.take_state(address, state)
        now_ms = self._time_ms()
        self._states[address] = StoredState(address, payload, now_ms)
        if self._fleet is not None:
            self._fleet.take(address, self._live.state(address), now_ms)
        if self._information is not None:
            self._information.hear(address)
        if state.online and not state.clock.synchronised:
            self._answer(address)  # an ack that tells the time, whatever else it says

    def _receive_data(self, address: Address, message: Message) -> None:
        batch = decode_batch(message.payload)
        source = self._assembler.source(address, batch.outbox)
        if (source, batch.seq) in self._waiting:
            self._events.count(Counter.DUPLICATES)
            return
        if batch.seq in self._settled.setdefault(source, Settled()):
            self._events.count(Counter.DUPLICATES)
            self._answer(address).sources.add(source)
            return
        if (address, batch.meta) not in self._metas:
            self._events.count(Counter.META_UNKNOWN)
            self._answer(address).need_meta.add(batch.meta)
            return
        arrival = self._assembler.assemble(address, batch, self._time_ms())
        if arrival.refused_at_door:
            self._events.count(Counter.DOOR, arrival.refused_at_door)
            self._quarantine(message, IMPOSSIBLE_TIME)
            if any(event.edge == address.edge for event in self._clocks(address)):
                self._to_release.add((address.region, address.site))
            event = TimesQuarantined(message.topic, arrival.refused_at_door)
            self._say_once(self._misdated, message.topic, event)
        else:
            self._misdated.discard(message.topic)
        columns = (arrival.cumulative.time_ms, arrival.instantaneous.time_ms)
        newest_ms = max((int(times.max()) for times in columns if len(times)), default=0)
        self._use_meta(address, batch.meta, newest_ms)
        self._waiting.add((source, batch.seq))
        self._load_site(address.region, address.site)
        now = time.monotonic()
        if self._book.is_late(arrival.cumulative):
            group = self._late.setdefault((address.region, address.site), _Group())
            group.add(arrival, now)
        else:
            self._prompt.add(arrival, now)

    def _clocks(self, address: Address) -> Sequence[MeterEvent]:
        return self._parameters.clocks(address.region, address.site)

    def _quarantine(self, message: Message, reason: str) -> None:
        """Keep a payload aside."""
        payload, topic, now_ms = message.payload, message.topic, self._time_ms()
        evicted = self._record(lambda: self._records.quarantine(payload, topic, reason, now_ms))
        self._events.count(Counter.QUARANTINE_EVICTED, evicted or 0)

    def _say_once(self, said: set[str], key: str, event: Event) -> None:
        """Emit an event unless it is said already."""
        if key not in said:
            said.add(key)
            self._events.emit(event)

    # ------------------------------------------------------------------ committing

    def _commit(self, arrivals: Sequence[Arrival], *, late: bool) -> None:
        """Make batches durable with the intervals they touch, then owe their edges an ack."""
        cumulative = ReadingColumns.concatenate([arrival.cumulative for arrival in arrivals])
        instantaneous = ReadingColumns.concatenate([a.instantaneous for a in arrivals])
        counted = self._book.counted(cumulative)
        unregistered = self._book.unregistered(cumulative)
        # Between its arrival and its turn a batch may have become late: another came first.
        if late or self._book.is_late(counted):
            intervals, cause = self._insist(lambda: self._book.recompute(counted)), "late readings"
            self._events.count(Counter.LATE, len(counted))
        else:
            # A register that was silent over a settled day's end tells now what it counted.
            intervals, cause = self._book.advance(counted), "newer readings"
        verdicts = self._insist(lambda: self._book.verdicts(cumulative))
        self._settle(arrivals)
        days = self._dirty(intervals)
        commit = Commit(
            cumulative,
            instantaneous,
            intervals,
            receipts={
                self._store.directory.sources.key(source): self._settled[source].ranges()
                for source in {arrival.source for arrival in arrivals}
            },
            dirty=days | self._touch(instantaneous),
            verdicts=verdicts,
        )
        self._insist(self._amendments.note_new)  # before the figures: a crash between is harmless
        self._write(commit, days, lambda: self._amendments.restate(intervals, cause, arrivals))
        readings = len(cumulative) + len(instantaneous)
        self._live.take(instantaneous, readings, self._time_ms())
        self._events.count(Counter.COMMITS)
        self._events.count(Counter.BATCHES, len(arrivals))
        self._events.count(Counter.READINGS, readings)
        self._tell_unregistered(unregistered)
        if self._arrivals is not None:
            self._arrivals.take(arrivals, self._time_ms())
        for arrival in arrivals:
            self._waiting.discard((arrival.source, arrival.seq))
            self._answer(arrival.address).sources.add(arrival.source)

    def _touch(self, instantaneous: ReadingColumns) -> frozenset[DirtyDay]:
        """Note rates that are about to be committed and have to be integrated then."""
        days, reverse = self._book.integration.touch(instantaneous)
        self._events.count(Counter.REVERSE_RATES, reverse)
        return days

    def _tell_unregistered(self, series: Int32) -> None:
        """Count readings of unregistered meters; name each meter once."""
        self._events.count(Counter.UNREGISTERED, len(series))
        for index in np.unique(series).tolist():
            region, site, meter, _ = self._store.directory.series.key(index)
            event = MeterUnregistered(region, site, meter)
            self._say_once(self._unregistered, f"{region}/{site}/{meter}", event)

    def _load_site(self, region: str, site: str) -> int:
        """Load a site's heads once, and write what the store lacks or has otherwise.

        Returns how many intervals followed what was declared since.
        """
        if (region, site) in self._loaded:
            return 0
        lacking = self._insist(lambda: self._book.load_site(region, site))
        self._write_figures(lacking, lambda: self._amendments.restate_loaded(region, site, lacking))
        found = self._insist(lambda: self._book.integration.lacking(region, site, self._time_ms()))
        self._write_figures(found, lambda: self._amendments.restate_loaded(region, site, found))
        self._rollups.made_sure(region, site)
        changed = self._insist(lambda: self._amend(region, site))
        changed += self._release(region, site)
        self._insist(self._amendments.note_new)  # what the next event is compared with
        self._loaded.add((region, site))
        return changed

    def _do(self, job: "_Job | _Points") -> None:
        if not job.done.set_running_or_notify_cancel():
            return
        try:
            if isinstance(job, _Points):
                job.done.set_result(self._write_points(self._insist(job.make)))
                return
            changed = self._load_site(job.region, job.site)
            changed += self._insist(lambda: self._amend(job.region, job.site))
            changed += self._release(job.region, job.site)
            job.done.set_result(changed)
        except BaseException as error:
            job.done.set_exception(error)
            raise

    def _amend(self, region: str, site: str) -> int:
        changed = 0
        for figures in self._amendments.amend(region, site):
            self._write_figures(figures)
            changed += len(figures)
        return changed

    def _release(self, region: str, site: str) -> int:
        """Let in what the door refused and clock events put right; how many intervals that changed.

        A payload leaves the quarantine when all of it is in the store; a crash before that only
        means looking at it again.
        """
        clocks = self._parameters.clocks(region, site)
        kept = self._record(lambda: self._records.misdated(region, site)) if clocks else None
        changed = 0
        group: list[Release] = []
        for one in kept or ():
            found = self._insist(partial(self._released, one, clocks))
            if found is not None:
                group.append(found)
            if sum(map(len, group)) >= self._pace.commit_readings:
                changed += self._let_in(group)
                group = []
        return changed + self._let_in(group)

    def _released(self, kept: Quarantined, clocks: Sequence[MeterEvent]) -> Release | None:
        return release_of(kept, clocks, self._assembler, self._store, self._time_ms())

    def _let_in(self, group: Sequence[Release]) -> int:
        if not group:
            return 0
        for one in group:
            self._use_meta(one.address, one.meta, one.newest_ms)
        cumulative = ReadingColumns.concatenate([one.cumulative for one in group])
        instantaneous = ReadingColumns.concatenate([one.instantaneous for one in group])
        edges = {one.address.edge for one in group}
        counted = self._book.counted(cumulative)
        intervals = self._insist(lambda: self._book.recompute(counted))
        verdicts = self._insist(lambda: self._book.verdicts(cumulative))
        days = self._dirty(intervals)
        dirty = days | self._touch(instantaneous)
        self._insist(self._amendments.note_new)
        self._write(
            Commit(cumulative, instantaneous, intervals, {}, dirty, verdicts),
            days,
            lambda: self._amendments.restate_released(intervals, edges),
        )
        readings = len(cumulative) + len(instantaneous)
        self._events.count(Counter.READINGS, readings)
        self._events.count(Counter.RELEASED, readings)
        self._tell_unregistered(self._book.unregistered(cumulative))
        whole = [one.hash for one in group if one.whole]
        self._record(lambda: self._records.release(whole))
        return len(intervals)

    def _write_figures(
        self, figures: IntervalColumns, restate: Callable[[], None] | None = None
    ) -> None:
        """Write intervals that come from readings in the store, and the verdicts there."""
        nothing = ReadingColumns.empty(cumulative=True)
        verdicts = self._insist(lambda: self._book.verdicts(nothing))
        if len(figures) or verdicts:
            days = self._dirty(figures)
            self._write(Commit.without_readings(figures, days, verdicts), days, restate)

    def _write(
        self, commit: Commit, days: AbstractSet[DirtyDay], restate: Callable[[], None] | None
    ) -> None:
        """Commit, however long it takes, and see to the roll-ups of its intervals' days.

        Records of settled days are kept before each try: a day may settle while the store is away.
        """

        def attempt() -> CommitResult:
            if restate is not None:
                restate()
            return self._store.commit(commit)

        result = self._insist(attempt)
        self._note_refused(result.refused)
        starts = commit.intervals.start_ms
        if len(starts):
            self._rollups.mark(days, int(starts.min()), int(starts.max()))
        self._events.count(Counter.INTERVALS, len(starts))
        self._events.count_verdicts(commit.verdicts)

    def _note_refused(self, lines: Sequence[Refused]) -> None:
        """Keep lines that the store rejected for their content aside, and name each series once."""
        for refused in lines:
            self._events.count(Counter.REFUSED)
            self._quarantine(Message(_DEAD_LETTER, refused.line.encode()), refused.reason)
            series = refused.line.split(" ", 1)[0]
            self._say_once(self._refused, series, LineRefused(refused.line, refused.reason))

    def _settle(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            settled = self._settled.setdefault(arrival.source, Settled())
            for low, high in arrival.given_up:
                self._events.count(Counter.VOIDED, settled.add(low, high))
            settled.add(arrival.seq, arrival.seq)

    def _dirty(self, intervals: IntervalColumns) -> frozenset[DirtyDay]:
        """Name the (site, Beijing day) pairs whose roll-ups these intervals outdate."""
        keys = self._store.directory.series
        day = intervals.start_ms - (intervals.start_ms + BEIJING_OFFSET_MS) % DAY_MS
        found: set[DirtyDay] = set()
        for day_ms in np.unique(day).tolist():
            for index in np.unique(intervals.series[day == day_ms]).tolist():
                key = keys.key(index)
                found.add(DirtyDay(key.region, key.site, day_ms))
        return frozenset(found)

    def _insist(self, call: Callable[[], Result]) -> Result:
        """Repeat a call of the store until it succeeds; `_Stopped` when asked to end."""
        lost_at: float | None = None
        wait_s = _RETRY_S[0]
        while True:
            try:
                result = call()
            except StoreRetriable as error:
                self._events.count(Counter.STORE_RETRIES)
                if lost_at is None:
                    lost_at = time.monotonic()
                    self._events.emit(StoreLost(str(error)))
                if self._stopping.wait(wait_s):
                    raise _Stopped from None
                wait_s = min(2 * wait_s, _RETRY_S[1])
            else:
                if lost_at is not None:
                    self._events.emit(StoreBack(round(time.monotonic() - lost_at, 1)))
                return result

    def _send_acks(self) -> None:
        """Tell each edge what is settled of what it sent since the last ack, and what is unknown.

        Metas beyond the limit are asked for when their data come again.
        """
        answers, self._answers = self._answers, {}
        now_ms = self._time_ms()
        for address, answer in answers.items():
            outboxes: dict[str, OutboxAck] = {}
            for source in answer.sources:
                settled = self._settled.get(source, Settled())
                outbox = self._store.directory.sources.key(source).outbox
                outboxes[outbox] = OutboxAck(settled.upto, settled.above())
            need_meta = tuple(sorted(answer.need_meta)[:MAX_NEED_META])
            for portion in _portions(outboxes):
                ack = encode_ack(Ack(now_ms, portion, need_meta))
                self._publish(topic(address, MessageKind.ACK), ack)
                self._events.count(Counter.ACKS)
                need_meta = ()


def _portions(outboxes: Mapping[str, OutboxAck]) -> Iterator[dict[str, OutboxAck]]:
    """Yield the outboxes as many at once as an ack may hold: one portion at least."""
    portion: dict[str, OutboxAck] = {}
    size = _ACK_FRAME_BYTES
    for outbox, settled in outboxes.items():
        its_size = _OUTBOX_BYTES + _RANGE_BYTES * len(settled.ranges)
        if portion and (len(portion) == MAX_OUTBOXES or size + its_size > MAX_ACK_BYTES):
            yield portion
            portion, size = {}, _ACK_FRAME_BYTES
        portion[outbox] = settled
        size += its_size
    yield portion
