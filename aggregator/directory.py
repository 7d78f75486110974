"""Identities <-> dense int32 indexes, append-only.

Columns carry indexes; names appear only at the borders. An index means the same for the life of
a store object. Any thread may add and look up: a key is listed before it can be found.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract.channels import catalogue


class SeriesKey(NamedTuple):
    """One channel of one meter."""

    region: str
    site: str
    meter: str
    channel: str


class Source(NamedTuple):
    """One outbox of one edge: the stream that a sequence number counts in."""

    region: str
    site: str
    edge: str
    outbox: str


_ROWS = 64
"""Meters that a table has room for at first."""


class SeriesIndex:
    """Series in the order they were first seen: a row of a table per meter, no object per channel.

    A city has a hundred thousand channels, so keys are made when they are asked for.
    """

    def __init__(self) -> None:
        self._channels = tuple(catalogue())
        self._number = {name: i for i, name in enumerate(self._channels)}
        self._meters: list[tuple[str, str, str]] = []
        self._row: dict[tuple[str, str, str], int] = {}
        """(region, site, meter) -> place in `_meters` and in the table."""
        self._table = np.full((_ROWS, len(self._channels)), -1, np.int32)
        """Index by meter and catalogue channel; -1 where never seen. Its rows have room."""
        self._meter_of, self._channel_of = array("i"), array("B")
        self._adding = Lock()

    def __len__(self) -> int:
        return len(self._channel_of)

    def add(self, key: SeriesKey) -> int:
        """Return the key's index, listing it first when new; KeyError: a channel nobody knows."""
        channel = self._number[key.channel]
        index = self.find(key)
        if index >= 0:
            return index
        with self._adding:
            row = self._listed(key[:3])
            index = int(self._table[row, channel])
            if index < 0:
                index = len(self._channel_of)
                self._meter_of.append(row)
                self._channel_of.append(channel)
                self._table[row, channel] = index
            return index

    def _listed(self, meter: tuple[str, str, str]) -> int:
        """Return a meter's row, made when there is none."""
        row = self._row.get(meter, -1)
        if row < 0:
            row = len(self._meters)
            if row == len(self._table):
                self._table = np.concatenate([self._table, np.full_like(self._table, -1)])
            # The region and the site are the same few texts for many meters.
            self._meters.append((sys.intern(meter[0]), sys.intern(meter[1]), meter[2]))
            self._row[self._meters[-1]] = row
        return row

    def find(self, key: SeriesKey) -> int:
        """Return the key's index, or -1 when it was never seen."""
        row = self._row.get(key[:3], -1)
        channel = self._number.get(key.channel, -1)
        return int(self._table[row, channel]) if row >= 0 and channel >= 0 else -1

    def of_meters(self, region: str, site: str, meters: Iterable[str]) -> NDArray[np.int32]:
        """Return a row per meter with the index of each catalogue channel, -1 where never seen."""
        rows = [self._row.get((region, site, meter), -1) for meter in meters]
        found: NDArray[np.int32] = self._table[rows]
        found[[row < 0 for row in rows]] = -1
        return found

    def add_all(self, keys: Iterable[SeriesKey]) -> NDArray[np.int32]:
        """Return the index of each key, listing new ones."""
        return np.fromiter((self.add(key) for key in keys), np.int32)

    def key(self, index: int) -> SeriesKey:
        """Return the key at an index; IndexError when there is none."""
        if index < 0:
            raise IndexError(f"no key at {index}")
        meter = self._meters[self._meter_of[index]]
        return SeriesKey(*meter, self._channels[self._channel_of[index]])

    def keys(self, start: int = 0) -> Sequence[SeriesKey]:
        """Return the keys from an index on."""
        return [self.key(index) for index in range(start, len(self))]


class SourceIndex:
    """Sources in the order they were first seen."""

    def __init__(self) -> None:
        self._keys: list[Source] = []
        self._index: dict[Source, int] = {}
        self._adding = Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Source) -> int:
        """Return the key's index, listing it first when new."""
        index = self._index.get(key)
        if index is not None:
            return index
        with self._adding:
            index = self._index.get(key)
            if index is None:
                index = len(self._keys)
                self._keys.append(key)
                self._index[key] = index
            return index

    def add_all(self, keys: Iterable[Source]) -> NDArray[np.int32]:
        """Return the index of each key, listing new ones."""
        return np.fromiter((self.add(key) for key in keys), np.int32)

    def key(self, index: int) -> Source:
        """Return the key at an index; IndexError when there is none."""
        if index < 0:
            raise IndexError(f"no key at {index}")
        return self._keys[index]

    def keys(self, start: int = 0) -> Sequence[Source]:
        """Return a copy of the keys from an index on."""
        return self._keys[start:]


class Directory:
    """The series and sources that a store knows."""

    def __init__(self) -> None:
        self.series = SeriesIndex()
        self.sources = SourceIndex()
        self._rank = np.empty(0, np.int32)
        self._of_site: dict[tuple[str, str], array[int]] = {}
        self._cumulative_of_site: dict[tuple[str, str], array[int]] = {}
        self._regions: dict[str, None] = {}
        """Those of all series, in the order they were first seen."""
        self._sorted_out = 0
        """How many series are in ``_of_site``."""
        self._sorting = Lock()

    def series_of_site(self, region: str, site: str) -> NDArray[np.int32]:
        """Return the series of one site, ascending."""
        return self._sorted(self._of_site, region, site)

    def cumulative_of_site(self, region: str, site: str) -> NDArray[np.int32]:
        """Return the series of one site's cumulative channels, ascending."""
        return self._sorted(self._cumulative_of_site, region, site)

    def _sorted(
        self, by_site: "dict[tuple[str, str], array[int]]", region: str, site: str
    ) -> NDArray[np.int32]:
        with self._sorting:
            self._sort_out()
            return np.array(by_site.get((region, site), ()), np.int32)

    def places_of(self, site: str) -> Sequence[tuple[str, str]]:
        """Return (region, site) of the series of a site: one region, unless a gateway errs."""
        with self._sorting:
            self._sort_out()
            return [(region, site) for region in self._regions if (region, site) in self._of_site]

    def _sort_out(self) -> None:
        channels = catalogue()
        for index in range(self._sorted_out, len(self.series)):
            key = self.series.key(index)
            place = key.region, key.site
            self._regions.setdefault(key.region)
            self._of_site.setdefault(place, array("i")).append(index)
            if channels[key.channel].cumulative:
                self._cumulative_of_site.setdefault(place, array("i")).append(index)
            self._sorted_out += 1

    def outbox_rank(self) -> NDArray[np.int32]:
        """Return per source the rank of its outbox id: the order in which conflicts are settled.

        Sources of one outbox id cannot differ in edge unless an outbox file was copied; the rest
        of the key keeps the order total.
        """
        rank = self._rank
        if len(rank) < len(self.sources):
            keys = self.sources.keys()
            order = sorted(range(len(keys)), key=lambda i: (keys[i].outbox, keys[i]))
            rank = np.empty(len(keys), np.int32)
            rank[order] = np.arange(len(keys), dtype=np.int32)
            self._rank = rank
        return rank
