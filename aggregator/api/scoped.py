"""What the visitor may see, and nothing else, of the reader, the writer and the closed months.

Each stands before the whole thing and asks `visitor` at every call, so a route that is built on
them cannot show a site that is not in scope: for it there is none of that name.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from aggregator.access import Access, visible
from aggregator.api.guard import visitor
from aggregator.api.reader import Instant, LedgerReader, LiveValues, Series, of_sites
from aggregator.api.writer import LedgerWriter, Said
from aggregator.batch import Int64, IntervalColumns, ReadingColumns
from aggregator.clock_proposals import Misdated
from aggregator.closings import Closing, Closings, Part
from aggregator.directory import SeriesKey
from aggregator.facts import ToldEvent
from aggregator.integral_proof import Rates
from aggregator.ledger.factors import FactorSet
from aggregator.ledger.meter_events import MeterEvent
from aggregator.points import Points
from aggregator.proof import ChannelFacts
from aggregator.register.model import Register
from aggregator.restatements import Place, Restatement
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Health
from aggregator.verdict import Verdict
from contract.state import EdgeState
from contract.stored import Level
from contract.topics import Address

_MOST_KEPT = 256
"""Registers cut down to a scope that are kept for the next request of that scope."""

Sees = Callable[[str, str], bool]
"""(region, site) -> is it in scope?"""


class ScopedLive:
    """LiveValues of sites in scope; a rate over all sites is for those who see all."""

    def __init__(self, inner: LiveValues, sees: Sees) -> None:
        self._inner = inner
        self._sees = sees

    def last(self, series: int) -> Instant | None:
        return self._inner.last(series)

    def states(self) -> Mapping[Address, EdgeState]:
        states = self._inner.states()
        return {at: state for at, state in states.items() if self._sees(at.region, at.site)}

    def readings_per_s(self, now_ms: int) -> float | None:
        return self._inner.readings_per_s(now_ms) if visitor.get().everything else None

    @property
    def rolled_up_ms(self) -> int | None:
        return self._inner.rolled_up_ms


class ScopedReader:
    """LedgerReader of sites in scope. Figures are asked for by series, which come by site."""

    def __init__(self, inner: LedgerReader) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._kept: dict[Access, tuple[Register, Register]] = {}

    @property
    def register(self) -> Register:
        access, whole = visitor.get(), self._inner.register
        if access.everything:
            return whole
        with self._lock:
            of, found = self._kept.get(access, (None, None))
            if found is None or of is not whole:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                found = visible(whole, access)
                self._kept[access] = whole, found
        return found

    @property
    def factor_set(self) -> FactorSet:
        return self._inner.factor_set

    @property
    def tariffs(self) -> SiteTariffs:
        return self._inner.tariffs

    @property
    def not_applied(self) -> Collection[str]:
        found = self._inner.not_applied
        return [site for site in found if site in self.register.sites] if found else found

    @property
    def live(self) -> LiveValues:
        return ScopedLive(self._inner.live, self.sees)

    @property
    def grid_ms(self) -> int:
        return self._inner.grid_ms

    def now_ms(self) -> int:
        return self._inner.now_ms()

    def sees(self, region: str, site: str) -> bool:
        """Tell whether a site is in scope; a name alone is claimed by any gateway of any region."""
        if visitor.get().sees_region(region):
            return True
        known = self.register.sites.get(site)
        return known is not None and known.region == region

    def series(self, site: str) -> Sequence[Series]:
        return [one for one in self._inner.series(site) if self.sees(one.key.region, site)]

    def unregistered(self) -> Sequence[SeriesKey]:
        return [key for key in self._inner.unregistered() if self.sees(key.region, key.site)]

    def figures(
        self, level: Level, series: Sequence[int], from_ms: int, to_ms: int
    ) -> IntervalColumns:
        return self._inner.figures(level, series, from_ms, to_ms)

    def totals(self, level: Level, start_ms: int) -> Points:
        return of_sites(self._inner.totals(level, start_ms), self.sees)

    def history(
        self, series: int, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[ReadingColumns, IntervalColumns]:
        return self._inner.history(series, from_ms, to_ms)

    def near(self, series: int, from_ms: int, to_ms: int) -> tuple[ReadingColumns, Sequence[str]]:
        return self._inner.near(series, from_ms, to_ms)

    def verdicts(self, series: Sequence[int], from_ms: int, to_ms: int) -> Sequence[Verdict]:
        return self._inner.verdicts(series, from_ms, to_ms)

    def senders(self, region: str, site: str) -> Collection[str]:
        return self._inner.senders(region, site) if self.sees(region, site) else ()

    def misdated_sites(self) -> Collection[tuple[str, str]]:
        return [place for place in self._inner.misdated_sites() if self.sees(*place)]

    def misdated(self, region: str, site: str) -> Sequence[Misdated]:
        return self._inner.misdated(region, site) if self.sees(region, site) else ()

    def rates(self, series: int, from_ms: int, to_ms: int) -> Rates:
        return self._inner.rates(series, from_ms, to_ms)

    def last_times(self, series: Sequence[int]) -> Int64:
        return self._inner.last_times(series)

    def facts(self, series: int) -> ChannelFacts:
        return self._inner.facts(series)

    def counters(self) -> Mapping[str, int]:
        return self._inner.counters() if visitor.get().everything else {}

    def health(self) -> Health:
        """Tell whether the store answers; where it is, only to those who see all."""
        state = self._inner.health()
        return state if visitor.get().everything else Health(state.ok, "")


class ScopedWriter:
    """LedgerWriter of sites in scope."""

    def __init__(self, inner: LedgerWriter, sees: Sees) -> None:
        self._inner = inner
        self._sees = sees

    def events(self, region: str, site: str) -> Sequence[ToldEvent]:
        return self._inner.events(region, site) if self._sees(region, site) else ()

    def events_of(self, regions: Collection[str]) -> Sequence[ToldEvent]:
        told = self._inner.events_of(regions)
        return [one for one in told if self._sees(one.event.region, one.event.site)]

    def find(self, id_: int) -> ToldEvent | None:
        told = self._inner.find(id_)
        seen = told is not None and self._sees(told.event.region, told.event.site)
        return told if seen else None

    def restatements(
        self, places: Collection[Place], from_ms: int, to_ms: int, after: int, limit: int
    ) -> Mapping[int, Restatement]:
        seen = [place for place in places if self._sees(*place)]
        return self._inner.restatements(seen, from_ms, to_ms, after, limit)

    def tell(self, event: MeterEvent) -> Said:
        if not self._sees(event.region, event.site):
            raise PermissionError(f"{event.region} {event.site} is not in scope")
        return self._inner.tell(event)

    def undo(self, id_: int, author: str, why: str) -> Said | None:
        return None if self.find(id_) is None else self._inner.undo(id_, author, why)


class ClosedMonths(Protocol):
    """What the API asks of `Closings`."""

    def closings(self, region: str | None = None) -> Sequence[Closing]:
        """Return the closings of one region, or all, by region and month."""
        ...

    def find(self, region: str, month_ms: int) -> Closing | None:
        """Return the closing of a month; None while it is not closed."""
        ...

    def sites(self, closing: Closing) -> Sequence[str]:
        """Return the sites of which something was reported, ascending."""
        ...

    def reported(self, closing: Closing, site: str) -> Sequence[Part]:
        """Return what was reported of a site, by meter, channel and time."""
        ...

    def restated(self, closing: Closing, site: str) -> Sequence[Restatement]:
        """Return what was restated of a site's days of the month since, oldest first."""
        ...

    def authors(self, restated: Sequence[Restatement]) -> Mapping[str, str]:
        """Return by cause who told the event behind it, or undid it."""
        ...


class ScopedClosings:
    """ClosedMonths of regions of which the visitor sees something, with the sites it sees."""

    def __init__(self, inner: Closings, reader: ScopedReader) -> None:
        self.restated = inner.restated
        self.reported = inner.reported
        self.authors = inner.authors
        self._inner = inner
        self._reader = reader

    def closings(self, region: str | None = None) -> Sequence[Closing]:
        return [one for one in self._inner.closings(region) if self._sees_of(one.region)]

    def find(self, region: str, month_ms: int) -> Closing | None:
        return self._inner.find(region, month_ms) if self._sees_of(region) else None

    def sites(self, closing: Closing) -> Sequence[str]:
        found = self._inner.sites(closing)
        return [site for site in found if self._reader.sees(closing.region, site)]

    def _sees_of(self, region: str) -> bool:
        """Tell whether anything of a region is in scope."""
        sites = self._reader.register.sites.values()
        return visitor.get().sees_region(region) or any(site.region == region for site in sites)
