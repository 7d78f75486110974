"""The rows of the factor set in use, those that it does not use too, and why."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Format, Shape, csv_response
from aggregator.ledger.factors import Factor, FactorSet
from aggregator.ledger.rows import date_of
from aggregator.register.carriers import carriers


class FactorRow(Shape):
    """One row of a table, as its source prints it."""

    id: str
    carrier: str
    carrier_zh: str
    measure: str
    value: str
    """Decimal, as printed."""
    unit: str
    region: str
    """national, or the start of a GB/T 2260 code."""
    data_year: int
    valid_from: str
    """Beijing date."""
    valid_to: str | None
    """Beijing date, itself excluded; null: open-ended."""
    provisional_from: str | None
    """Since when it only stands in for a year that is not published; null: never."""
    edition: str
    source: str
    verified: bool
    used: bool
    reason: str | None
    """Why it is not used."""
    note: str


class FactorsAnswer(Shape):
    """The set that stored measures are made with."""

    factor_set: str
    title: str
    title_zh: str
    factors: tuple[FactorRow, ...]


class FactorsQuery(Shape):
    """Parameters of /factors."""

    carrier: Annotated[str, Field(max_length=63)] | None = None
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["ledger"])

    @router.get("/factors", response_model=FactorsAnswer)
    def factors(query: Annotated[FactorsQuery, Query()]) -> FactorsAnswer | Response:
        """Return the rows of the factor set in use, by carrier, measure and time."""
        chosen = reader.factor_set
        if query.carrier is not None and query.carrier not in carriers():
            raise ApiError(422, "carrier", f"unknown; known: {', '.join(carriers())}")
        found = sorted(
            (row for row in chosen.rows.values() if query.carrier in (None, row.item)),
            key=lambda row: (row.item, row.measure, row.region, row.valid_from_ms, row.id),
        )
        rows = tuple(_row(chosen, row) for row in found)
        if query.format == "csv":
            return csv_response(FactorRow, rows)
        return FactorsAnswer(
            factor_set=chosen.name,
            title=chosen.title,
            title_zh=chosen.title_zh,
            factors=rows,
        )

    return router


def _row(chosen: FactorSet, row: Factor) -> FactorRow:
    reason = chosen.why_not(row)
    return FactorRow(
        id=row.id,
        carrier=row.item,
        carrier_zh=carriers()[row.item].name_zh if row.item in carriers() else row.item,
        measure=str(row.measure),
        value=str(row.value),
        unit=row.unit,
        region=row.region,
        data_year=row.data_year,
        valid_from=date_of(row.valid_from_ms).isoformat(),
        valid_to=_day(row.valid_to_ms),
        provisional_from=_day(row.provisional_from_ms),
        edition=row.edition,
        source=row.source,
        verified=row.verified,
        used=not reason,
        reason=reason or None,
        note=row.note,
    )


def _day(time_ms: int | None) -> str | None:
    return None if time_ms is None else date_of(time_ms).isoformat()
