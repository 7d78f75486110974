"""What PV plants should have made: light onto their modules x rated power, month by month.

The monthly report that an operator with a pyranometer sends in, as rows of the register's
`production`. Told for the photovoltaic sites of a district whose register knows the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from contract.interval import month_start, next_month
from simulators.district import District, Load, Row, Site, context_of
from simulators.shapes import modules

if TYPE_CHECKING:
    from simulators.photovoltaics import Plant

PRODUCT = "pv-theoretical"
SECTOR = "photovoltaic"
BEIJING = timedelta(hours=8)
WATTS_PER_KW = 1000
"""Modules are rated under 1000 W/m2."""


def theoretical_output(district: District, from_ms: int, to_ms: int) -> Iterator[Row]:
    """Rows of `production` [kWh] for what of each month lies between two whole minutes."""
    if PRODUCT not in {row["product"] for row in district.register.get("products", ())}:
        return
    for site in district.sites:
        if SECTOR in site.sector:
            begin_ms = from_ms
            while begin_ms < to_ms:
                end_ms = min(to_ms, next_month(month_start(begin_ms)))
                yield {
                    "site": site.id,
                    "product": PRODUCT,
                    "period": f"{datetime.fromtimestamp(begin_ms / 1000, UTC) + BEIJING:%Y-%m}",
                    "amount": round(_kwh(district, site, begin_ms, end_ms), 3),
                }
                begin_ms = end_ms


def _kwh(district: District, site: Site, begin_ms: int, end_ms: int) -> float:
    from simulators.photovoltaics import irradiation_wh  # noqa: PLC0415  # scipy, as in shapes

    return sum(
        load.rated / WATTS_PER_KW * irradiation_wh(_modules(district, site, load), begin_ms, end_ms)
        for load in site.loads
        if load.shape == "plant"
    )


def _modules(district: District, site: Site, load: Load) -> Plant:
    context = context_of(district, site, load)
    return modules(context, **load.parameters)  # type: ignore[arg-type]  # its shape checks them
