"""The road of every batch, in one thread: inbox, columns, door, book, store, acknowledgement.

Batches are committed in groups: the live ones 200 ms after the first came, those with readings
older than the book's heads some seconds later, when no more come of their sites. An ack leaves only
after the store has committed the raw readings and the intervals they touch. While the store is away
the same commit is repeated, the inbox fills, and edges keep what was not acked.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

import numpy as np

from aggregator.amendments import Amendments
from aggregator.arrivals import Arrivals
from aggregator.batch import SPARE, Int32, IntervalColumns, ReadingColumns
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.dead_letters import DeadLetters
from aggregator.directory import SeriesKey, Source
from aggregator.events import (
    AmendmentFailed,
    ChannelRefused,
    Counter,
    Event,
    Events,
    MeterUnregistered,
    PayloadQuarantined,
    TimesQuarantined,
)
from aggregator.fleet import Fleet
from aggregator.information import Information
from aggregator.ingest.answers import Answers
from aggregator.ingest.assemble import Arrival, Assembler
from aggregator.ingest.decode import decode_batch
from aggregator.ingest.groups import Groups
from aggregator.ingest.subscriber import Inbox, Message, Publish
from aggregator.ledger.meter_events import MeterEvent
from aggregator.live import Live
from aggregator.metas import Metas
from aggregator.orders import Orders
from aggregator.parameters import Parameters
from aggregator.points import Points
from aggregator.recorder import Recorder
from aggregator.records import (
    Quarantined,
    Records,
    StoredState,
)
from aggregator.release import Release, release_of
from aggregator.rollups import Rollups
from aggregator.rounds import Rounds
from aggregator.store.base import Commit, Ranges, Store, StoreError
from aggregator.writer import Stopped, Writer
from contract.meta import Meta
from contract.state import decode_state
from contract.topics import Address, MessageKind, parse_topic
from contract.wire import DecodeError

_OVERDUE_S = 1.0
"""Live batches wait no longer for what came with them: sites that are new take time to load."""
_IDLE_S = 0.05
_STATES_S = 5.0
_REPAIR_S = 3_600.0
"""Between two tries to make a refused channel's figures."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What another thread asks for."""

    region: str
    site: str
    done: Future[int]


@dataclass(slots=True)
class _Amendment:
    """Figures of a site that are brought in line with what is declared."""

    region: str
    site: str
    pieces: Iterator[int]
    """Does a piece each time; how many intervals that changed."""
    done: Future[int]
    changed: int = 0
    before: "_Amendment | None" = None
    """What the same job began first."""


