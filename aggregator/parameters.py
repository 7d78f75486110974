"""What the kernels must know of each series: from the register, the catalogue and the metas.

Arrays by series index, grown as the directory grows. Modulus and rating are what the edge's meta
in force says of the meter, for all of its time; the multiplier (CT x VT) is the register's; events
are people's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.analyses import analyses_of
from aggregator.batch import Int32
from aggregator.directory import Directory, SeriesKey
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.kernels.spread import Spreads, weekly
from aggregator.ledger.factors import Analysis
from aggregator.ledger.meter_events import (
    EventKind,
    MeterEvent,
    commissioned,
    registers_of,
    steps,
)
from aggregator.ledger.registers import SINCE_EVER_MS, Registers
from aggregator.proof import ChannelFacts
from aggregator.register.model import Meter, Register
from aggregator.register.profiles import in_force
from contract.channels import catalogue
from contract.interval import SECOND_MS
from contract.meta import Meta, MetaChannel
from contract.topics import Address
from contract.units import MICRO, to_micro

UNKNOWN = 0
"""Modulus or rating nobody has told."""


_ARRAYS = ("registered", "integrated", "plain", "edited", "shared", "multiplier", "commissioned")


class ParametersError(ValueError):
    """The register says something the ledger cannot do yet."""


class Limits(NamedTuple):
    """What a register of one channel may do, behind a multiplier; UNKNOWN where nobody told."""

    modulus_micro: int
    """Where it wraps [micro-units]."""
    limit_micro_per_h: int
    """Largest plausible rate [micro-units per hour]."""
    slack_micro: int
    """One display step: what rounding may add [micro-units]."""
    gap_limit_ms: int
    """Longest measured distance of two readings."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A meta in force; one for all of its meters."""

    since: tuple[int, str]
    """Time of the reading with which it came into force [ms], and its hash."""
    channels: Mapping[str, Mapping[str, MetaChannel]]
    """By meter and channel."""


