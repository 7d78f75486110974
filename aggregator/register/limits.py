"""How much of what a meter counts may stay without a place (table limits.csv, or a target).

A row of `targets.csv` with the row's name as its indicator, the unit % and the bound `at_most`
stands before the table: the site's, else its entity's, else its region's, else the next region's
above. Of several years, the last that has begun holds, else the first to come.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from operator import attrgetter
from types import MappingProxyType

from aggregator.register.model import Bound, Register, Scope, Site, Target


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest share of a meter's or a site's amount without a place."""

    target: str
    """Name of the limit, and indicator of the targets that stand before it."""
    percent: Fraction
    source: str

    def exceeded(self, gap: int, whole: int) -> bool:
        """Tell whether a gap, or an excess, is above the limit; exact."""
        return abs(gap) * 100 > self.percent * abs(whole)


def limit_of(register: Register, site: Site, carrier: str, period: str) -> Limit:
    """Return the limit of one carrier of a site in a period like 2026-03."""
    limits = _limits()
    limit = limits.get(carrier, limits[""])
    targets = limit_targets(register, site)
    for scope, scope_id in _scopes(register, site):
        found = [
            target
            for target in targets
            if (target.scope, target.scope_id, target.indicator) == (scope, scope_id, limit.target)
        ]
        if found:
            begun = [target for target in found if target.period <= period]
            by_period = attrgetter("period")
            target = max(begun, key=by_period) if begun else min(found, key=by_period)
            return Limit(limit.target, Fraction(repr(target.value)), target.source)
    return limit


def limit_targets(register: Register, site: Site) -> tuple[Target, ...]:
    """Return the targets that may stand before the table for a site."""
    names = {limit.target for limit in _limits().values()}
    scopes = set(_scopes(register, site))
    return tuple(
        target
        for target in register.aims.targets
        if (target.scope, target.scope_id) in scopes
        and target.indicator in names
        and (target.unit, target.bound) == ("%", Bound.AT_MOST)
    )


def carrier_of(indicator: str) -> str:
    """Return the carrier that a limit is for; "" when it is for any, or the name is no limit's."""
    return next((c for c, limit in _limits().items() if limit.target == indicator), "")


def _scopes(register: Register, site: Site) -> Iterator[tuple[Scope, str]]:
    yield Scope.SITE, site.id
    if site.entity:
        yield Scope.ENTITY, site.entity
    region = site.region
    while region:
        yield Scope.REGION, region
        row = register.regions.get(region)
        region = row.parent if row else ""


@cache
def _limits() -> Mapping[str, Limit]:
    """Return the table by carrier; "" stands for every other one."""
    text = files("aggregator.register").joinpath("limits.csv").read_text("utf-8")
    return MappingProxyType(
        {
            row["carrier"]: Limit(row["target"], Fraction(row["percent"]), row["source"])
            for row in csv.DictReader(text.splitlines())
        }
    )
