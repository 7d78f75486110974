"""What the API needs of the aggregator, and how it gets it from a store.

`LedgerReader` may be called from any thread. Amounts stay int64 micro-units here; they become
floats with a unit in their name only where a response is made.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aggregator.admission import MORE, admitted, lacking, needed
from aggregator.batch import Int64, IntervalColumns, ReadingColumns
from aggregator.clock_proposals import Misdated
from aggregator.directory import SeriesKey
from aggregator.integral_proof import Rates
from aggregator.kernels.integral import MAX_RATE_MICRO_PER_H
from aggregator.kernels.neighbourhood import NEIGHBOURS
from aggregator.ledger.factors import FactorSet
from aggregator.ledger.registers import Registers, edit
from aggregator.points import Points
from aggregator.proof import ChannelFacts
from aggregator.records import Quarantined, RecordsUnavailable
from aggregator.register.model import Register, Site
from aggregator.register.rates import rates
from aggregator.release import misdated
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Health, Store, StoreReader, StoreRetriable
from aggregator.verdict import Verdict
from contract.channels import catalogue
from contract.reading import COUNTING_CODES, MAX_TIME_MS, MIN_TIME_MS
from contract.state import EdgeState
from contract.stored import NODE_FIGURES, THE_REGION, TOTAL, Level
from contract.topics import Address
from contract.units import MICRO


@dataclass(frozen=True, slots=True)
class Series:
    """A channel that has data: its key and its index in the store's columns."""

    index: int
    key: SeriesKey


class Instant(Protocol):
    """The newest value of an instantaneous channel."""

    @property
    def value(self) -> float:
        """As read [catalogue unit], before CT x VT."""
        ...

    @property
    def time_ms(self) -> int:
        """UTC."""
        ...


class LiveValues(Protocol):
    """What is true right now; kept in memory by the pipeline."""

    def last(self, series: int) -> Instant | None:
        """Return the newest value of an instantaneous series, None when none came."""
        ...

    def states(self) -> Mapping[Address, EdgeState]:
        """Return the last state of every edge."""
        ...

    def readings_per_s(self, now_ms: int) -> float | None:
        """Return the readings committed per second, lately; None to who may not know it."""
        ...

    @property
    def rolled_up_ms(self) -> int | None:
        """Hours, days and months hold what was committed before [ms]; None: not known yet."""
        ...


class Quarantine(Protocol):
    """What the API asks of `Records`; RecordsUnavailable."""

    def misdated_sites(self) -> Collection[tuple[str, str]]:
        """Return the (region, site) pairs of which payloads are kept for impossible times."""
        ...

    def misdated(self, region: str, site: str) -> Iterable[Quarantined]:
        """Return a site's payloads that are kept for impossible times, the oldest first."""
        ...


