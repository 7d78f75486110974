"""Brings stored figures in line with what is declared of meters, and keeps what that changed.

What each channel's figures follow is kept beside them. Where it differs from what is declared now
(an event was told or undone, a row of the register came late or changed while nobody was running),
exactly the intervals that differ are written anew: first for the register's rows, then for one
event after the other, so that each record names what changed its figure and nothing else. Owned by
the pipeline's thread.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from aggregator.batch import Int32, IntervalColumns, found_in, overlaid, with_measures_kept
from aggregator.book import Book
from aggregator.changes import Change, changes_between
from aggregator.details import Batch, batches_text
from aggregator.directory import SeriesKey
from aggregator.facts import Facts, ToldEvent
from aggregator.ingest.assemble import Arrival
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.ledger.registers import (
    FOR_EVER_MS,
    SINCE_EVER_MS,
    Registers,
    differing,
    from_text,
    to_text,
)
from aggregator.parameters import Parameters
from aggregator.register_changes import responsible
from aggregator.restatements import Restatements, is_settled
from aggregator.store.base import Store
from contract.channels import catalogue
from contract.interval import DAY_MS, day_start
from contract.stored import Level

Cause = tuple[str, str]
"""What changed a figure, and why."""
Applied = Mapping[tuple[str, str], Registers]
"""By (meter, channel) what its stored figures follow."""
CauseOf = Callable[[SeriesKey, Applied], Cause]
Caused = Callable[[Change], tuple[str, str, str]]
"""The same of one change, with details."""
_EVER = (SINCE_EVER_MS, FOR_EVER_MS)


@dataclass(frozen=True, slots=True)
class _Differing:
    """A channel whose figures follow something else than what is declared."""

    was: Registers
    declared: Registers
    from_ms: int
    to_ms: int


class Amendments:
    """Not thread-safe. Whatever is interrupted is found again and repeated."""

    def __init__(
        self,
        store: Store,
        book: Book,
        parameters: Parameters,
        facts: Facts,
        restatements: Restatements,
        time_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._book = book
        self._parameters = parameters
        self._facts = facts
        self._restatements = restatements
        self._time_ms = time_ms
        self._noted = len(store.directory.series)
        """Series below this index are noted, or will be when their site is loaded."""
        self._new: dict[SeriesKey, Registers] = {}
        self._doubted: set[int] = set()
        """Series whose figures could not be made when that was tried last."""
        self._found: list[tuple[SeriesKey, str]] = []
        self._unnoted: list[tuple[str, str]] = []
        """Channels and sites to be noted."""

    def amend(self, region: str, site: str) -> Iterator[IntervalColumns]:
        """Yield a loaded site's figures that what is declared changes, ready to be written.

        Records of settled days are kept before the figures are yielded. Write each part before the
        next is taken, and take all of them; other readings may be committed between two parts.
        """
        told = self._facts.events(region, site)
        standing = {one.id for one in told if one.undone_ms is None}
        if not self._facts.applied(region, site):
            # Nothing to compare with: what was declared is noted with the commit.
            self._book.refresh()
            if not self._series(region, site):  # nor any figure that would have to follow
                self._parameters.declare(region, site, _events(told, standing))
            self._unnoted.append((region, site))
            return
        followed = {one.id for one in told if one.followed}
        cause_of = self._cause_of_register()
        yield from self._follow(region, site, told, followed, cause_of)
        for one in told:
            if (one.id in followed) == (one.id in standing):
                continue
            followed ^= {one.id}
            cause = (f"event {one.id}", one.event.reason)
            if one.id not in followed:
                cause = (f"event {one.id} undone", one.undone_why)
            yield from self._follow(region, site, told, followed, _always(cause))

    def _follow(
        self,
        region: str,
        site: str,
        told: Sequence[ToldEvent],
        followed: set[int],
        cause_of: CauseOf,
    ) -> Iterator[IntervalColumns]:
        """Bring figures in line with the register and some events; one cause for what differs."""
        events = _events(told, followed)
        if events != tuple(self._parameters.events(region, site)):  # nearly always there are none
            self._parameters.declare(region, site, events)
        self._book.refresh()
        applied = self._facts.applied(region, site)
        differ: dict[int, _Differing] = {}
        now: dict[tuple[str, str], Registers] = {}
        for index in self._series(region, site):
            key = self._store.directory.series.key(index)
            was, declared = applied.get((key.meter, key.channel)), self._parameters.registers(index)
            if was is None:
                self._new[key] = declared
            elif was != declared:
                now[key.meter, key.channel] = declared
                if span := differing(was, declared):
                    differ[index] = _Differing(was, declared, *span)
        if differ:
            # Readings that come meanwhile go on under what is declared now. Nothing else tells a
            # next process how far this one came, nor that what it followed may be undone by then.
            unsure = {
                index: replace(one.was, unsure=(one.from_ms, one.to_ms))
                for index, one in differ.items()
            }
            keys = {index: self._store.directory.series.key(index) for index in differ}
            marks = {(keys[i].meter, keys[i].channel): mark for i, mark in unsure.items()}
            self._facts.put_applied(region, site, marks)
            self._doubted -= differ.keys()
            self._book.renew(list(differ))
        for index, one in differ.items():
            caused = self._caused(one, applied, cause_of)
            for redone in self._book.redo(index, one.from_ms, one.to_ms):
                if redone is not None:
                    self._restate(redone.old, redone.new, caused)
                self._doubt()
                yield IntervalColumns.empty() if redone is None else redone.changed
        for index in self._doubted:  # once more, at another time
            key = self._store.directory.series.key(index)
            if (key.region, key.site) == (region, site):
                now.pop((key.meter, key.channel), None)
        if now:
            yield IntervalColumns.empty()  # with it go verdicts that change where no figure does
        if now or followed != {one.id for one in told if one.followed}:
            self._facts.put_applied(region, site, now, followed)

    def doubtful(self) -> Sequence[tuple[SeriesKey, str]]:
        """Return channels whose figures the kernel refused to make since the last call, and why.

        They are noted: the next amendment of their sites makes all of their figures anew.
        """
        self._doubt()
        found, self._found = self._found, []
        return found

    def _doubt(self) -> None:
        for index, why in self._book.refused().items():
            key = self._store.directory.series.key(index)
            if index not in self._doubted:
                mark = replace(self._parameters.registers(index), unsure=_EVER)
                named = {(key.meter, key.channel): mark}
                self._facts.put_applied(key.region, key.site, named)
                self._new.pop(key, None)
                self._doubted.add(index)
            self._found.append((key, why))

    def _caused(self, one: "_Differing", applied: Applied, cause_of: CauseOf) -> Caused:
        """Return what names the cause of a channel's changes."""
        was = replace(one.was, unsure=None)
        if differing(was, one.declared) is None:
            return lambda _: ("recovery", "figures that a stop had left out", "")
        if differing(replace(was, limits=None), one.declared) is None:
            return self._by_meta
        return lambda change: (*cause_of(change.key, applied), "")

    def _by_meta(self, change: Change) -> tuple[str, str, str]:
        """Name what else is declared: modulus, rating and step, by the edge's meta."""
        name = self._parameters.told_by(change.key)
        return f"meta {name}", "modulus, rating or step told otherwise", ""

    def note_new(self) -> None:
        """Note what the figures of channels follow that were not known before."""
        self._book.refresh()
        keys = self._store.directory.series.keys(self._noted)
        channels = catalogue()
        for index, key in enumerate(keys, self._noted):
            if channels[key.channel].cumulative and self._parameters.registered[index]:
                self._new[key] = self._parameters.registers(index)
        self._noted += len(keys)
        for place in self._unnoted:
            ids = {one.event: one.id for one in self._facts.events(*place)}  # of two the last word
            self._facts.follow(*place, {ids[event] for event in self._parameters.events(*place)})
            for index in self._series(*place):
                self._new[self._store.directory.series.key(index)] = self._parameters.registers(
                    index
                )
        self._unnoted.clear()
        if self._new:
            self._facts.add_applied(self._new)
            self._new.clear()
        # Until now nobody but the primary gateway read these: whatever they follow, also this.
        shared, series = self._parameters.newly_shared, self._store.directory.series
        if shared:
            self._facts.share({series.key(i): self._parameters.registers(i) for i in shared})
            shared.clear()

    def restate(
        self, intervals: IntervalColumns, cause: str, arrivals: Sequence[Arrival] = ()
    ) -> IntervalColumns:
        """Keep what the readings of batches change in settled days; return what is to be written.

        Those measures of settled days stay whose amount does: readings apply no other factors.
        """
        batches: dict[SeriesKey, list[Batch]] = defaultdict(list)

        def caused(change: Change) -> tuple[str, str, str]:
            if not batches:
                self._list_batches(arrivals, batches)
            return cause, "", batches_text(batches[change.key])

        return self._restate_settled(intervals, caused)

    def restate_loaded(self, region: str, site: str, intervals: IntervalColumns) -> IntervalColumns:
        """Keep what loading a site's heads changes in settled days; as `restate`.

        That is what a stop between readings and figures left out, or a row of the register.
        """
        applied = self._facts.applied(region, site) if len(intervals) else {}
        cause_of = self._cause_of_register()

        def caused(change: Change) -> tuple[str, str, str]:
            key = change.key
            was = applied.get((key.meter, key.channel))
            if not applied or was == self._declared(key):
                return "recovery", "figures that a stop had left out", ""
            return (*cause_of(key, applied), "")

        return self._restate_settled(intervals, caused)

    def restate_released(
        self, intervals: IntervalColumns, edges: Collection[str]
    ) -> IntervalColumns:
        """Keep what readings of some edges change that clock events let in; as `restate`."""

        @cache
        def clocks(region: str, site: str) -> tuple[str, str, str]:
            told = [
                one
                for one in self._facts.events(region, site)
                if one.followed and one.event.kind is EventKind.CLOCK and one.event.edge in edges
            ]
            ids = [str(one.id) for one in told]
            cause = f"event {ids[0]}" if len(ids) == 1 else f"events {' '.join(ids)}"
            return cause, "; ".join(one.event.reason for one in told), ""

        return self._restate_settled(intervals, lambda change: clocks(change.region, change.site))

    def _restate_settled(self, intervals: IntervalColumns, caused: Caused) -> IntervalColumns:
        now_ms = self._time_ms()
        if len(intervals) == 0 or not is_settled(day_start(int(intervals.start_ms.min())), now_ms):
            return intervals
        kept = []
        days = {day_start(at): None for at in np.unique(intervals.start_ms).tolist()}
        settled = [day_ms for day_ms in days if is_settled(day_ms, now_ms)]
        for day_ms in settled:
            inside = (intervals.start_ms >= day_ms) & (intervals.start_ms < day_ms + DAY_MS)
            fresh = overlaid(intervals.take(inside))
            series: Int32 = np.unique(fresh.series)
            old = self._store.intervals(Level.INTERVAL, series, day_ms, day_ms + DAY_MS)
            new = with_measures_kept(old, overlaid(fresh, old))
            self._restate(old, new, caused)
            kept.append(new.take(found_in(fresh, new)))
        return overlaid(*kept, intervals)

    def _restate(self, old: IntervalColumns, new: IntervalColumns, caused: Caused) -> None:
        now_ms = self._time_ms()
        directory, grid_ms = self._store.directory, self._store.grid_ms
        found = []
        for change in changes_between(directory, grid_ms, old, new, now_ms):
            if change.settled:
                cause, why, details = caused(change)
                found.append(change.restatement(cause, why, now_ms, details))
        self._restatements.add(found)

    def _list_batches(
        self, arrivals: Sequence[Arrival], batches: dict[SeriesKey, list[Batch]]
    ) -> None:
        """Add by channel the batches that hold readings of it."""
        directory = self._store.directory
        for arrival in arrivals:
            source = directory.sources.key(arrival.source)
            for index in np.unique(arrival.cumulative.series).tolist():
                batch = (source.edge, source.outbox, arrival.seq)
                batches[directory.series.key(index)].append(batch)

    def _cause_of_register(self) -> CauseOf:
        """Return what names the changes of the register that a channel follows, and who made them.

        The audit of a site is read once, when the first of its settled figures changes.
        """
        changes_of = cache(self._facts.register_changes)

        @cache
        def named(key: SeriesKey, was: str | None) -> Cause:
            old = None if was is None else from_text(was)
            led = responsible(changes_of(key.site), key, old, self._declared(key))
            if not led:
                return "register", "declared while no aggregator ran"
            said = (f"{c.author}: {c.note}" if c.note else f"by {c.author}" for c in led)
            ids = " ".join(str(change.id) for change in led)
            return f"register change{'s' * (len(led) > 1)} {ids}", "; ".join(dict.fromkeys(said))

        def cause_of(key: SeriesKey, applied: Applied) -> Cause:
            was = applied.get((key.meter, key.channel))
            return named(key, None if was is None else to_text(was))

        return cause_of

    def _declared(self, key: SeriesKey) -> Registers:
        return self._parameters.registers(self._store.directory.series.find(key))

    def _series(self, region: str, site: str) -> list[int]:
        series = self._store.directory.series_of_site(region, site)
        return [int(index) for index in self._book.registered(series)]


def _events(told: Sequence[ToldEvent], ids: Collection[int]) -> Sequence[MeterEvent]:
    return tuple(one.event for one in told if one.id in ids)


def _always(cause: Cause) -> CauseOf:
    return lambda _key, _applied: cause
