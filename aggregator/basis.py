"""What the measures of a site are made with: a factor set's rows, its tariffs, measured values.

A name and a digest of all that a stored measure depends on beside its amount. Stored measures keep
theirs until `nenghao factors apply`, so that both must be known to tell whether they still are what
is configured.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

from aggregator.ledger.factors import FactorSet
from aggregator.ledger.tariffs import Tariff
from aggregator.register.model import Register
from aggregator.site_tariffs import SiteTariffs


class Basis(NamedTuple):
    """What one site's measures are made with."""

    factor_set: str
    digest: str


def bases(register: Register, factor_set: FactorSet, tariffs: SiteTariffs) -> Mapping[str, Basis]:
    """Return by site what measures made now are made with."""
    of_set = _of_set(factor_set)
    used = {one.name: one for site in register.sites for one in tariffs.of(site).values()}
    of_tariff = {name: _of_tariff(one) for name, one in used.items()}
    measured: dict[str, list[object]] = {}
    for (site, carrier), rows in sorted(register.calorific.items()):
        own = [(row.meter, row.ncv_gj, row.valid_from_ms, row.valid_to_ms) for row in rows]
        measured.setdefault(site, []).append((carrier, own))
    return {
        site: Basis(
            factor_set.name,
            _digest(
                of_set,
                sorted((key, of_tariff[one.name]) for key, one in tariffs.of(site).items()),
                measured.get(site),
            ),
        )
        for site in register.sites
    }


def outdated(
    noted: Mapping[str, Basis], now: Mapping[str, Basis], sites: Collection[str]
) -> frozenset[str]:
    """Return those of some sites whose stored measures were made with something else than now."""
    return frozenset(one for one in now if one in sites and noted.get(one, now[one]) != now[one])


def _of_set(factor_set: FactorSet) -> str:
    rows = [
        (
            row.id, row.item, str(row.measure), row.value, row.unit, row.region,
            row.valid_from_ms, row.valid_to_ms, row.verified, row.burning,
        )
        for _, row in sorted(factor_set.rows.items())
    ]  # fmt: skip
    return _digest(factor_set.allow_unverified, sorted(factor_set.not_counted), rows)


def _of_tariff(tariff: Tariff) -> str:
    """Digest what an amount's cost depends on: no demand charge, no blocks."""
    hours = [
        (row.id, row.valid_from_ms, row.valid_to_ms, row.months, row.verified)
        for row in tariff.hours
    ]
    prices = [
        (row.id, row.valid_from_ms, row.valid_to_ms, sorted(row.price.items()), row.verified)
        for row in tariff.prices
    ]
    return _digest(tariff.unit, tariff.calendar, tariff.allow_unverified, hours, prices)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
