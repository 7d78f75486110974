"""Keeps lists in the store: meters nobody registered, payloads in quarantine, events people told.

A thread of its own that reads by itself and lets the pipeline write.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from operator import attrgetter

import numpy as np

from aggregator.api.reader import LedgerReader
from aggregator.changed import Row, changed
from aggregator.daily_proof import Put
from aggregator.facts import Facts
from aggregator.points import Points
from aggregator.records import Kept, Records, RecordsUnavailable
from aggregator.store.base import NO_TIME, Store, StoreError
from contract.channels import catalogue
from contract.reading import MAX_TIME_MS
from contract.stored import INFO_TIME_MS, QUARANTINE, TOLD_EVENT, UNREGISTERED, Measurement
from contract.topics import parse_topic

_WAIT_S = 300.0

_Meter = tuple[str, str, str]
"""Region, site, meter."""


class Lists:
    """Keeps `unregistered`, `quarantine` and `told_event`."""

    def __init__(
        self, reader: LedgerReader, store: Store, records: Records, facts: Facts, put: Put
    ) -> None:
        self._reader = reader
        self._store = store
        self._records = records
        self._facts = facts
        self._put = put
        self._first: dict[int, tuple[int, str]] = {}
        """Per series the time of its first reading [ms], and the edge that brought it."""

    def keep(self) -> None:
        """Write what has changed; StoreError, RecordsUnavailable."""
        for of, rows, gone in (
            (UNREGISTERED, self._unregistered(), {"listed": 0}),
            (QUARANTINE, self._quarantined(), {"payloads": 0}),
            (TOLD_EVENT, self._told(), {"listed": 0}),
        ):
            self._write(changed(self._stored(of), rows, gone))

    def _write(self, points: Points) -> None:
        if len(points):
            self._put(lambda: points).result()

    def run(self, stopping: threading.Event) -> None:
        """Keep until stopped; the store may be away for a while."""
        while not stopping.is_set():
            try:
                self.keep()
            except CancelledError:
                return
            except (StoreError, RecordsUnavailable):
                pass  # the pipeline tells of it; here it is tried again
            stopping.wait(_WAIT_S)

    def _stored(self, of: Measurement) -> Points:
        with closing(self._store.reader()) as reader:
            return reader.points(of, INFO_TIME_MS, MAX_TIME_MS)

    def _unregistered(self) -> Iterator[Row]:
        meters: dict[_Meter, set[int]] = {}
        channels, directory = catalogue(), self._store.directory
        for key in self._reader.unregistered():
            index = directory.series.find(key)
            meters.setdefault(key[:3], set()).add(index)
        counted = {
            index: channels[directory.series.key(index).channel].cumulative
            for indexes in meters.values()
            for index in indexes
        }
        series = sorted(index for index, cumulative in counted.items() if cumulative)
        last = dict(zip(series, self._reader.last_times(series).tolist(), strict=True))
        self._find_first([index for index in series if index not in self._first])
        for tags, indexes in sorted(meters.items()):
            first = min((self._first[i] for i in indexes if i in self._first), default=(None, ""))
            lasts = [last[i] for i in indexes if last.get(i, NO_TIME) != NO_TIME]
            yield (
                tags,
                INFO_TIME_MS,
                {
                    "listed": 1,
                    "channels": len(indexes),
                    "first_ms": first[0],
                    "last_ms": max(lasts, default=None),
                    "edge": first[1],
                },
            )

    def _find_first(self, series: list[int]) -> None:
        directory = self._store.directory
        if not series:
            return
        with closing(self._store.reader()) as reader:
            found = reader.readings(np.array(series, np.int32), 0, 0, after=1)
        columns = (found.series, found.time_ms, found.source)
        for index, time_ms, source in zip(*(c.tolist() for c in columns), strict=True):
            if index not in self._first or time_ms < self._first[index][0]:
                self._first[index] = time_ms, directory.sources.key(source).edge

    def _quarantined(self) -> Iterator[Row]:
        senders: dict[_Meter, list[Kept]] = defaultdict(list)
        for kept in self._records.in_quarantine():
            senders[_sender(kept.topic)].append(kept)
        for tags, own in sorted(senders.items()):
            fields = {
                "payloads": len(own),
                "seen": sum(kept.seen for kept in own),
                "first_ms": min(kept.first_seen_ms for kept in own),
                "last_ms": max(kept.last_seen_ms for kept in own),
                "reason": max(own, key=attrgetter("last_seen_ms")).reason,
            }
            yield tags, INFO_TIME_MS, fields

    def _told(self) -> Iterator[Row]:
        for told in self._facts.standing():
            event = told.event
            tags = (
                event.region,
                event.site,
                event.meter,
                event.channel,
                event.edge,
                str(event.kind),
            )
            yield (
                tags,
                event.at_ms,
                {
                    "listed": 1,
                    "told_ms": told.told_ms,
                    "author": event.author,
                    "reason": event.reason,
                },
            )


def _sender(topic: str) -> _Meter:
    try:
        address, _ = parse_topic(topic)
    except ValueError:
        return "", "", ""  # a line that the store refused
    return address.region, address.site, address.edge
