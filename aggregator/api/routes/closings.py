"""Closed months: as reported, as now known, and the difference, with when and why it was found."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from aggregator.api.closing_shapes import (
    AnsweredSite,
    ClosingAnswer,
    ClosingRow,
    ClosingsAnswer,
    FlatCarrier,
    FlatChannel,
    carrier_row,
    flat_carriers,
    flat_channels,
    said,
    site_row,
)
from aggregator.api.corrections import (
    carrier_corrections,
    channel_corrections,
    estimates_withdrawn,
    summed_corrections,
)
from aggregator.api.errors import ApiError
from aggregator.api.month import account_of_parts, month_parts, spans_of_parts
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.scoped import ClosedMonths
from aggregator.api.shapes import Format, Id, Shape, check_rows, csv_response
from aggregator.closings import Closing, Part
from aggregator.periods import month_of
from aggregator.register.model import Site
from aggregator.restatements import Restatement
from contract.stored import Level

RegionCode = Annotated[str, Path(pattern=r"^[0-9]{6}$")]
RegionQuery = Annotated[str | None, Query(pattern=r"^[0-9]{6}$")]


class ClosingQuery(Shape):
    """Parameters of /closings/{region}/{month}."""

    site: Id | None = None
    detail: Literal["carriers", "channels"] = "carriers"
    format: Format = "json"


class ClosingsQuery(Shape):
    """Parameters of /closings."""

    region: RegionQuery = None
    format: Format = "json"


def routes(reader: LedgerReader, closings: ClosedMonths) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["closing"])

    @router.get("/closings", response_model=ClosingsAnswer)
    def all_closings(query: Annotated[ClosingsQuery, Query()]) -> ClosingsAnswer | Response:
        """Return which months are closed, by whom and why."""
        rows = tuple(ClosingRow(**said(one)) for one in closings.closings(query.region))
        return (
            csv_response(ClosingRow, rows)
            if query.format == "csv"
            else ClosingsAnswer(closings=rows)
        )

    @router.get(
        "/closings/{region}/{month}",
        response_model=ClosingAnswer,
        response_model_exclude_unset=True,
    )
    def closing(
        region: RegionCode,
        month: Annotated[str, Path(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")],
        query: Annotated[ClosingQuery, Query()],
    ) -> ClosingAnswer | Response:
        """Return a closed month as reported, as now known, and the corrections between."""
        found = closings.find(region, month_of(month)) if month >= "1970" else None
        if found is None:
            raise ApiError(404, "month", f"{region} {month} is not closed")
        sites = _sites(reader, closings, found, query.site)
        count = sum(len(cumulative(reader.series(site.id), region)) for site in sites)
        check_rows(Level.MONTH, reader.grid_ms, count, found.month_ms, found.end_ms)
        answers = [_answer(reader, closings, found, site) for site in sites]
        if query.format == "csv":
            if query.detail == "channels":
                return csv_response(FlatChannel, flat_channels(found, answers))
            return csv_response(FlatCarrier, flat_carriers(found, answers))
        detailed = query.detail == "channels"
        authors = {cause: name for one in answers for cause, name in one.authors.items()}
        return ClosingAnswer(
            **said(found),
            carriers=tuple(
                carrier_row(one, authors)
                for one in summed_corrections(one for site in answers for one in site.carriers)
            ),
            sites=tuple(site_row(one, detailed=detailed) for one in answers),
        )

    return router


def _sites(
    reader: LedgerReader, closings: ClosedMonths, closing: Closing, only: str | None
) -> Sequence[Site]:
    """Return the sites that were reported, and those that the region has now."""
    now = {s.id: s for s in reader.register.sites.values() if s.region == closing.region}
    ids = sorted({*now, *closings.sites(closing)})
    if only is not None and only not in ids:
        raise ApiError(404, "site", f"no site {only!r} in {closing.region} {closing.month}")
    return [
        now.get(id_) or Site(id_, closing.region, "", "", "", None, None, None, None)
        for id_ in ids
        if only in (None, id_)
    ]


def _answer(
    reader: LedgerReader, closings: ClosedMonths, closing: Closing, site: Site
) -> AnsweredSite:
    month_ms = closing.month_ms
    restated: Sequence[Restatement] = closings.restated(closing, site.id)
    reported: Sequence[Part] = closings.reported(closing, site.id)
    now = month_parts(reader, site, month_ms)
    restated = [*restated, *estimates_withdrawn(closing, reported, now, restated)]
    then, today = (account_of_parts(reader, site, parts, month_ms) for parts in (reported, now))
    spans, spans_now = (spans_of_parts(site.id, parts, month_ms) for parts in (reported, now))
    return AnsweredSite(
        site.id,
        then,
        today,
        list(carrier_corrections(then, today, spans, spans_now, restated)),
        list(channel_corrections(reported, now, restated)),
        closings.authors(restated),
    )