class Parameters:
    """Per-series parameters; ``refresh`` before use when the directory has grown or facts came.

    registered   bool   the register knows meter and channel's carrier
    integrated   bool   ... and that no register counts, but the integral of a rate
    plain        bool   one multiplier for all time and nothing declared: `registers` says no more
    edited       bool   people's words change some readings
    shared       bool   another gateway reads it than the one that the register names
    multiplier   int64  CT x VT in force, the largest where it changes
    commissioned int64  since when the register knows the meter [ms]
    """

    def __init__(self, directory: Directory, register: Register) -> None:
        for (site, meter), rows in register.rows.items():
            if len({row.carrier for row in rows}) > 1:
                raise ParametersError(
                    f"meter {site}/{meter}: rows with different carriers; what counts another "
                    "carrier is another meter"
                )
        self._directory = directory
        self._register = register
        self._told: dict[tuple[str, str, str], _Told] = {}
        """By (region, site, meter)."""
        self._shared: dict[MetaChannel, MetaChannel] = {}
        """Each once: a city's meters are of few makes."""
        self._readers: dict[tuple[str, str, str], frozenset[str]] = {}
        """Who reads a meter, where that is not just the one gateway that the register names."""
        self.newly_shared: list[int] = []
        """Series that were known and are `shared` since; whoever notes them empties it."""
        self._events: dict[tuple[str, str], Sequence[MeterEvent]] = {}
        self._outdated: set[tuple[str, str]] = set()
        """(region, site) of which something was told since the last refresh."""
        self._registers: dict[int, Registers] = {}
        """Of the series that are not plain, or have profiles."""
        profiles = {one.digest: one for own in register.profiles.values() for one in own}
        self._profile = {digest: i for i, digest in enumerate(profiles)}
        """Digest -> row of the weights."""
        self._profiles = tuple(profiles.values())
        self._weights = np.array([weekly(one.weekday, one.weekend) for one in self._profiles])
        self.registered = np.empty(0, np.bool_)
        self.integrated = np.empty(0, np.bool_)
        self.plain = np.empty(0, np.bool_)
        self.edited = np.empty(0, np.bool_)
        self.shared = np.empty(0, np.bool_)
        self.multiplier = np.empty(0, np.int64)
        self.commissioned = np.empty(0, np.int64)

    @property
    def metered(self) -> NDArray[np.bool_]:
        """Tell of which series the readings of a register are what counts."""
        return self.registered & ~self.integrated

    def declared_integrated(self, key: SeriesKey) -> Sequence[str]:
        """Return the channels of a series' meter that are integrated."""
        rows = self._register.integrated.get((key.site, key.meter), ())
        return [row.channel for row in rows] if rows and self._meter(key) is not None else ()

    def lean(self, meta: Meta) -> Meta:
        """Return what is needed of a meta: its registers, and what many say alike kept once."""
        known, shared = catalogue(), self._shared
        return Meta(
            tuple(
                replace(
                    meter,
                    channels=tuple(
                        shared.setdefault(channel, channel)
                        for channel in meter.channels
                        if known[channel.name].cumulative
                    ),
                )
                for meter in meta.meters
            )
        )

    def tell(self, address: Address, meta: Meta, since_ms: int = 0, name: str = "") -> bool:
        """Take what a meta says of its meters; tell whether it says something new of one.

        Of two that name a meter the one that came into force with the newer reading counts, so
        that the order in which they are told does not matter.
        """
        self.note_readers(address, meta)
        place = (address.region, address.site)
        by_meter = {
            meter.id: {channel.name: channel for channel in meter.channels} for meter in meta.meters
        }
        told, new = _Told((since_ms, name), by_meter), False
        for meter, channels in by_meter.items():
            old = self._told.get((*place, meter))
            if old is None or old.since <= told.since:
                self._told[*place, meter] = told
                new |= old is None or old.channels[meter] != channels
        if new:
            self._outdated.add(place)
        return new

    def told_by(self, key: SeriesKey) -> str:
        """Return the hash of the meta in force that names a series' meter; "" for none."""
        told = self._told.get((key.region, key.site, key.meter))
        return "" if told is None else told.since[1]

    def note_readers(self, address: Address, meta: Meta) -> None:
        """Take which meters an edge reads, or once read: before any of its readings come."""
        for meter in meta.meters:
            rows = self._register.rows.get((address.site, meter.id), ())
            named = frozenset(row.edge for row in rows if row.edge)
            if not named:
                continue
            key = (address.region, address.site, meter.id)
            known = self._readers.get(key, named if key in self._told else frozenset())
            readers = known | {address.edge}
            if readers != known and (key in self._readers or len(named | readers) > 1):
                self._readers[key] = readers
                self._outdated.add((address.region, address.site))

    def declare(self, region: str, site: str, events: Sequence[MeterEvent]) -> None:
        """Take all events of a site that stand, oldest word first."""
        self._events[(region, site)] = events
        self._outdated.add((region, site))

    def events(self, region: str, site: str) -> Sequence[MeterEvent]:
        """Return what was declared last of a site."""
        return self._events.get((region, site), ())

    def clocks(self, region: str, site: str) -> Sequence[MeterEvent]:
        """Return the clock events of a site that stand, the oldest word first."""
        events = self._events.get((region, site), ())
        return [event for event in events if event.kind is EventKind.CLOCK]

    def refresh(self) -> Int32:
        """Return the series whose parameters are new or were made again since the last call."""
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

    def analyses(self, series: int) -> tuple[Analysis, ...]:
        """Return the measured calorific values of what a series' meter counts."""
        key, meter = self._directory.series.key(series), self.meter(series)
        if meter is None:
            return ()
        return analyses_of(self._register, key.site, key.meter, meter.carrier)

    def registers(self, series: int) -> Registers:
        """Return what is declared about a series, as of the last refresh."""
        found = self._registers.get(series)
        return found or Registers(
            ((SINCE_EVER_MS, int(self.multiplier[series])),),
            commissioned_ms=int(self.commissioned[series]),
            limits=self._shown_limits(self._directory.series.key(series)),
        )

    def spreads(self, series: Sequence[int]) -> Spreads | None:
        """Return the profiles of some series, in this order; None when there is none at all."""
        if not self._profiles:
            return None
        own = [self.registers(index).profiles for index in series]
        since = [since_ms for steps in own for since_ms, _ in steps]
        profile = [self._profile[digest] for steps in own for _, digest in steps]
        return Spreads(
            np.cumsum([0, *map(len, own)], dtype=np.int64),
            np.array(since, np.int64),
            np.array(profile, np.int64),
            self._weights,
        )

    def limits(self, series: int, multiplier: int) -> Limits:
        """Return what a series' register may do under a multiplier."""
        key = self._directory.series.key(series)
        modulus, rating, step = (
            shown * multiplier if shown * multiplier <= MAX_VALUE_MICRO else UNKNOWN
            for shown in self._shown_limits(key)
        )
        gap_ms = catalogue()[key.channel].gap_limit_s * SECOND_MS
        return Limits(modulus, rating, step or MICRO * multiplier, gap_ms)

    def _shown_limits(self, key: SeriesKey) -> tuple[int, int, int]:
        """Return modulus, rating and step of a display [micro-units]; UNKNOWN where not told."""
        told = self._told.get((key.region, key.site, key.meter))
        channel = told and told.channels[key.meter].get(key.channel)
        if not channel:
            return UNKNOWN, UNKNOWN, UNKNOWN
        return _micro(channel.modulus), _micro(channel.rating), _micro(channel.step)

    def facts(self, series: int) -> ChannelFacts:
        """Return what a proof must know of a series."""
        registers = self._declared(self._directory.series.key(series))
        multiplier = registers.largest_multiplier() if registers.plain else 1
        limits = self.limits(series, multiplier)
        return ChannelFacts(
            multiplier,
            limits.modulus_micro,
            limits.limit_micro_per_h,
            limits.slack_micro,
            None if registers.plain else registers,
            registers.commissioned_ms,
            limits.gap_limit_ms,
            tuple(
                (since_ms, self._profiles[self._profile[digest]])
                for since_ms, digest in registers.profiles
            ),
        )

    def _declared(self, key: SeriesKey) -> Registers:
        meter = self._meter(key)
        if meter is None:
            return Registers()
        rows = self._register.rows[(key.site, key.meter)]
        events = self._events.get((key.region, key.site), ())
        registers = registers_of(key, [(row.valid_from_ms, row.multiplier) for row in rows], events)
        steps = in_force(self._register.profiles.get(key.site, ()), key.meter, meter.carrier)
        profiles = tuple((since_ms, profile.digest) for since_ms, profile in steps)
        integrated_ms = self._register.integrated_from(key.site, key.meter, key.channel)
        return replace(
            registers,
            profiles=profiles,
            edges=self._edges(key, rows),
            integrated_from_ms=integrated_ms,
            limits=self._shown_limits(key),
        )

    def _edges(self, key: SeriesKey, rows: Sequence[Meter]) -> tuple[tuple[int, str], ...]:
        """Return the primary edges of a meter that one of them and yet another edge reads."""
        readers = self._readers.get((key.region, key.site, key.meter), frozenset())
        if len(readers) < 2 or readers.isdisjoint(row.edge for row in rows):
            return ()
        return steps((row.valid_from_ms, row.edge) for row in rows)

    def _meter(self, key: SeriesKey) -> Meter | None:
        site = self._register.sites.get(key.site)
        rows = self._register.rows.get((key.site, key.meter), ())
        return rows[-1] if rows and site is not None and site.region == key.region else None

    def _build(self, series: Int32) -> None:
        """Make the rows of these series; new ones follow those that are there without a gap."""
        known = len(self.registered)
        room = max(known, int(series.max()) + 1)
        for name in _ARRAYS:
            old = getattr(self, name)
            new = np.zeros(room, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        for index in series.tolist():
            key = self._directory.series.key(index)
            meter = self._meter(key)
            self.registered[index] = meter is not None
            rows = self._register.rows.get((key.site, key.meter), ()) if meter else ()
            self.commissioned[index] = commissioned(row.valid_from_ms for row in rows)
            self.integrated[index] = key.channel in self.declared_integrated(key)
            if meter is None or (
                (key.region, key.site) not in self._events
                and key.site not in self._register.profiles
                and not self.integrated[index]
                and all(row.multiplier == meter.multiplier for row in rows)
                and not self._edges(key, rows)
            ):  # nearly always: nothing is declared
                self.plain[index], self.edited[index], self.shared[index] = True, False, False
                self.multiplier[index] = 1 if meter is None else meter.multiplier
                self._registers.pop(index, None)
                continue
            registers = self._declared(key)
            self.plain[index] = registers.plain
            self.edited[index] = registers.edited
            if registers.edges and not self.shared[index] and index < known:
                self.newly_shared.append(index)
            self.shared[index] = bool(registers.edges)
            self.multiplier[index] = registers.largest_multiplier()
            self._registers.pop(index, None)
            if registers.profiles or not registers.plain or self.integrated[index]:
                self._registers[index] = registers


def _micro(told: float | None) -> int:
    """Return what a meta tells [unit] in micro-units; UNKNOWN where it is not told."""
    return to_micro(told) if told else UNKNOWN
