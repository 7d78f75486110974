"""Which tariff a site buys a carrier at: the names in the register, looked up in the library."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from aggregator.ledger.rows import Problem
from aggregator.ledger.tariffs import Hours, Prices, Tariff, TariffLibrary, TariffTableError
from aggregator.register.carriers import carriers
from aggregator.register.model import Register, Site
from contract.interval import MINUTE_MS


class SiteTariffs:
    """The tariffs of all sites.

    Raises:
        TariffTableError: a site names a tariff that is not there, or two for one thing, or one of
            another region, or one whose periods do not begin on the interval grid.
    """

    def __init__(self, register: Register, library: TariffLibrary, grid_ms: int) -> None:
        self._tariffs: dict[str, dict[tuple[str, str], Tariff]] = defaultdict(dict)
        """By site, carrier and unit."""
        problems = [
            problem
            for site in register.sites.values()
            for problem in self._add(site, library, grid_ms)
        ]
        if problems:
            raise TariffTableError(problems)

    def find(self, site: str, carrier: str, unit: str) -> Tariff | None:
        """Return the tariff for a carrier counted in a channel's unit; None when there is none."""
        return self.of(site).get((carrier, unit))

    def of(self, site: str) -> Mapping[tuple[str, str], Tariff]:
        """Return the tariffs of a site by carrier and unit."""
        return self._tariffs.get(site, {})

    def why_not(self, site: str, carrier: str, unit: str, from_ms: int, to_ms: int) -> str:
        """Return why something in [from_ms, to_ms) has no price; "" when all of it has one."""
        tariff = self.find(site, carrier, unit)
        if tariff is None:
            return f"site {site} has no tariff for {carrier} per {unit}"
        borders = {from_ms}
        rows: tuple[Hours | Prices, ...] = (*tariff.hours, *tariff.prices)
        for row in rows:
            borders |= {row.valid_from_ms, from_ms if row.valid_to_ms is None else row.valid_to_ms}
        for time_ms in sorted(time for time in borders if from_ms <= time < to_ms):
            if reason := tariff.why_not(time_ms):
                return reason
        return ""

    def _add(self, site: Site, library: TariffLibrary, grid_ms: int) -> Iterator[Problem]:
        def refuse(reason: str) -> Problem:
            return Problem("sites.csv", f"site {site.id}", "tariff", reason)

        for name in site.tariffs:
            if name not in library.tariffs:
                known = ", ".join(sorted(library.tariffs)) or "none"
                yield refuse(f"no tariff {name!r}; there are: {known}")
                continue
            tariff = library.tariffs[name]
            if tariff.carrier not in carriers():
                yield refuse(f"{name} prices {tariff.carrier!r}, which is no carrier")
            if not tariff.applies_to(site.region):
                yield refuse(f"{name} is of region {tariff.region}, the site of {site.region}")
            for minute, row in sorted(tariff.borders_min().items()):
                if minute * MINUTE_MS % grid_ms:
                    clock = f"{minute // 60:02}:{minute % 60:02}"
                    length = f"{grid_ms // MINUTE_MS} min"
                    yield refuse(f"{row} has a border at {clock}, inside an interval of {length}")
            key = (tariff.carrier, tariff.channel_unit)
            other = self._tariffs[site.id].setdefault(key, tariff)
            if other is not tariff:
                yield refuse(f"{other.name} and {name} both price {tariff.carrier} in {key[1]}")
