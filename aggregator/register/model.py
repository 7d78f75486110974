"""Sites and meters as dated facts, and the lookups everything else makes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Where a meter stands in the energy account of its site.

    The role speaks of the meter's forward direction: a feeder that leaves the site is
    `boundary_out` when its import register counts what leaves. What the export register of the
    same meter counts enters with the opposite sign.
    """

    BOUNDARY_IN = "boundary_in"
    """Energy that enters the site."""
    BOUNDARY_OUT = "boundary_out"
    """Energy that leaves the site."""
    OWN_GENERATION = "own_generation"
    """Energy won on site from a source no other meter counts: PV, wind, the site's own mine."""
    CONVERSION_IN = "conversion_in"
    """Energy fed into a conversion on site, counted where it entered: coal to the boiler."""
    CONVERSION_OUT = "conversion_out"
    """Energy made on site from energy already counted: the boiler's steam, a CHP's electricity."""
    SUB = "sub"
    """Part of what another meter counts."""
    CHECK = "check"
    """A second meter beside another one."""


@dataclass(frozen=True, slots=True)
class Site:
    """One place that uses energy."""

    id: str
    region: str
    """GB/T 2260 code."""
    name_zh: str
    name_en: str
    sector: str
    floor_area_m2: float | None
    headcount: int | None
    latitude: float | None
    longitude: float | None
    tariffs: tuple[str, ...] = ()
    """Names of the tariffs it buys at, at most one per carrier and unit."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What holds for one meter from `valid_from_ms` until its next row."""

    site: str
    id: str
    carrier: str
    role: Role
    parent: str
    """Meter of the same site that counts this one's energy too; "" at the top."""
    multiplier: int
    """CT ratio x VT ratio: energy = register difference x multiplier; 1 for a direct meter."""
    edge: str
    """Primary edge: the gateway whose readings count; "" when only one reads the meter."""
    valid_from_ms: int
    """UTC; 0 when the row holds since ever."""
    note: str


@dataclass(frozen=True, slots=True)
class Register:
    """All sites and meter rows. Immutable: a changed register is a new object."""

    sites: Mapping[str, Site]
    rows: Mapping[tuple[str, str], tuple[Meter, ...]]
    """(site, meter) -> its rows by ascending `valid_from_ms`, at least one."""
    meters_by_site: Mapping[str, tuple[str, ...]]
    """Site -> ids of all meters it ever had, ascending."""

    @classmethod
    def of(cls, sites: Iterable[Site], meters: Iterable[Meter]) -> "Register":
        """Build a register; the rows may come in any order."""
        rows: dict[tuple[str, str], list[Meter]] = {}
        for row in meters:
            rows.setdefault((row.site, row.id), []).append(row)
        by_site: dict[str, list[str]] = {}
        for site_id, meter_id in sorted(rows):
            by_site.setdefault(site_id, []).append(meter_id)
        return cls(
            {site.id: site for site in sites},
            {
                key: tuple(sorted(group, key=lambda row: row.valid_from_ms))
                for key, group in sorted(rows.items())
            },
            {site_id: tuple(ids) for site_id, ids in by_site.items()},
        )

    def meter(self, site: str, meter: str, at_ms: int) -> Meter | None:
        """Return the row in force at a time; None when unregistered or not yet."""
        found = None
        for row in self.rows.get((site, meter), ()):
            if row.valid_from_ms <= at_ms:
                found = row
        return found

    def meters(self, site: str, at_ms: int) -> tuple[Meter, ...]:
        """Return the rows of a site in force at a time, by meter id."""
        found = (self.meter(site, id_, at_ms) for id_ in self.meters_by_site.get(site, ()))
        return tuple(row for row in found if row is not None)

    def borders(self, site: str, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """Return the times inside (from_ms, to_ms) at which a row of the site takes effect."""
        times = {
            row.valid_from_ms
            for id_ in self.meters_by_site.get(site, ())
            for row in self.rows[site, id_]
        }
        return tuple(sorted(time for time in times if from_ms < time < to_ms))