@dataclass(frozen=True, slots=True)
class _Points:
    """Points that another thread wants to be written."""

    make: Callable[[], Points]
    done: Future[int]


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
        self._records = Recorder(records, events)
        self._book = book
        self._parameters = parameters
        self._amendments = amendments
        self._rollups = rollups
        self._live = live
        self._inbox = inbox
        self._events = events
        self._pace = pace
        self._time_ms = time_ms
        self._ended = threading.Event()
        self._jobs: SimpleQueue[_Job | _Points] = SimpleQueue()
        self._loaded: set[tuple[str, str]] = set()
        """(region, site) whose heads are loaded and whose figures follow what is declared, or will
        when what is under way is done."""
        self._under_way: deque[_Amendment] = deque()
        self._repairs: dict[tuple[str, str], float] = {}
        """(region, site) with channels to be repaired -> when that is tried next [monotonic s]."""
        self._tried: dict[tuple[str, str], float] = {}
        """(region, site) -> when repairing was tried last [monotonic s]."""
        self._doubtful: set[SeriesKey] = set()
        """Channels told to be refused."""

        dead_letters = DeadLetters(self._records, events, time_ms)
        rollups.refused_to(dead_letters.note)
        self._dead_letters = dead_letters
        self._writer = Writer(store, rollups, dead_letters, events)
        self._assembler = Assembler(store.directory)
        self._metas = Metas(records.metas(), self._records, parameters, self._tell)
        self._answers = Answers(store.directory, store.receipts(), publish, events, time_ms)
        self._groups = Groups(pace)
        self._faulty: set[str] = set()
        """Topics whose last payload broke the contract."""
        self._misdated: set[str] = set()
        """Topics whose last batch had readings with impossible times."""
        self._to_release: set[tuple[str, str]] = set()
        """(region, site) of batches that the door refused though a clock event may cover them."""
        self._unregistered: set[str] = set()
        """Meters told to be unregistered."""
        self._rounds = Rounds(self._round, pace.rollup_s)
        self._states: dict[Address, StoredState] = {}
        """Last states that are not in the records yet: the broker retains them too."""
        self._states_kept = time.monotonic()

    def run(self) -> None:
        """Work until stopped; what waits is then committed if the store takes it at once."""
        try:
            for place in self._rollups.unsure():
                self._load_site(*place)
            while not self._writer.stopping:
                for message in self._inbox.take(0.0 if self._under_way else _IDLE_S):
                    self._receive(message)
                    if self._groups.waited_s(now := time.monotonic()) >= _OVERDUE_S:
                        self._work(now)
                self._work(time.monotonic())
            self._commit_all()
        except Stopped:
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

        From any thread. Readings go on coming in between; a long one takes its turns with them.
        Cancelled when the pipeline ends first: the next start does it.
        """
        return self._ask(_Job(region, site, Future()))

    def _ask(self, job: "_Job | _Points") -> Future[int]:
        self._jobs.put(job)
        self._inbox.wake()
        if self._ended.is_set():
            self._cancel_jobs()
        return job.done

    def _cancel_jobs(self) -> None:
        while self._under_way:
            done = self._under_way.popleft().done
            if not done.done():
                done.set_exception(CancelledError("the pipeline has ended"))
        with contextlib.suppress(Empty):
            while True:
                self._jobs.get_nowait().done.cancel()

    @property
    def amending(self) -> bool:
        """Whether figures are being brought in line with what is declared, or will be."""
        return bool(self._under_way) or not self._jobs.empty()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._writer.stop()
        self._inbox.wake()

    def _work(self, now: float) -> None:
        """Do what is due, live before late before roll-ups."""
        self._metas.keep()  # before readings that were taken under them
        prompt = self._groups.prompt(now)
        if prompt:
            self._commit(prompt)
        late = self._groups.late(now)
        if late:
            self._commit(late)
        self._answers.send()  # what follows may take a while, and no ack depends on it
        while not self._jobs.empty():
            self._do(self._jobs.get())
        while self._to_release:
            place = self._to_release.pop()
            self._under_way.append(_Amendment(*place, self._released(*place), Future()))
        for place in [place for place, due in self._repairs.items() if due <= now]:
            del self._repairs[place]
            self._tried[place] = now
            self._under_way.append(self._amendment(*place, Future()))
        if self._under_way and self._go_on(self._under_way[0]):
            self._under_way.popleft()
        if now - self._states_kept >= _STATES_S:
            self._states_kept = now
            self._keep_states()
        self._rounds.work()
        self._writer.insist(self._rollups.catch_up)  # a piece at a time, after what is live
        self._keep_information()

    def _commit_all(self) -> None:
        for arrivals in self._groups.rest():
            self._commit(arrivals)
        self._answers.send()
        self._rounds.finish()
        self._keep_states()
        self._metas.keep()

    def _round(self) -> Iterator[int]:
        """Integrate the rates that came, then sum up what has changed, a piece at a time."""
        for part in self._book.integration.touched():
            redone = self._writer.insist(partial(self._book.remade, *part))
            if redone is not None:
                changed = redone.changed
                restate = partial(self._amendments.restate, changed, "late readings")
                self._write_figures(changed, restate)
        days = self._book.integration.done()
        self._writer.insist(lambda: self._rollups.needless(days))
        yield from self._writer.each(self._rollups.pieces)
        if self._arrivals is not None:
            self._writer.points(self._writer.insist(self._arrivals.points))
            self._arrivals.written()

    def _keep_states(self) -> None:
        """Write what edges last said of themselves: one transaction for all of them."""
        states = list(self._states.values())
        if states and self._records.attempt(lambda to: to.put_states(states)) is not None:
            self._states.clear()
        if self._fleet is not None:
            for points in self._fleet.points():
                self._writer.points(points)
            self._fleet.written()

    def _keep_information(self) -> None:
        """Write some sites' names and plans, where they changed."""
        if self._information is not None:
            self._dead_letters.note(self._writer.insist(self._information.keep))

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
                self._metas.take(address, message.payload)
            elif kind is MessageKind.STATE:
                self._receive_state(address, message.payload)
            elif kind is MessageKind.REPLY and self._orders is not None:
                self._orders.take_reply(address, message.payload)
        except DecodeError as error:
            self._events.count(Counter.UNDECODABLE)
            topic, reason = message.topic, str(error)
            self._records.quarantine(message.payload, topic, reason, self._time_ms())
            self._say_once(self._faulty, topic, PayloadQuarantined(topic, reason))
        else:
            self._faulty.discard(message.topic)

    def _tell(self, address: Address, meta: Meta, since_ms: int, name: str) -> None:
        """Let a meta be in force; the figures of loaded sites follow what it says of registers."""
        place = (address.region, address.site)
        if self._parameters.tell(address, meta, since_ms, name) and place in self._loaded:
            self._jobs.put(_Job(*place, Future()))
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
            self._answers.owe_time(address)

    def _receive_data(self, address: Address, message: Message) -> None:
        batch = decode_batch(message.payload)
        source = self._assembler.source(address, batch.outbox)
        if (source, batch.seq) in self._groups:
            self._events.count(Counter.DUPLICATES)
            return
        if self._answers.is_settled(source, batch.seq):
            self._events.count(Counter.DUPLICATES)
            self._answers.owe(address, source)
            return
        if (address, batch.meta) not in self._metas:
            self._events.count(Counter.META_UNKNOWN)
            self._answers.ask(address, batch.meta)
            return
        arrival = self._assembler.assemble(address, batch, self._time_ms())
        if arrival.refused_at_door:
            # What is not kept is not acknowledged either: its edge sends it again.
            if not self._records.keep_misdated(message.payload, message.topic, self._time_ms()):
                return
            self._events.count(Counter.DOOR, arrival.refused_at_door)
            if any(event.edge == address.edge for event in self._clocks(address)):
                self._to_release.add((address.region, address.site))
            event = TimesQuarantined(message.topic, arrival.refused_at_door)
            self._say_once(self._misdated, message.topic, event)
        else:
            self._misdated.discard(message.topic)
        columns = (arrival.cumulative.time_ms, arrival.instantaneous.time_ms)
        newest_ms = max((int(times.max()) for times in columns if len(times)), default=0)
        self._metas.use(address, batch.meta, newest_ms)
        self._load_site(address.region, address.site)
        late = self._book.is_late(arrival.cumulative)
        self._groups.add(address, arrival, time.monotonic(), late=late)

    def _clocks(self, address: Address) -> Sequence[MeterEvent]:
        return self._parameters.clocks(address.region, address.site)

    def _say_once(self, said: set[str], key: str, event: Event) -> None:
        """Emit an event unless it is said already."""
        if key not in said:
            said.add(key)
            self._events.emit(event)

    # ------------------------------------------------------------------ committing

    def _commit(self, arrivals: Sequence[Arrival]) -> None:
        """Make batches durable with the intervals they touch, then owe their edges an ack."""
        restate = partial(self._amendments.restate, arrivals=arrivals)
        self._take_in(arrivals, self._answers.settle(arrivals), restate)
        self._events.count(Counter.COMMITS)
        self._events.count(Counter.BATCHES, len(arrivals))
        if self._arrivals is not None:
            self._arrivals.take(arrivals, self._time_ms())
        for arrival in arrivals:
            self._groups.forget(arrival)
            self._answers.owe(arrival.address, arrival.source)

    def _take_in(
        self,
        parts: Sequence[Arrival | Release],
        receipts: Mapping[Source, Ranges],
        restate: Callable[[IntervalColumns, str], None],
        *,
        late: bool = False,
    ) -> int:
        """Make readings durable with the intervals they touch; return how many of these.

        late: all of them are taken as late, whatever was read before.
        """
        cumulative = ReadingColumns.concatenate([part.cumulative for part in parts])
        instantaneous = ReadingColumns.concatenate([part.instantaneous for part in parts])
        counted = self._book.counted(cumulative)
        unregistered = self._book.unregistered(cumulative)
        # Between its arrival and its turn a batch may have become late, or some channels of it:
        # others came first. What comes with them need not be recomputed.
        overtaken = np.full(len(counted), True) if late else self._book.late(counted)
        theirs = np.isin(counted.series, counted.series[overtaken])
        late_ones, newer_ones = counted.take(theirs), counted.take(~theirs)
        recomputed = self._writer.insist(lambda: self._book.recompute(late_ones))
        spare = int(np.count_nonzero(late_ones.quality == SPARE))
        self._events.count(Counter.LATE, int(overtaken.sum()) - spare)
        self._events.count(Counter.OTHER_EDGE, spare)
        advanced = self._book.advance(newer_ones)
        intervals = IntervalColumns.concatenate([recomputed, advanced])

        def keep_records() -> None:
            restate(recomputed, "late readings")
            # A register that was silent over a settled day's end tells now what it counted.
            restate(advanced, "newer readings")

        verdicts = self._writer.insist(lambda: self._book.verdicts(cumulative))
        dirty, reverse = self._book.integration.touch(instantaneous)
        commit = Commit(cumulative, instantaneous, intervals, receipts, dirty, verdicts)
        self._note_doubtful()
        self._writer.insist(self._amendments.note_new)  # before: a crash between is harmless
        self._writer.commit(commit, keep_records)
        readings = len(cumulative) + len(instantaneous)
        self._live.take(instantaneous, readings, self._time_ms())
        self._events.count(Counter.READINGS, readings)
        self._events.count(Counter.REVERSE_RATES, reverse)
        self._tell_unregistered(unregistered)
        return len(intervals)

    def _note_doubtful(self) -> None:
        """Put channels that the kernel refused on the list to be repaired; name each once."""
        for key, reason in self._writer.insist(self._amendments.doubtful):
            self._events.count(Counter.UNMADE)
            place = (key.region, key.site)
            again = self._tried.get(place, -_REPAIR_S) + _REPAIR_S
            self._repairs.setdefault(place, again)
            if key not in self._doubtful:
                self._doubtful.add(key)
                self._events.emit(ChannelRefused(*key, reason))

    def _tell_unregistered(self, series: Int32) -> None:
        """Count readings of unregistered meters; name each meter once."""
        self._events.count(Counter.UNREGISTERED, len(series))
        for index in np.unique(series).tolist():
            region, site, meter, _ = self._store.directory.series.key(index)
            event = MeterUnregistered(region, site, meter)
            self._say_once(self._unregistered, f"{region}/{site}/{meter}", event)

    def _load_site(self, region: str, site: str) -> "_Amendment | None":
        """Load a site's heads once, write what the store lacks, and begin to amend what differs.

        Returns that amendment; None: the site is loaded already.
        """
        if (region, site) in self._loaded:
            return None
        lacking = self._writer.insist(lambda: self._book.load_site(region, site))
        self._write_figures(lacking, lambda: self._amendments.restate_loaded(region, site, lacking))
        found = self._writer.insist(
            lambda: self._book.integration.lacking(region, site, self._time_ms())
        )
        self._write_figures(found, lambda: self._amendments.restate_loaded(region, site, found))
        self._rollups.made_sure(region, site)
        self._note_doubtful()
        amendment = self._amendment(region, site, Future())
        if not self._go_on(amendment):
            self._under_way.append(amendment)
        self._writer.insist(self._amendments.note_new)  # what the next event is compared with
        self._loaded.add((region, site))
        return amendment

    def _do(self, job: "_Job | _Points") -> None:
        """Do what another thread asks for, or begin it."""
        if not job.done.set_running_or_notify_cancel():
            return
        if isinstance(job, _Job):
            before = self._load_site(job.region, job.site)  # notes what figures follow until now
            amendment = self._amendment(job.region, job.site, job.done)
            amendment.before = before
            self._under_way.append(amendment)
            return
        try:
            job.done.set_result(self._writer.points(self._writer.insist(job.make)))
        except (Stopped, StoreError) as error:
            job.done.set_exception(error)
            raise
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            job.done.set_exception(error)

    def _amendment(self, region: str, site: str, done: Future[int]) -> "_Amendment":
        return _Amendment(region, site, self._amended(region, site), done)

    def _go_on(self, amendment: "_Amendment") -> bool:
        """Do one piece of an amendment; tell whether that was the last."""
        try:
            changed = next(amendment.pieces, None)
        except (Stopped, StoreError) as error:
            amendment.done.set_exception(error)
            raise
        except Exception as error:  # noqa: BLE001 - of one site: the others go on
            amendment.done.set_exception(error)
            reason = f"{type(error).__name__}: {error}"
            self._events.count(Counter.FAILED)
            self._events.emit(AmendmentFailed(amendment.region, amendment.site, reason))
            return True
        if changed is None:
            before = amendment.before.changed if amendment.before else 0
            amendment.done.set_result(before + amendment.changed)
            return True
        amendment.changed += changed
        return False

    def _amended(self, region: str, site: str) -> Iterator[int]:
        """Bring a site's figures in line with what is declared, a piece each time.

        Yields how many intervals a piece has changed. Between two pieces other readings, of these
        channels too, may be committed. When the store was away, it begins again: what is right by
        then is not written.
        """
        for figures in self._writer.each(partial(self._amendments.amend, region, site)):
            self._write_figures(figures)
            self._note_doubtful()
            yield len(figures)
        yield from self._released(region, site)

    def _released(self, region: str, site: str) -> Iterator[int]:
        """Let in what the door refused and clock events put right, some at a time.

        Yields how many intervals that changed. A payload leaves the quarantine when all of it is in
        the store; a crash before that only means looking at it again.
        """
        clocks = self._parameters.clocks(region, site)
        group: list[Release] = []
        for one in self._misdated_of(region, site) if clocks else ():
            found = self._writer.insist(partial(self._release_of, one, clocks))
            if found is not None:
                group.append(found)
            if sum(map(len, group)) >= self._pace.commit_readings:
                yield self._let_in(group)
                group = []
        if group:
            yield self._let_in(group)

    def _misdated_of(self, region: str, site: str) -> Iterator[Quarantined]:
        last: Quarantined | None = None
        while some := self._records.attempt(partial(_misdated_after, region, site, last)):
            yield from some
            last = some[-1]

    def _release_of(self, kept: Quarantined, clocks: Sequence[MeterEvent]) -> Release | None:
        return release_of(kept, clocks, self._assembler, self._store, self._time_ms())

    def _let_in(self, group: Sequence[Release]) -> int:
        for one in group:
            self._metas.use(one.address, one.meta, one.newest_ms)
        edges = {one.address.edge for one in group}

        def restate(intervals: IntervalColumns, _cause: str) -> None:
            self._amendments.restate_released(intervals, edges)

        changed = self._take_in(group, {}, restate, late=True)
        self._events.count(Counter.RELEASED, sum(map(len, group)))
        whole = [one.hash for one in group if one.whole]
        self._records.attempt(lambda of: of.release(whole))
        return changed

    def _write_figures(
        self, figures: IntervalColumns, restate: Callable[[], None] | None = None
    ) -> None:
        """Write intervals that come from readings in the store, and the verdicts there."""
        nothing = ReadingColumns.empty(cumulative=True)
        verdicts = self._writer.insist(lambda: self._book.verdicts(nothing))
        if len(figures) or verdicts:
            self._writer.commit(Commit.without_readings(figures, verdicts=verdicts), restate)


def _misdated_after(
    region: str, site: str, last: Quarantined | None, records: Records
) -> Sequence[Quarantined]:
    return records.misdated_after(region, site, last)
