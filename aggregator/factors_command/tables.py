"""What `nenghao factors list` and `check` show of the tables."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from aggregator.ledger.charges import Blocks, DemandPrices
from aggregator.ledger.factor_tables import load_library, tables_folder
from aggregator.ledger.factors import Factor, FactorLibrary
from aggregator.ledger.rows import Problem, TableError, date_of
from aggregator.ledger.tariff_tables import load_tariffs, tariffs_folder
from aggregator.ledger.tariffs import Period, Prices, Tariff, TariffLibrary

Charged = Prices | DemandPrices | Blocks


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables found; None where they were refused, with the problems beside them."""

    factors: FactorLibrary | None
    tariffs: TariffLibrary | None
    problems: tuple[Problem, ...]


def load_tables(register: Path | None) -> Tables:
    """Load the built-in tables and those in factors/ and tariffs/ of a register folder."""
    problems: list[Problem] = []
    factors: FactorLibrary | None = None
    tariffs: TariffLibrary | None = None
    own = [] if register is None else [register]
    try:
        factors = load_library([tables_folder(), *(folder / "factors" for folder in own)])
    except TableError as error:
        problems += error.problems
    try:
        tariffs = load_tariffs([tariffs_folder(), *(folder / "tariffs" for folder in own)])
    except TableError as error:
        problems += error.problems
    return Tables(factors, tariffs, tuple(problems))


def factor_rows(
    library: FactorLibrary, name: str | None, carrier: str | None, measure: str | None
) -> Iterator[dict[str, object]]:
    """Yield one flat row per factor, by carrier, measure and validity."""
    sets = [library.choose(name)] if name is not None else list(library.sets.values())

    def order(row: Factor) -> tuple[object, ...]:
        return row.item, row.measure, row.channel_unit, row.region, row.valid_from_ms, row.id

    for row in sorted(library.rows.values(), key=order):
        within = [chosen for chosen in sets if row.id in chosen.rows]
        if (
            (name is None or within)
            and carrier in (None, row.item)
            and measure in (None, row.measure)
        ):
            yield {
                "sets": [chosen.name for chosen in within],
                "unused_in": [
                    chosen.name
                    for chosen in within
                    if not (row.verified or chosen.allow_unverified)
                ],
                "carrier": row.item,
                "measure": str(row.measure),
                "value": str(row.value),
                "unit": row.unit,
                "region": row.region,
                "valid_from": date_of(row.valid_from_ms).isoformat(),
                "valid_to": _end(row.valid_to_ms),
                "verified": row.verified,
                "id": row.id,
                "edition": row.edition,
                "source": row.source,
            }


def price_rows(
    library: TariffLibrary, name: str | None, carrier: str | None
) -> Iterator[dict[str, object]]:
    """Yield one flat row per row of prices and period, of demand and way to pay, of blocks."""
    chosen: Iterable[Tariff] = library.tariffs.values() if name is None else [library.choose(name)]
    for tariff in sorted(chosen, key=lambda tariff: tariff.name):
        if carrier not in (None, tariff.carrier):
            continue
        for row, period, value, unit in _prices(tariff):
            yield {
                "tariff": tariff.name,
                "carrier": tariff.carrier,
                "period": period,
                "value": str(value),
                "unit": unit,
                "region": tariff.region,
                "valid_from": date_of(row.valid_from_ms).isoformat(),
                "valid_to": _end(row.valid_to_ms),
                "verified": row.verified,
                "usable": row.verified or tariff.allow_unverified,
                "calendar": tariff.calendar,
                "id": row.id,
                "source": row.source,
            }


def _prices(tariff: Tariff) -> Iterator[tuple[Charged, str, Decimal, str]]:
    """Yield (row, what it prices, value, unit)."""
    for row in tariff.prices:
        for period in Period:
            if period in row.price:
                yield row, str(period), row.price[period], tariff.unit
    for demand in tariff.demand:
        for name, price, unit in (
            ("contracted demand", demand.per_kva, "CNY/kVA/month"),
            ("measured demand", demand.per_kw, "CNY/kW/month"),
        ):
            if price is not None:
                yield demand, name, price, unit
    for blocks in tariff.blocks:
        bottom = tariff.unit.split("/")[1]
        for block in blocks.blocks:
            name = f"above {block.above} {bottom}/{'year' if blocks.yearly else 'month'}"
            yield blocks, name, block.surcharge, tariff.unit


def notes(tables: Tables) -> Iterator[str]:
    """Yield what is no error and still good to know: rows present that no figure may use."""
    if tables.factors is not None:
        for chosen in tables.factors.sets.values():
            unused = [row.id for row in chosen.rows.values() if not row.verified]
            if unused and not chosen.allow_unverified:
                yield f"set {chosen.name}: not verified, so not used: {', '.join(sorted(unused))}"
    if tables.tariffs is not None:
        for tariff in tables.tariffs.tariffs.values():
            rows = [(row.id, row.verified) for row in tariff.hours]
            rows += [
                (row.id, row.verified)
                for kind in (tariff.prices, tariff.demand, tariff.blocks)
                for row in kind
            ]
            unused = [row for row, verified in rows if not verified]
            if unused and not tariff.allow_unverified:
                yield f"tariff {tariff.name}: not verified, so not used: {', '.join(unused)}"


def _end(valid_to_ms: int | None) -> str | None:
    return None if valid_to_ms is None else date_of(valid_to_ms).isoformat()
