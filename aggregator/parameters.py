"""What the kernels must know of each series: from the register, the catalogue and the metas.

Arrays by series index, grown as the directory grows. Modulus and rating are what the edge's meta
says of the meter; the multiplier (CT x VT) is the register's.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aggregator.directory import Directory, SeriesKey
from aggregator.proof import ChannelFacts
from aggregator.register.model import Meter, Register
from contract.channels import catalogue
from contract.interval import SECOND_MS
from contract.meta import Meta, MetaChannel
from contract.topics import Address
from contract.units import MICRO, to_micro

UNKNOWN = 0
"""Modulus or rating nobody has told."""


class ParametersError(ValueError):
    """The register says something the ledger cannot do yet."""


class Parameters:
    """Per-series parameters; ``refresh`` before use when the directory has grown.

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
        self.registered = np.empty(0, np.bool_)
        self.multiplier = np.empty(0, np.int64)
        self.modulus_micro = np.empty(0, np.int64)
        self.limit_micro_per_h = np.empty(0, np.int64)
        self.slack_micro = np.empty(0, np.int64)
        self.gap_limit_ms = np.empty(0, np.int64)

    def tell(self, address: Address, meta: Meta) -> None:
        """Take what a meta says of its meters; the meta told last counts."""
        for meter in meta.meters:
            channels = {channel.name: channel for channel in meter.channels}
            self._told[(address.region, address.site, meter.id)] = channels
        self._build(0)

    def refresh(self) -> None:
        """Add rows for series listed since the last call."""
        if len(self.registered) < len(self._directory.series):
            self._build(len(self.registered))

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

    def _build(self, start: int) -> None:
        keys = self._directory.series.keys(start)
        rows = [self._row(key) for key in keys]
        table: NDArray[np.int64] = np.array(rows, np.int64).reshape(len(rows), 6)
        self.registered = np.append(self.registered[:start], table[:, 0] != 0)
        self.multiplier = np.append(self.multiplier[:start], table[:, 1])
        self.modulus_micro = np.append(self.modulus_micro[:start], table[:, 2])
        self.limit_micro_per_h = np.append(self.limit_micro_per_h[:start], table[:, 3])
        self.slack_micro = np.append(self.slack_micro[:start], table[:, 4])
        self.gap_limit_ms = np.append(self.gap_limit_ms[:start], table[:, 5])

    def _row(self, key: SeriesKey) -> tuple[int, int, int, int, int, int]:
        meter = self._meter(key)
        multiplier = meter.multiplier if meter is not None else 1
        told = self._told.get((key.region, key.site, key.meter), {}).get(key.channel)
        modulus = rating = UNKNOWN
        slack = MICRO * multiplier
        if told is not None:
            modulus = to_micro(told.modulus) * multiplier if told.modulus else UNKNOWN
            rating = to_micro(told.rating) * multiplier if told.rating else UNKNOWN
            slack = to_micro(told.step) * multiplier if told.step else slack
        gap_limit_ms = catalogue()[key.channel].gap_limit_s * SECOND_MS
        return int(meter is not None), multiplier, modulus, rating, slack, gap_limit_ms
