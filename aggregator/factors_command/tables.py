"""What `nenghao factors list` and `check` show of the tables."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aggregator.ledger.factor_tables import load_library, tables_folder
from aggregator.ledger.factors import Factor, FactorLibrary
from aggregator.ledger.rows import Problem, TableError, date_of
from aggregator.ledger.tariff_tables import load_tariffs, tariffs_folder
from aggregator.ledger.tariffs import Period, Tariff, TariffLibrary


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
    """Yield one flat row per row of prices and period."""
    chosen: Iterable[Tariff] = library.tariffs.values() if name is None else [library.choose(name)]
    for tariff in sorted(chosen, key=lambda tariff: tariff.name):
        for row in tariff.prices:
            for period in Period:
                if period in row.price and carrier in (None, tariff.carrier):
                    yield {
                        "tariff": tariff.name,
                        "carrier": tariff.carrier,
                        "period": str(period),
                        "value": str(row.price[period]),
                        "unit": tariff.unit,
                        "region": tariff.region,
                        "valid_from": date_of(row.valid_from_ms).isoformat(),
                        "valid_to": _end(row.valid_to_ms),
                        "verified": row.verified,
                        "usable": row.verified or tariff.allow_unverified,
                        "calendar": tariff.calendar,
                        "id": row.id,
                        "source": row.source,
                    }


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
            rows += [(row.id, row.verified) for row in tariff.prices]
            unused = [row for row, verified in rows if not verified]
            if unused and not tariff.allow_unverified:
                yield f"tariff {tariff.name}: not verified, so not used: {', '.join(unused)}"


def _end(valid_to_ms: int | None) -> str | None:
    return None if valid_to_ms is None else date_of(valid_to_ms).isoformat()
