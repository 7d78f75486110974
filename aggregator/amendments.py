"""Brings stored figures in line with what is declared of meters, and keeps what that changed.

What each channel's figures follow is kept beside them. Where it differs from what is declared now
(an event was told or undone, a row of the register came late or changed while nobody was running),
exactly the intervals that differ are written anew. Owned by the pipeline's thread.
"""

from collections.abc import Callable, Iterator

import numpy as np

from aggregator.batch import Int32, IntervalColumns, overlaid
from aggregator.book import Book
from aggregator.changes import changes_between
from aggregator.directory import SeriesKey
from aggregator.facts import Facts
from aggregator.ledger.registers import Registers, differing
from aggregator.parameters import Parameters
from aggregator.restatements import Restatements, is_settled
from aggregator.store.base import Store
from contract.channels import catalogue
from contract.interval import DAY_MS, day_start
from contract.stored import Level


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
        self._unnoted: list[tuple[str, str]] = []
        """Channels and sites to be noted."""

    def declare(self, region: str, site: str) -> None:
        """Take a site's events as they stand now."""
        self._parameters.declare(region, site, self._facts.standing(region, site))

    def amend(self, region: str, site: str, cause: str, why: str) -> Iterator[IntervalColumns]:
        """Yield a loaded site's figures that what is declared changes, ready to be written.

        Records of settled days are kept before the figures are yielded; take all of them.
        """
        applied = self._facts.applied(region, site)
        if not applied:  # nothing to compare with: what is declared now is noted with the commit
            self._unnoted.append((region, site))
            return
        self._book.refresh()
        now: dict[tuple[str, str], Registers] = {}
        for index in self._series(region, site):
            key = self._store.directory.series.key(index)
            declared = self._parameters.registers(index)
            was = applied.get((key.meter, key.channel))
            if was is None:
                self._new[key] = declared
            if was in (None, declared):
                continue
            span = differing(was, declared)
            if span is not None:
                for redone in self._book.redo(index, *span):
                    self._restate(redone.old, redone.new, cause, why)
                    yield redone.changed
            now[key.meter, key.channel] = declared
        if now:
            yield IntervalColumns.empty()  # with it go verdicts that change where no figure does
            self._facts.put_applied(region, site, now)

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
            for index in self._series(*place):
                self._new[self._store.directory.series.key(index)] = self._parameters.registers(
                    index
                )
        self._unnoted.clear()
        if self._new:
            self._facts.add_applied(self._new)
            self._new.clear()

    def restate(self, intervals: IntervalColumns, cause: str, why: str = "") -> None:
        """Keep what readings change in settled days; before they are written."""
        now_ms = self._time_ms()
        if len(intervals) == 0 or not is_settled(day_start(int(intervals.start_ms.min())), now_ms):
            return
        days = {day_start(at): None for at in np.unique(intervals.start_ms).tolist()}
        settled = [day_ms for day_ms in days if is_settled(day_ms, now_ms)]
        for day_ms in settled:
            inside = (intervals.start_ms >= day_ms) & (intervals.start_ms < day_ms + DAY_MS)
            new = intervals.take(inside)
            series: Int32 = np.unique(new.series)
            old = self._store.intervals(Level.INTERVAL, series, day_ms, day_ms + DAY_MS)
            self._restate(old, overlaid(new, old), cause, why)

    def _restate(self, old: IntervalColumns, new: IntervalColumns, cause: str, why: str) -> None:
        now_ms = self._time_ms()
        directory, grid_ms = self._store.directory, self._store.grid_ms
        self._restatements.add(
            change.restatement(cause, why, now_ms)
            for change in changes_between(directory, grid_ms, old, new, now_ms)
            if change.settled
        )

    def _series(self, region: str, site: str) -> list[int]:
        directory, channels = self._store.directory, catalogue()
        return [
            index
            for index in directory.series_of_site(region, site).tolist()
            if channels[directory.series.key(index).channel].cumulative
            and self._parameters.registered[index]
        ]
