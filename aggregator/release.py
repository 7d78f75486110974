"""Lets in what the door refused, once a clock event says when it was really read.

Such readings enter the raw store as the gateway's clock named their times, marked as read under a
wrong clock: so they count while a clock event covers them, and only then. What is still impossible
under the event, or outside of it, stays in quarantine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int64, ReadingColumns, keys_of
from aggregator.clock_proposals import Misdated
from aggregator.ingest.assemble import EARLIEST_MS, Assembler
from aggregator.ingest.decode import decode_batch
from aggregator.ledger.meter_events import AHEAD_MS, MeterEvent
from aggregator.records import Quarantined
from aggregator.store.base import Store, counts
from contract.reading import Quality
from contract.topics import Address, parse_topic


@dataclass(frozen=True, slots=True)
class Release:
    """What is let in of one payload."""

    hash: str
    """Of the payload in quarantine."""
    address: Address
    meta: str
    cumulative: ReadingColumns
    instantaneous: ReadingColumns
    newest_ms: int
    """When the last of them was really read; 0: there is none."""
    whole: bool
    """Nothing of the payload remains outside."""

    def __len__(self) -> int:
        return len(self.cumulative) + len(self.instantaneous)


def release_of(
    kept: Quarantined,
    clocks: Sequence[MeterEvent],
    assembler: Assembler,
    store: Store,
    now_ms: int,
) -> Release | None:
    """Return what clock events let in of a batch with impossible times; None: nothing, or no more.

    clocks: those of its site that stand, the oldest word first. StoreRetriable: call again.
    """
    address, _ = parse_topic(kept.topic)
    own = [event for event in clocks if event.edge == address.edge]
    if not own:
        return None
    batch = decode_batch(kept.payload)
    parts, newest, remain = [], 0, 0
    for refused in assembler.refused(address, batch, kept.last_seen_ms):
        really_ms = _really(refused, own, store)
        possible = (really_ms >= EARLIEST_MS) & (really_ms <= now_ms + AHEAD_MS)
        remain += int(len(possible) - np.count_nonzero(possible))
        newest = max([newest, *really_ms[possible].tolist()])
        parts.append(_marked(refused.take(possible)))
    cumulative = parts[0].take(~_stored(parts[0], store))
    # What is let in of a part of a payload is let in once, not at every start.
    again = remain > 0 and len(parts[0]) > 0 and len(cumulative) == 0
    instantaneous = ReadingColumns.empty(cumulative=False) if again else parts[1]
    found = Release(kept.hash, address, batch.meta, cumulative, instantaneous, newest, remain == 0)
    return found if found.whole or len(found) else None


def misdated(kept: Quarantined) -> Misdated | None:
    """Return what a kept batch says of its gateway's clock; None when all of its times could be."""
    address, _ = parse_topic(kept.topic)
    batch = decode_batch(kept.payload)
    times = np.concatenate([batch.cumulative.time_ms, batch.instantaneous.time_ms])
    refused = times[(times < EARLIEST_MS) | (times > kept.last_seen_ms + AHEAD_MS)]
    if len(refused) == 0:
        return None
    first_ms, last_ms = int(refused.min()), int(refused.max())
    return Misdated(address, kept.last_seen_ms, first_ms, last_ms, len(refused))


def _really(readings: ReadingColumns, clocks: Sequence[MeterEvent], store: Store) -> Int64:
    """Return when readings were really taken; -1 where no event says so."""
    really_ms = np.full(len(readings), -1, np.int64)
    series = np.unique(readings.series).tolist()
    for event in clocks:
        concerned = [i for i in series if event.concerns(store.directory.series.key(i))]
        from_ms, until_ms = event.span
        rows = (readings.time_ms >= from_ms) & (readings.time_ms < until_ms)
        rows &= np.isin(readings.series, concerned)
        really_ms[rows] = readings.time_ms[rows] + (event.offset_ms or 0)
    return really_ms


def _marked(readings: ReadingColumns) -> ReadingColumns:
    """Return readings as read under a wrong clock; what is out of range stays so."""
    marked = np.where(counts(readings), np.uint8(Quality.CLOCK), readings.quality)
    return replace(readings, quality=marked)


def _stored(readings: ReadingColumns, store: Store) -> NDArray[np.bool_]:
    """Tell which cumulative readings a release before has brought already."""
    if len(readings) == 0:
        return np.zeros(0, np.bool_)
    series = np.unique(readings.series)
    there = store.versions(series, int(readings.time_ms.min()), int(readings.time_ms.max()))
    same = ("series", "time_ms", "source", "seq")
    return np.isin(keys_of(readings, *same), keys_of(there, *same))