class LedgerReader(Protocol):
    """Register, figures and readings, as the API asks for them."""

    @property
    def register(self) -> Register:
        """Sites and meters."""
        ...

    @property
    def factor_set(self) -> FactorSet:
        """The set that stored measures are made with; but see `not_applied`."""
        ...

    @property
    def tariffs(self) -> SiteTariffs:
        """The tariffs that stored costs were made with."""
        ...

    @property
    def not_applied(self) -> Collection[str]:
        """Sites of which some stored measures were made with other rows or measured values.

        They wait for `nenghao factors apply`.
        """
        ...

    @property
    def live(self) -> LiveValues:
        """Last values and edges' states."""
        ...

    @property
    def grid_ms(self) -> int:
        """Length of the base interval [ms]."""
        ...

    def now_ms(self) -> int:
        """Return the aggregator's time [ms UTC]."""
        ...

    def series(self, site: str) -> Sequence[Series]:
        """Return every channel of a site that has data, registered or not."""
        ...

    def unregistered(self) -> Sequence[SeriesKey]:
        """Return channels with data whose site or meter the register does not know."""
        ...

    def figures(
        self, level: Level, series: Sequence[int], from_ms: int, to_ms: int
    ) -> IntervalColumns:
        """Return figures that start in [from_ms, to_ms), by (series, start); StoreError."""
        ...

    def totals(self, level: Level, start_ms: int) -> Points:
        """Return what each site consumed in the period that starts then: node figures `_total`."""
        ...

    def history(
        self, series: int, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[ReadingColumns, IntervalColumns]:
        """Return the readings of a cumulative channel that count, and its base intervals.

        Intervals start in [from_ms, to_ms); of the readings all in it are there, and at least so
        many before and after as verdicts at its borders ask for. Both belong to the same commits.
        """
        ...

    def near(self, series: int, from_ms: int, to_ms: int) -> tuple[ReadingColumns, Sequence[str]]:
        """Return readings of a cumulative channel that count, and the edge that read each.

        All in [from_ms, to_ms] and as many beyond as verdicts there can depend on.
        """
        ...

    def verdicts(self, series: Sequence[int], from_ms: int, to_ms: int) -> Sequence[Verdict]:
        """Return the verdicts that stand about readings in [from_ms, to_ms)."""
        ...

    def senders(self, region: str, site: str) -> Collection[str]:
        """Return the edges that have sent readings of a site, refused ones too."""
        ...

    def misdated_sites(self) -> Collection[tuple[str, str]]:
        """Return the (region, site) pairs of which the door keeps readings out."""
        ...

    def misdated(self, region: str, site: str) -> Sequence[Misdated]:
        """Return a site's batches of which the door still keeps readings out."""
        ...

    def rates(self, series: int, from_ms: int, to_ms: int) -> Rates:
        """Return the rates in [from_ms, to_ms] of which an integrated channel is made."""
        ...

    def last_times(self, series: Sequence[int]) -> Int64:
        """Return per channel the time of its last cumulative reading, or NO_TIME."""
        ...

    def facts(self, series: int) -> ChannelFacts:
        """Return multiplier, modulus and limit of a channel."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Return the aggregator's counters by name."""
        ...

    def health(self) -> Health:
        """Tell whether the store answers."""
        ...


_HISTORY_TRIES = 5
_HISTORY_NEIGHBOURS = 24
"""At most six readings in a row are left out, and a verdict looks at two on either side."""


class StoreLedgerReader:
    """LedgerReader on a Store. Each call reads through a store reader of its own."""

    def __init__(
        self,
        store: Store,
        register: Register,
        factor_set: FactorSet,
        tariffs: SiteTariffs,
        live: LiveValues,
        *,
        facts: Callable[[int], ChannelFacts],
        counters: Callable[[], Mapping[str, int]],
        now_ms: Callable[[], int],
        quarantine: Quarantine | None = None,
        not_applied: Collection[str] = (),
    ) -> None:
        self._quarantine = quarantine
        self.not_applied = not_applied
        self.register = register
        self.factor_set = factor_set
        self.tariffs = tariffs
        self.live = live
        self.facts = facts
        self.counters = counters
        self.now_ms = now_ms
        self._store = store

    @property
    def grid_ms(self) -> int:
        return self._store.grid_ms

    def series(self, site: str) -> Sequence[Series]:
        directory = self._store.directory
        return [
            Series(index, directory.series.key(index))
            for place in directory.places_of(site)
            for index in directory.series_of_site(*place).tolist()
        ]

    def unregistered(self) -> Sequence[SeriesKey]:
        keys = self._store.directory.series.keys()
        return [key for key in keys if not self._registered(key)]

    def figures(
        self, level: Level, series: Sequence[int], from_ms: int, to_ms: int
    ) -> IntervalColumns:
        with self._reader() as reader:
            return reader.intervals(level, np.array(sorted(series), np.int32), from_ms, to_ms)

    def totals(self, level: Level, start_ms: int) -> Points:
        with self._reader() as reader:
            found = reader.points(NODE_FIGURES[level], start_ms, start_ms + 1, {"node": [TOTAL]})
        return of_sites(found, lambda _, site: site != THE_REGION)

    def history(
        self, series: int, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[ReadingColumns, IntervalColumns]:
        chosen = np.array([series], np.int32)
        facts = self.facts(series)
        low = MIN_TIME_MS if from_ms is None else from_ms
        high = MAX_TIME_MS if to_ms is None else to_ms
        with self._reader() as reader:
            tries = 0
            intervals = reader.intervals(Level.INTERVAL, chosen, low, high)
            while True:
                tries += 1
                # What people declared far away may move, cut or open what is read here.
                if facts.registers is None:
                    readings = self._around(reader, series, low, high, _HISTORY_NEIGHBOURS)
                else:
                    every = reader.versions(chosen, MIN_TIME_MS, MAX_TIME_MS)
                    readings = self._counting(series, every)
                before = intervals
                intervals = reader.intervals(Level.INTERVAL, chosen, low, high)
                if _same(before, intervals) or tries == _HISTORY_TRIES:
                    break  # no commit in between: the readings belong to these intervals
        return readings, intervals

    def near(self, series: int, from_ms: int, to_ms: int) -> tuple[ReadingColumns, Sequence[str]]:
        directory, registers = self._store.directory, self._registers(series)
        chosen = np.array([series], np.int32)
        low, high, asked = from_ms, to_ms, NEIGHBOURS
        with self._reader() as reader:
            while True:  # where readings are moved or rejected, more must be read
                found = reader.readings(
                    chosen, low, high, before=asked, after=asked, counting=COUNTING_CODES
                )
                near = [low, high, *found.time_ms[:1].tolist(), *found.time_ms[-1:].tolist()]
                since, until = low, high
                for first, last in registers.moved():
                    if first <= max(near) and last >= min(near):
                        since, until = min(since, first), max(until, last)
                if (since, until) != (low, high):
                    low, high = since, until
                    continue
                if (registers.shifts or registers.edges) and len(found):
                    # Of two of one time one may move away, or be the primary gateway's.
                    first, last = int(found.time_ms.min()), int(found.time_ms.max())
                    found = reader.versions(chosen, first, last)
                entering = admitted(found, registers, directory)
                readings = needed(entering, directory)
                if not len(lacking(found, entering, readings, directory, (low, high), asked)):
                    break
                asked *= MORE
        edges = [directory.sources.key(one).edge for one in readings.source.tolist()]
        return readings, edges

    def _around(
        self, reader: StoreReader, series: int, low: int, high: int, asked: int
    ) -> ReadingColumns:
        """Read what counts in [low, high] and at least so much on either side as verdicts need."""
        found = reader.readings(
            np.array([series], np.int32), low, high,
            before=asked, after=asked, counting=COUNTING_CODES,
        )  # fmt: skip
        directory = self._store.directory
        entering = admitted(found, self._registers(series), directory)
        readings = needed(entering, directory)
        if len(lacking(found, entering, readings, directory, (low, high), asked)):
            return self._around(reader, series, low, high, MORE * asked)
        return readings

    def _counting(self, series: int, found: ReadingColumns) -> ReadingColumns:
        directory = self._store.directory
        return needed(admitted(found, self._registers(series), directory), directory)

    def _registers(self, series: int) -> Registers:
        facts = self.facts(series)
        return facts.registers or Registers(
            ((0, facts.multiplier),), commissioned_ms=facts.commissioned_ms
        )

    def verdicts(self, series: Sequence[int], from_ms: int, to_ms: int) -> Sequence[Verdict]:
        with self._reader() as reader:
            return reader.verdicts(np.array(sorted(series), np.int32), from_ms, to_ms)

    def senders(self, region: str, site: str) -> Collection[str]:
        sources = self._store.directory.sources.keys()
        sent = {one.edge for one in sources if (one.region, one.site) == (region, site)}
        return sent | {one.address.edge for one in self.misdated(region, site)}

    def misdated_sites(self) -> Collection[tuple[str, str]]:
        try:
            return self._quarantine.misdated_sites() if self._quarantine else ()
        except RecordsUnavailable as error:
            raise StoreRetriable(str(error)) from error

    def misdated(self, region: str, site: str) -> Sequence[Misdated]:
        try:
            kept = self._quarantine.misdated(region, site) if self._quarantine else ()
            return [found for one in kept if (found := misdated(one)) is not None]
        except RecordsUnavailable as error:
            raise StoreRetriable(str(error)) from error

    def rates(self, series: int, from_ms: int, to_ms: int) -> Rates:
        directory = self._store.directory.series
        key, facts, registers = directory.key(series), self.facts(series), self._registers(series)
        rate = rates()[key.channel]
        with self._reader() as reader:
            other = np.array([directory.find(key._replace(channel=rate.channel))], np.int32)
            read = reader.instant(other, from_ms, to_ms)
        since_ms = self.register.integrated_from(key.site, key.meter, key.channel) or 0
        largest = MAX_RATE_MICRO_PER_H // registers.largest_multiplier()
        found: dict[int, int] = {}
        for time_ms, value, quality in zip(
            read.time_ms.tolist(), read.value.tolist(), read.quality.tolist(), strict=True
        ):
            counts = quality in COUNTING_CODES and time_ms >= max(since_ms, facts.commissioned_ms)
            if counts and abs(value * MICRO) <= largest:
                found[time_ms] = round(value * MICRO) * rate.direction
        if registers.edited:
            times, values = (np.array([*part], np.int64) for part in (found, found.values()))
            edited = edit(registers, [""] * len(found), times, values)
            kept = zip(times.tolist(), edited.value.tolist(), edited.keep.tolist(), strict=True)
            found = {at: value for at, value, keep in kept if keep and abs(value) <= largest}
        return {at: max(value, 0) * registers.multiplier(at) for at, value in found.items()}

    def last_times(self, series: Sequence[int]) -> Int64:
        with self._reader() as reader:
            return reader.last_times(np.array(series, np.int32))

    def health(self) -> Health:
        return self._store.health()

    @contextmanager
    def _reader(self) -> Iterator[StoreReader]:
        reader = self._store.reader()
        try:
            yield reader
        finally:
            reader.close()

    def _registered(self, key: SeriesKey) -> bool:
        site = self.register.sites.get(key.site)
        known = site is not None and site.region == key.region
        return known and (key.site, key.meter) in self.register.rows


def states_by_site(live: LiveValues) -> Mapping[tuple[str, str], Mapping[str, EdgeState]]:
    """Return the last state of every edge by (region, site) and edge."""
    found: dict[tuple[str, str], dict[str, EdgeState]] = defaultdict(dict)
    for address, state in live.states().items():
        found[address.region, address.site][address.edge] = state
    return found


def of_sites(points: Points, wanted: Callable[[str, str], bool]) -> Points:
    """Return the points whose region and site are wanted."""
    ours = np.array([wanted(*tags[:2]) for tags in points.keys], np.bool_)
    return points.take(ours[points.key]) if len(points) else points


def cumulative(series: Sequence[Series], region: str) -> Sequence[Series]:
    """Return the series of a region's site that count up."""
    return [
        found
        for found in series
        if found.key.region == region and catalogue()[found.key.channel].cumulative
    ]


def by_channel(reader: LedgerReader, site: Site) -> dict[tuple[str, str], int]:
    """Return the index of each channel of a site that counts up, by (meter, channel)."""
    found = cumulative(reader.series(site.id), site.region)
    return {(one.key.meter, one.key.channel): one.index for one in found}


def _same(a: IntervalColumns, b: IntervalColumns) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("start_ms", "amount", "amount_held", "received")
    )
