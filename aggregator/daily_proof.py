"""Stores what is to be said of every settled day: its proof, how complete it is, what changed.

The proof holds readings and events against the figures, as `prove` does.

A thread of its own that reads by itself and lets the pipeline write. What is due is in the store: a
day that has figures and no `proof_day`, or one that a change of a settled figure has marked `due`.
So days are caught up after downtime, and a killed process goes on where it was.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing
from typing import Any

import numpy as np

from aggregator.api.proving import ProofRow, proof_rows
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.completeness import Channel, completeness
from aggregator.points import Points, Tags
from aggregator.register.carriers import carriers
from aggregator.restatements import SETTLED_AFTER_MS, Restatements
from aggregator.store.base import Store, StoreError
from contract.interval import DAY_MS, day_start
from contract.stored import (
    COMPLETENESS_DAY,
    EDGE_HISTORY,
    PROOF,
    PROOF_DAY,
    RESTATEMENT,
    Level,
)

LOOK_BACK_DAYS = 35
"""Days that are looked through for one without proof."""
_WAIT_S = 60.0
"""Between two looks; also after the store was away."""

_UNDER_WAY = 2
"""`due` while a day is proved: still due for whoever starts again."""

Put = Callable[[Callable[[], Points]], Future[int]]
"""Lets the thread that writes make points and write them: `Pipeline.put`."""


class DailyProof:
    """Proves what is due."""

    def __init__(
        self, reader: LedgerReader, store: Store, restatements: Restatements, put: Put
    ) -> None:
        self._reader = reader
        self._store = store
        self._restatements = restatements
        self._put = put
        self._looked_ms = 0
        """Start of the first day after those all looked through."""

    def due(self) -> Sequence[tuple[str, str, int]]:
        """Return the (region, site, day) triples that are to be proved, the oldest day first."""
        end_ms = day_start(self._reader.now_ms() - SETTLED_AFTER_MS) + DAY_MS
        low_ms = end_ms - LOOK_BACK_DAYS * DAY_MS
        with closing(self._store.reader()) as reader:
            # Of years only what is due: nearly always nothing. All there is only once a day.
            marked = reader.points(PROOF_DAY, 0, end_ms, nonzero="due")
            found = {(tags[0], tags[1], at) for tags, at, _ in marked.rows()}
            if self._looked_ms < end_ms:
                stored = reader.points(PROOF_DAY, low_ms, end_ms).rows()
                told = {(tags[0], tags[1], at) for tags, at, _ in stored}
                for site in self._reader.register.sites.values():
                    series = [one.index for one in self._series(site.id)]
                    since_ms = max(low_ms, self._looked_ms)
                    chosen = np.array(series, np.int32)
                    rows = reader.intervals(Level.DAY, chosen, since_ms, end_ms)
                    days = np.unique(rows.start_ms).tolist()
                    found |= {(site.region, site.id, day_ms) for day_ms in days} - told
                self._looked_ms = end_ms
        return sorted(found, key=lambda key: (key[2], key))

    def prove(self, region: str, site: str, day_ms: int) -> None:
        """Prove a site's day and store it with what else is to be said; its summary last."""
        place = region, site

        def summary(due: int, channels: int, not_closing: int) -> Points:
            row = {"due": due, "channels": channels, "not_closing": not_closing}
            return Points.of_rows(PROOF_DAY, [(place, day_ms, row)])

        def unless_touched() -> Points:
            where = {"region": [region], "site": [site]}
            stored = self._store.points(PROOF_DAY, day_ms, day_ms + 1, where)
            if stored.columns["due"].tolist() != [_UNDER_WAY]:
                return Points.empty(PROOF_DAY)  # figures changed meanwhile: it is due again
            return summary(0, len(rows), sum(not row["closes"] for _, _, row in rows))

        self._put(lambda: summary(_UNDER_WAY, 0, 0)).result()
        proved = list(self._rows(site, day_ms))
        rows = [(self._tags(region, row), day_ms, _fields(row)) for row in proved]
        self._put(lambda: Points.of_rows(PROOF, rows)).result()
        complete = (place, day_ms, self._completeness(place, day_ms, proved))
        self._put(lambda: Points.of_rows(COMPLETENESS_DAY, [complete])).result()
        changes = self._changes(place, day_ms)
        self._put(lambda: changes).result()
        self._put(unless_touched).result()

    def run(self, stopping: threading.Event) -> None:
        """Prove until stopped; the store may be away for a while."""
        while not stopping.is_set():
            try:
                for region, site, day_ms in self.due():
                    if stopping.is_set():
                        return
                    began = time.monotonic()
                    self.prove(region, site, day_ms)
                    stopping.wait(time.monotonic() - began)  # half the time is the pipeline's
            except CancelledError:
                return  # the pipeline has ended: the next start goes on
            except StoreError:
                self._looked_ms = 0
            stopping.wait(_WAIT_S)

    def _series(self, site: str) -> Sequence[Any]:
        region = self._reader.register.sites[site].region
        return cumulative(self._reader.series(site), region)

    def _rows(self, site: str, day_ms: int) -> Iterator[ProofRow]:
        if site not in self._reader.register.sites:
            return
        span = [(day_ms, day_ms + DAY_MS)]
        for found in self._series(site):
            meters = self._reader.register.rows.get((site, found.key.meter))
            if meters:
                yield from proof_rows(self._reader, found, meters[-1], span)

    def _completeness(
        self, place: tuple[str, str], day_ms: int, rows: Sequence[ProofRow]
    ) -> Mapping[str, Any]:
        region, site = place
        channels = [
            Channel(
                self._reader.register.rows[site, row.meter][-1].edge,
                row.slots_received,
                row.slots_expected,
            )
            for row in rows
            if row.channel in carriers()[row.carrier].accounted({row.channel})
        ]
        where = {"region": [region], "site": [site]}
        with closing(self._store.reader()) as reader:
            history = reader.points(EDGE_HISTORY, day_ms - DAY_MS, day_ms + DAY_MS, where)
        return completeness(channels, history, day_ms, self._reader.grid_ms)

    def _changes(self, place: tuple[str, str], day_ms: int) -> Points:
        """Return the records of changes of the day: whatever changed it made it due."""
        found = self._restatements.numbered(*place, day_ms, day_ms + DAY_MS)
        return Points.of_rows(
            RESTATEMENT,
            (
                (
                    (one.region, one.site, one.meter, one.channel, one.measure),
                    day_ms + number % DAY_MS,
                    {name: getattr(one, name) for name in RESTATEMENT.fields},
                )
                for number, one in found.items()
            ),
        )

    @staticmethod
    def _tags(region: str, row: ProofRow) -> Tags:
        return region, row.site, row.meter, row.channel


def _fields(row: ProofRow) -> Mapping[str, Any]:
    return {
        "start": row.register_start_micro,
        "end": row.register_end_micro,
        "level_start": row.level_start_micro,
        "level_end": row.level_end_micro,
        "events": row.events_micro,
        "booked": row.booked_micro,
        "held": row.held_micro,
        "difference": row.difference_micro,
        "closes": int(row.closes),
        "readings": row.received,
        "received": row.slots_received,
        "expected": row.slots_expected,
        "measured_ms": row.measured_ms,
        "estimated_ms": row.estimated_ms,
        "held_ms": row.held_ms,
        "missing_ms": row.missing_ms,
    }
