"""Identities <-> dense int32 indexes, append-only.

Columns carry indexes; names appear only at the borders. An index means the same for the life of
a store object. Any thread may add and look up: a key is listed before it can be found.
"""

from array import array
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

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


Key = TypeVar("Key", SeriesKey, Source)


class Index(Generic[Key]):
    """Keys in the order they were first seen."""

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._index: dict[Key, int] = {}
        self._adding = Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Key) -> int:
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

    def find(self, key: Key) -> int:
        """Return the key's index, or -1 when it was never seen."""
        return self._index.get(key, -1)

    def add_all(self, keys: Iterable[Key]) -> NDArray[np.int32]:
        """Return the index of each key, listing new ones."""
        return np.fromiter((self.add(key) for key in keys), np.int32)

    def key(self, index: int) -> Key:
        """Return the key at an index; IndexError when there is none."""
        if index < 0:
            raise IndexError(f"no key at {index}")
        return self._keys[index]

    def keys(self, start: int = 0) -> Sequence[Key]:
        """Return a copy of the keys from an index on."""
        return self._keys[start:]


class Directory:
    """The series and sources that a store knows."""

    def __init__(self) -> None:
        self.series: Index[SeriesKey] = Index()
        self.sources: Index[Source] = Index()
        self._rank = np.empty(0, np.int32)
        self._of_site: dict[tuple[str, str], array[int]] = {}
        self._cumulative_of_site: dict[tuple[str, str], array[int]] = {}
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
            channels = catalogue()
            for key in self.series.keys(self._sorted_out):
                place = key.region, key.site
                self._of_site.setdefault(place, array("i")).append(self._sorted_out)
                if channels[key.channel].cumulative:
                    own = self._cumulative_of_site.setdefault(place, array("i"))
                    own.append(self._sorted_out)
                self._sorted_out += 1
            return np.array(by_site.get((region, site), ()), np.int32)

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
