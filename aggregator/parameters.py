"""What the kernels must know of each series: from the register, the catalogue and the metas.

Arrays by series index, grown as the directory grows. Modulus and rating are what the edge's meta
says of the meter; the multiplier (CT x VT) is the register's.
"""

from collections.abc import Mapping

import numpy as np

from aggregator.batch import Int32
from aggregator.directory import Directory, SeriesKey
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.proof import ChannelFacts
from aggregator.register.model import Meter, Register
from contract.channels import catalogue
from contract.interval import SECOND_MS
from contract.meta import Meta, MetaChannel
from contract.topics import Address
from contract.units import MICRO, to_micro

_COLUMNS = (
    "registered",
    "multiplier",
    "modulus_micro",
    "limit_micro_per_h",
    "slack_micro",
    "gap_limit_ms",
)
UNKNOWN = 0
"""Modulus or rating nobody has told."""


class ParametersError(ValueError):
    """The register says something the ledger cannot do yet."""


class Parameters:
    """Per-series parameters; ``refresh`` before use when the directory has grown or a meta came.

    registered            bool     the register knows meter and channel's carrier
    multiplier            int64    CT x VT
    modulus_micro         int64    where the register wraps, times multiplier [micro-units]
    limit_micro_per_h     int64    largest plausible rate, times multiplier [micro-units per hour]
    slack_micro           int64    one display step, times multiplier: what rounding may add
    gap_limit_ms          int64    longest measured distance of two readings [ms]
    """

    def __init__(self, directory: Directory, register: Register) -> None:
        for (site, meter), rows in register.rows.items():
            if len({(row.multiplier, row.carrier) for row in rows}) > 1:
                raise ParametersError(
                    f"meter {site}/{meter}: rows with different multiplier or carrier; "
                    "dated changes of the ratio are not supported yet"
                )
        self._directory = directory
        self._register = register
        self._told: dict[tuple[str, str, str], Mapping[str, MetaChannel]] = {}
        self._outdated: set[tuple[str, str]] = set()
        """(region, site) of metas told since the last refresh."""
        self.registered = np.empty(0, np.bool_)
        self.multiplier = np.empty(0, np.int64)
        self.modulus_micro = np.empty(0, np.int64)
        self.limit_micro_per_h = np.empty(0, np.int64)
        self.slack_micro = np.empty(0, np.int64)
        self.gap_limit_ms = np.empty(0, np.int64)

    def tell(self, address: Address, meta: Meta) -> None:
        """Take what a meta says of its meters; the meta told last is in force."""
        for meter in meta.meters:
            channels = {channel.name: channel for channel in meter.channels}
            self._told[(address.region, address.site, meter.id)] = channels
        self._outdated.add((address.region, address.site))

    def refresh(self) -> Int32:
        """Return the series whose rows are new or were made again since the last call."""
        known = len(self.registered)
        changed = [np.arange(known, len(self._directory.series), dtype=np.int32)]
        for site in self._outdated:
            series = self._directory.series_of_site(*site)
            changed.append(series[series < known])
        self._outdated.clear()
        series = np.concatenate(changed)
        if len(series):
            self._build(series)
        return series

    def meter(self, series: int) -> Meter | None:
        """Return the register's newest row for a series' meter; None when unregistered."""
        return self._meter(self._directory.series.key(series))

    def facts(self, series: int) -> ChannelFacts:
        """Return what a proof must know of a series."""
        _, *facts, _ = self._row(self._directory.series.key(series))
        return ChannelFacts(*facts)

    def _meter(self, key: SeriesKey) -> Meter | None:
        site = self._register.sites.get(key.site)
        rows = self._register.rows.get((key.site, key.meter), ())
        return rows[-1] if rows and site is not None and site.region == key.region else None

    def _build(self, series: Int32) -> None:
        """Make the rows of these series; new ones follow those that are there without a gap."""
        keys = self._directory.series
        rows = np.array([self._row(keys.key(i)) for i in series.tolist()], np.int64)
        for column, values in zip(_COLUMNS, rows.T, strict=True):
            old = getattr(self, column)
            new = np.zeros(max(len(old), int(series.max()) + 1), old.dtype)
            new[: len(old)] = old
            new[series] = values
            setattr(self, column, new)

    def _row(self, key: SeriesKey) -> tuple[int, int, int, int, int, int]:
        meter = self._meter(key)
        multiplier = meter.multiplier if meter is not None else 1
        told = self._told.get((key.region, key.site, key.meter), {}).get(key.channel)
        modulus = rating = UNKNOWN
        slack = MICRO * multiplier
        if told is not None:
            modulus = _scaled(told.modulus, multiplier)
            rating = _scaled(told.rating, multiplier)
            slack = _scaled(told.step, multiplier) or slack
        gap_limit_ms = catalogue()[key.channel].gap_limit_s * SECOND_MS
        return int(meter is not None), multiplier, modulus, rating, slack, gap_limit_ms


def _scaled(value: float | None, multiplier: int) -> int:
    """Return what a meta tells [unit] behind the multiplier [micro-units].

    UNKNOWN where it is not told, or beyond what any register may hold.
    """
    scaled = to_micro(value) * multiplier if value else UNKNOWN
    return scaled if scaled <= MAX_VALUE_MICRO else UNKNOWN
