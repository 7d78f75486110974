"""The road of every batch, in one thread: inbox, columns, door, book, store, acknowledgement.

Batches are committed in groups: the live ones 200 ms after the first came, those with readings
older than the book's heads some seconds later, when no more come of their sites. An ack leaves only
after the store has committed the raw readings and the intervals they touch. While the store is away
the same commit is repeated, the inbox fills, and edges keep what was not acked.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from aggregator.amendments import Amendments
from aggregator.arrivals import Arrivals
from aggregator.batch import SPARE, Int32, IntervalColumns, ReadingColumns
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.dead_letters import DeadLetters
from aggregator.directory import Source
from aggregator.events import (
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
from aggregator.ingest.repeats import Repeats
from aggregator.ingest.subscriber import Inbox, Message, Publish
from aggregator.jobs import AmendSite, Job, Jobs, WritePoints
from aggregator.live import Live
from aggregator.metas import Metas
from aggregator.orders import Orders
from aggregator.parameters import Parameters
from aggregator.points import Points
from aggregator.recorder import Recorder
from aggregator.records import IMPOSSIBLE_TIME, Records, StoredState
from aggregator.release import Release
from aggregator.releases import Releases
from aggregator.rollups import Rollups
from aggregator.rounds import Rounds
from aggregator.sites import Sites
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
        self._time_ms = time_ms
        self._jobs = Jobs(inbox.wake)
        dead_letters = DeadLetters(self._records, events, time_ms)
        rollups.refused_to(dead_letters.note)
        self._dead_letters = dead_letters
        self._writer = Writer(store, rollups, dead_letters, events)
        self._assembler = Assembler(store.directory)
        self._answers = Answers(store.directory, store.receipts(), publish, events, time_ms)
        self._groups = Groups(pace)
        self._repeats = Repeats(
            store, self._assembler, self._answers, self._records, events, time_ms
        )
        self._faulty: set[str] = set()
        """Topics whose last payload broke the contract."""
        self._misdated: set[str] = set()
        """Topics whose last batch had readings with impossible times."""
        self._unregistered: set[str] = set()
        """Meters told to be unregistered."""
        self._rounds = Rounds(self._round, pace.rollup_s)
        self._releases = Releases(
            writer=self._writer,
            store=store,
            assembler=self._assembler,
            records=self._records,
            parameters=parameters,
            amendments=amendments,
            events=events,
            time_ms=time_ms,
            together=pace.commit_readings,
            take_in=lambda group, restate: self._take_in(group, {}, restate, late=True),
            use_meta=self._use_meta,
        )
        self._sites = Sites(
            writer=self._writer,
            book=book,
            amendments=amendments,
            rollups=rollups,
            releases=self._releases,
            events=events,
            time_ms=time_ms,
        )
        self._metas = Metas(records.metas(), self._records, parameters, self._tell)
        self._states: dict[Address, StoredState] = {}
        """Last states that are not in the records yet: the broker retains them too."""
        self._states_kept = time.monotonic()

    def run(self) -> None:
        """Work until stopped; what waits is then committed if the store takes it at once."""
        try:
            for place in self._rollups.unsure():
                self._sites.load(*place)
            while not self._writer.stopping:
                messages = self._inbox.take(0.0 if self._sites.busy else _IDLE_S)
                for message in messages:
                    self._receive(message)
                    if self._groups.waited_s(now := time.monotonic()) >= _OVERDUE_S:
                        self._work(now)
                self._work(time.monotonic(), idle=not messages)
            self._commit_all()
        except Stopped:
            return  # the store was away: what waits was not acked and comes again
        finally:
            self._sites.cancel()
            self._jobs.end()

    def put(self, make: Callable[[], Points]) -> Future[int]:
        """Make and write points of a dashboard's measurement; how many. As `amend`.

        Nothing is written between: what `make` reads of the store is so when its points are there.
        """
        return self._jobs.ask(WritePoints(make))

    def amend(self, region: str, site: str) -> Future[int]:
        """Bring a site's figures in line with its events; how many intervals that changed.

        From any thread. Readings go on coming in between; a long one takes its turns with them.
        Cancelled when the pipeline ends first: the next start does it.
        """
        return self._jobs.ask(AmendSite(region, site))

    @property
    def amending(self) -> bool:
        """Whether figures are being brought in line with what is declared, or will be."""
        return self._sites.busy or bool(self._jobs)

    def stop(self) -> None:
        """Ask `run` to end."""
        self._writer.stop()
        self._inbox.wake()

    def _work(self, now: float, *, idle: bool = False) -> None:
        """Do what is due, live before late before roll-ups; `idle`: nothing came."""
        self._metas.keep()  # before readings that were taken under them
        prompt = self._groups.prompt(now)
        if prompt:
            self._commit(prompt)
        late = self._groups.late(now)
        if late:
            self._commit(late)
        self._writer.insist(self._repeats.examine)
        self._answers.send()  # what follows may take a while, and no ack depends on it
        for job in self._jobs.take():
            self._do(job)
        self._sites.work(now)
        if now - self._states_kept >= _STATES_S:
            self._states_kept = now
            self._keep_states()
        self._rounds.work(idle=idle and self._groups.empty)
        self._writer.insist(self._rollups.catch_up)  # a piece at a time, after what is live
        self._keep_information()

    def _commit_all(self) -> None:
        for arrivals in self._groups.rest():
            self._commit(arrivals)
        self._answers.send()
        self._keep_states()
        self._metas.keep()
        self._rounds.finish()  # may take longer than whoever stops us waits; marks stand then

    def _round(self) -> Iterator[int]:
        """Integrate the rates that came, then sum up what has changed, a piece at a time."""
        began_ms = self._time_ms()
        for part in self._book.integration.touched():
            redone = self._writer.insist(partial(self._book.remade, *part))
            if redone is not None:
                changed = redone.changed
                restate = partial(self._amendments.restate, changed, "late readings")
                self._sites.write(changed, restate)
        days = self._book.integration.done()
        self._writer.insist(lambda: self._rollups.needless(days))
        if self._arrivals is not None:
            self._writer.points(self._writer.insist(self._arrivals.points))
            self._arrivals.written()
        yield from self._writer.each(self._rollups.pieces)
        self._live.roll_up(began_ms)

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

    def _use_meta(self, address: Address, name: str, newest_ms: int) -> None:
        """Let a meta be in force that readings up to a time were taken under."""
        self._metas.use(address, name, newest_ms)

    def _tell(self, address: Address, meta: Meta, since_ms: int, name: str) -> None:
        """Let a meta be in force; the figures of loaded sites follow what it says of registers."""
        place = (address.region, address.site)
        if self._parameters.tell(address, meta, since_ms, name) and place in self._sites:
            self._jobs.ask(AmendSite(*place))
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
        waits = (source, batch.seq) in self._groups
        if waits or self._answers.is_settled(source, batch.seq):
            self._repeats.receive(address, message, batch, settled=not waits)
            return
        if (address, batch.meta) not in self._metas:
            self._events.count(Counter.META_UNKNOWN)
            self._answers.ask(address, batch.meta)
            return
        arrival = self._assembler.assemble(address, batch, self._time_ms())
        if arrival.refused_at_door:
            # What is not kept is not acknowledged either: its edge sends it again.
            now_ms = self._time_ms()
            if not self._records.keep(message.payload, message.topic, IMPOSSIBLE_TIME, now_ms):
                return
            self._events.count(Counter.DOOR, arrival.refused_at_door)
            self._releases.note(address)
            event = TimesQuarantined(message.topic, arrival.refused_at_door)
            self._say_once(self._misdated, message.topic, event)
        else:
            self._misdated.discard(message.topic)
        columns = (arrival.cumulative.time_ms, arrival.instantaneous.time_ms)
        newest_ms = max((int(times.max()) for times in columns if len(times)), default=0)
        self._use_meta(address, batch.meta, newest_ms)
        self._sites.load(address.region, address.site)
        late = self._book.is_late(arrival.cumulative)
        self._groups.add(address, arrival, time.monotonic(), late=late)
        self._repeats.note(source, batch)

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
        restate: Callable[[IntervalColumns, str], IntervalColumns],
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

        def keep_records() -> IntervalColumns:
            then = restate(recomputed, "late readings")
            # A register that was silent over a settled day's end tells now what it counted.
            newer = restate(advanced, "newer readings")
            return IntervalColumns.concatenate([then, newer])

        verdicts = self._writer.insist(lambda: self._book.verdicts(cumulative))
        dirty, reverse = self._book.integration.touch(instantaneous)
        commit = Commit(cumulative, instantaneous, intervals, receipts, dirty, verdicts)
        self._sites.note_doubtful()
        self._writer.insist(self._amendments.note_new)  # before: a crash between is harmless
        self._writer.commit(commit, keep_records)
        readings = len(cumulative) + len(instantaneous)
        self._live.take(instantaneous, readings, self._time_ms())
        self._events.count(Counter.READINGS, readings)
        self._events.count(Counter.REVERSE_RATES, reverse)
        self._tell_unregistered(unregistered)
        return len(intervals)

    def _tell_unregistered(self, series: Int32) -> None:
        """Count readings of unregistered meters; name each meter once."""
        self._events.count(Counter.UNREGISTERED, len(series))
        for index in np.unique(series).tolist():
            region, site, meter, _ = self._store.directory.series.key(index)
            event = MeterUnregistered(region, site, meter)
            self._say_once(self._unregistered, f"{region}/{site}/{meter}", event)

    def _do(self, job: Job) -> None:
        """Do what another thread asks for, or begin it."""
        if not job.done.set_running_or_notify_cancel():
            return
        if isinstance(job, AmendSite):
            self._sites.amend(job.region, job.site, job.done)
            return
        try:
            job.done.set_result(self._writer.points(self._writer.insist(job.make)))
        except (Stopped, StoreError) as error:
            job.done.set_exception(error)
            raise
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            job.done.set_exception(error)
