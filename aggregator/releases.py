"""Lets batches out of the quarantine whose impossible times a clock event has put right."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from aggregator.amendments import Amendments
from aggregator.batch import IntervalColumns
from aggregator.events import Counter, Events
from aggregator.ingest.assemble import Assembler
from aggregator.ledger.meter_events import MeterEvent
from aggregator.parameters import Parameters
from aggregator.recorder import Recorder
from aggregator.records import Quarantined, Records
from aggregator.release import Release, release_of
from aggregator.store.base import Store
from aggregator.writer import Writer
from contract.topics import Address


class TakeIn(Protocol):
    """Makes readings durable with the intervals they touch; how many of these."""

    def __call__(
        self,
        parts: Sequence[Release],
        restate: Callable[[IntervalColumns, str], IntervalColumns],
        /,
    ) -> int: ...


class Releases:
    """Owned by the pipeline's thread."""

    def __init__(
        self,
        *,
        writer: Writer,
        store: Store,
        assembler: Assembler,
        records: Recorder,
        parameters: Parameters,
        amendments: Amendments,
        events: Events,
        time_ms: Callable[[], int],
        together: int,
        take_in: TakeIn,
        use_meta: Callable[[Address, str, int], None],
    ) -> None:
        """Let in about so many readings `together`; use_meta: its name, and until when it held."""
        self._writer = writer
        self._store = store
        self._records = records
        self._parameters = parameters
        self._amendments = amendments
        self._events = events
        self._time_ms = time_ms
        self._together = together
        self._take_in = take_in
        self._use_meta = use_meta
        self._assembler = assembler
        self._due: set[tuple[str, str]] = set()
        """(region, site) of batches that the door refused though a clock event may cover them."""

    def note(self, address: Address) -> None:
        """Take note of a batch that the door refused, in whole or in part."""
        clocks = self._parameters.clocks(address.region, address.site)
        if any(event.edge == address.edge for event in clocks):
            self._due.add((address.region, address.site))

    def due(self) -> Iterator[tuple[str, str]]:
        """Yield the sites to be looked through, each once."""
        while self._due:
            yield self._due.pop()

    def of(self, region: str, site: str) -> Iterator[int]:
        """Let in what clock events of a site put right, some at a time.

        Yields how many intervals that changed. A payload leaves the quarantine when all of it is in
        the store; a crash before that only means looking at it again.
        """
        clocks = self._parameters.clocks(region, site)
        group: list[Release] = []
        for one in self._misdated(region, site) if clocks else ():
            found = self._writer.insist(partial(self._release, one, clocks))
            if found is not None:
                group.append(found)
            if sum(map(len, group)) >= self._together:
                yield self._let_in(group)
                group = []
        if group:
            yield self._let_in(group)

    def _misdated(self, region: str, site: str) -> Iterator[Quarantined]:
        last: Quarantined | None = None
        while some := self._records.attempt(partial(_misdated_after, region, site, last)):
            yield from some
            last = some[-1]

    def _release(self, kept: Quarantined, clocks: Sequence[MeterEvent]) -> Release | None:
        return release_of(kept, clocks, self._assembler, self._store, self._time_ms())

    def _let_in(self, group: Sequence[Release]) -> int:
        for one in group:
            self._use_meta(one.address, one.meta, one.newest_ms)
        edges = {one.address.edge for one in group}

        def restate(intervals: IntervalColumns, _cause: str) -> IntervalColumns:
            return self._amendments.restate_released(intervals, edges)

        changed = self._take_in(group, restate)
        self._events.count(Counter.RELEASED, sum(map(len, group)))
        whole = [one.hash for one in group if one.whole]
        self._records.attempt(lambda of: of.release(whole))
        return changed


def _misdated_after(
    region: str, site: str, last: Quarantined | None, records: Records
) -> Sequence[Quarantined]:
    return records.misdated_after(region, site, last)
