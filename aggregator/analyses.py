"""Measured calorific values of the register, as the factor sets take them."""

from decimal import Decimal
from itertools import zip_longest

from aggregator.ledger.factors import Analysis
from aggregator.register.model import Register


def analyses_of(register: Register, site: str, meter: str, carrier: str) -> tuple[Analysis, ...]:
    """Return what was measured of a meter's fuel; where two hold, the later one counts.

    Rows of all meters come first, so that a meter's own go before them.
    """
    rows = register.calorific_values(site, meter, carrier)
    found = []
    for row, following in zip_longest(rows, rows[1:]):
        until_ms = row.valid_to_ms
        if until_ms is None and following is not None and following.meter == row.meter:
            until_ms = following.valid_from_ms
        found.append(Analysis(Decimal(str(row.ncv_gj)), row.source, row.valid_from_ms, until_ms))
    return tuple(found)
