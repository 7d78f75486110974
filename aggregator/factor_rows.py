"""Which rows of the factor set stand behind a region's figures, as points of `factor_info`."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from aggregator.changed import Row
from aggregator.directory import Directory
from aggregator.ledger.factors import Factor, FactorSet, Measure
from aggregator.ledger.rows import date_of
from aggregator.register.carriers import carriers
from aggregator.register.model import CalorificValue, Register
from contract.channels import catalogue
from contract.stored import INFO_TIME_MS, OPEN_MS, THE_REGION

NET_CALORIFIC_VALUE = "net_calorific_value"
"""`measure` of what was measured of a site's fuel."""


class FactorRows:
    """Follows which carriers are metered in which units, and says what they are converted by."""

    def __init__(self, directory: Directory, register: Register, chosen: FactorSet) -> None:
        self._directory = directory
        self._register = register
        self._chosen = chosen
        self._seen = 0
        """How many series were looked at."""
        self._metered: set[tuple[str, str, str]] = set()
        """(region, carrier, unit) of the channels that enter totals."""

    def grown(self) -> bool:
        """Look at new channels; tell whether one needs factors that none needed before."""
        before, register = len(self._metered), self._register
        for key in self._directory.series.keys(self._seen):
            self._seen += 1
            site, meters = register.sites.get(key.site), register.rows.get((key.site, key.meter))
            if site is None or site.region != key.region or not meters:
                continue
            carrier = carriers().get(meters[-1].carrier)
            if carrier is not None and carrier.accounted({key.channel}):
                unit = str(catalogue()[key.channel].unit)
                self._metered.add((key.region, carrier.id, unit))
        return len(self._metered) > before

    def rows(self) -> Iterator[Row]:
        """Yield the rows that apply to what is metered, then measured calorific values."""
        for region, carrier, unit in sorted(self._metered):
            if not self._chosen.counts(carrier):
                continue  # a medium has no standard coal and no CO2
            for measure in Measure:
                for row in self._chosen.rows_for(carrier, unit, measure, region):
                    tags = (region, THE_REGION, "", carrier, str(measure), row.id)
                    yield tags, INFO_TIME_MS, _factor(self._chosen, row)
        for rows in self._register.calorific.values():
            for value, following in zip_longest(rows, rows[1:]):
                site, until_ms = self._register.sites.get(value.site), value.valid_to_ms
                if site is None:
                    continue
                if until_ms is None and following is not None and following.meter == value.meter:
                    until_ms = following.valid_from_ms
                yield _measured(site.region, value, until_ms)


def _factor(chosen: FactorSet, row: Factor) -> dict[str, Any]:
    reason = chosen.why_not(row)
    return {
        "listed": 1,
        "verified": int(row.verified),
        "used": int(not reason),
        "data_year": row.data_year,
        "valid_from_ms": row.valid_from_ms,
        "valid_to_ms": OPEN_MS if row.valid_to_ms is None else row.valid_to_ms,
        "provisional_from_ms": row.provisional_from_ms,
        "value": str(row.value),
        "unit": row.unit,
        "source": row.source,
        "edition": row.edition,
        "reason": reason,
    }


def _measured(region: str, row: CalorificValue, until_ms: int | None) -> Row:
    since = date_of(row.valid_from_ms)
    name = f"{row.source} ({since.isoformat()})"
    tags = (region, row.site, row.meter, row.carrier, NET_CALORIFIC_VALUE, name)
    unit = catalogue()[carriers()[row.carrier].forward[0]].unit
    return tags, INFO_TIME_MS, {
        "listed": 1,
        "verified": 1,
        "used": 1,
        "data_year": since.year,
        "valid_from_ms": row.valid_from_ms,
        "valid_to_ms": OPEN_MS if until_ms is None else until_ms,
        "provisional_from_ms": None,
        "value": str(row.ncv_gj),
        "unit": f"GJ/{unit}",
        "source": row.source,
        "edition": "",
        "reason": "",
    }  # fmt: skip
