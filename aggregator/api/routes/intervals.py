"""Figures per channel and interval, hour, day or month, with the factors behind them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.analyses import analyses_of
from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader, Series, cumulative
from aggregator.api.shapes import (
    AMOUNT_FIELDS,
    Amounts,
    Format,
    Id,
    LevelName,
    Period,
    Shape,
    check_rows,
    csv_response,
    find_meter,
    find_sites,
    known,
    utc,
)
from aggregator.batch import IntervalColumns
from aggregator.kernels.integral import INTEGRATED
from aggregator.kernels.register import ESTIMATED, PROFILED
from aggregator.ledger.factors import Analysis, Measure
from aggregator.register.carriers import carriers
from aggregator.register.model import Meter
from contract.channels import catalogue
from contract.stored import Level
from contract.units import MICRO


class IntervalRow(Shape):
    """One figure. It covers [start, next start); times measured, estimated and missing add up."""

    site: str
    meter: str
    channel: str
    carrier: str
    role: str
    """In force at the start."""
    start: str
    start_ms: int
    amount: Amounts
    """All that is booked."""
    amount_estimated: Amounts
    """The part of it that was spread over a gap."""
    amount_held: Amounts
    """Awaits a decision; not part of `amount`."""
    kgce_calorific: float | None
    kgce_equivalent: float | None
    co2_kg: float | None
    cost_cny: float | None
    """The forward amount at the site's tariff."""
    measured_s: float
    estimated_s: float
    missing_s: float
    received: int
    expected: int
    flags: int
    estimation: str | None
    """How it was spread: `linear`, `profile` (of sums: at least some of it), null: none was."""
    integrated: bool
    """No register counted it, or some of it: it is the integral of a measured rate."""


class FactorUse(Shape):
    """The factor behind a measure in a part of the period; without `id` and `ncv_gj` see reason."""

    carrier: str
    channel_unit: str
    region: str
    measure: str
    from_ms: int
    to_ms: int
    id: str | None
    kg_per_unit: float | None
    meters: tuple[str, ...]
    """Meters it is for, as site/meter, where a measured calorific value is; empty: all others."""
    ncv_gj: float | None
    """Measured calorific value it was made with [GJ per unit]; of coal it needs no row."""
    ncv_source: str | None
    data_year: int | None
    provisional: bool | None
    """The row stands in for a year that is not published yet."""
    verified: bool | None
    edition: str | None
    source: str | None
    reason: str | None


class IntervalsAnswer(Shape):
    """Figures by channel and start."""

    level: LevelName
    from_ms: int
    to_ms: int
    factor_set: str
    not_applied: tuple[str, ...]
    """Sites asked for of which measures may be stored that were made with other rows than are
    named here, or other prices: until `nenghao factors apply`."""
    factors: tuple[FactorUse, ...]
    intervals: tuple[IntervalRow, ...]


class IntervalsQuery(Period):
    """Parameters of /intervals."""

    level: LevelName = "hour"
    site: Id | None = None
    meter: Id | None = None
    carrier: str | None = Field(None, max_length=63)
    channel: str | None = Field(None, max_length=63)
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["ledger"])

    @router.get("/intervals", response_model=IntervalsAnswer, response_model_exclude_unset=True)
    def intervals(query: Annotated[IntervalsQuery, Query()]) -> IntervalsAnswer | Response:
        """Return stored figures of registered meters."""
        from_ms, to_ms = query.resolve(reader.now_ms())
        level = Level(query.level)
        chosen = _choose(reader, query, to_ms - 1)
        check_rows(level, reader.grid_ms, len(chosen), from_ms, to_ms)
        figures = reader.figures(level, [found.index for found, _ in chosen], from_ms, to_ms)
        rows = list(_rows(reader, chosen, figures))
        if query.format == "csv":
            return csv_response(IntervalRow, rows)
        return IntervalsAnswer(
            level=query.level,
            from_ms=from_ms,
            to_ms=to_ms,
            factor_set=reader.factor_set.name,
            not_applied=tuple(sorted({f.key.site for f, _ in chosen} & {*reader.not_applied})),
            factors=tuple(_factors(reader, chosen, from_ms, to_ms)),
            intervals=tuple(rows),
        )

    return router


def _choose(
    reader: LedgerReader, query: IntervalsQuery, at_ms: int
) -> Sequence[tuple[Series, Meter]]:
    """Return the channels asked for with their register rows, by index."""
    if query.carrier is not None and query.carrier not in carriers():
        raise ApiError(422, "carrier", f"unknown; known: {', '.join(carriers())}")
    counting = [name for name, channel in catalogue().items() if channel.cumulative]
    if query.channel is not None and query.channel not in counting:
        raise ApiError(422, "channel", f"not a cumulative channel; known: {', '.join(counting)}")
    if query.meter is not None:
        find_meter(reader, query.site, query.meter)
    chosen = []
    for site in find_sites(reader, query.site):
        rows = {meter.id: meter for meter in reader.register.meters(site.id, at_ms)}
        for found in cumulative(reader.series(site.id), site.region):
            meter = rows.get(found.key.meter)
            if (
                meter is not None
                and query.meter in (None, meter.id)
                and query.carrier in (None, meter.carrier)
                and query.channel in (None, found.key.channel)
            ):
                chosen.append((found, meter))
    return sorted(chosen, key=lambda pair: pair[0].index)


def _rows(
    reader: LedgerReader, chosen: Sequence[tuple[Series, Meter]], figures: IntervalColumns
) -> Iterator[IntervalRow]:
    register = reader.register
    by_index = {found.index: (found, meter) for found, meter in chosen}
    names = [name for name in figures.__slots__ if name != "series"] if len(figures) else []
    columns = {name: getattr(figures, name).tolist() for name in names}
    for i, index in enumerate(figures.series.tolist()):
        found, meter = by_index[index]
        field = AMOUNT_FIELDS[str(catalogue()[found.key.channel].unit)]
        row = {name: column[i] for name, column in columns.items()}
        # a figure in which the first row begins starts before any
        at_start = register.meter(meter.site, meter.id, row["start_ms"])
        role = (at_start or register.rows[meter.site, meter.id][0]).role
        yield IntervalRow(
            site=found.key.site,
            meter=found.key.meter,
            channel=found.key.channel,
            carrier=meter.carrier,
            role=str(role),
            start=utc(row["start_ms"]),
            start_ms=row["start_ms"],
            amount=Amounts.model_validate({field: row["amount"] / MICRO}),
            amount_estimated=Amounts.model_validate({field: row["amount_estimated"] / MICRO}),
            amount_held=Amounts.model_validate({field: row["amount_held"] / MICRO}),
            kgce_calorific=known(row["kgce_calorific"]),
            kgce_equivalent=known(row["kgce_equivalent"]),
            co2_kg=known(row["co2_kg"]),
            cost_cny=known(row["cost_cny"]),
            measured_s=row["measured_ms"] / 1000,
            estimated_s=row["estimated_ms"] / 1000,
            missing_s=row["missing_ms"] / 1000,
            received=row["received"],
            expected=row["expected"],
            flags=row["flags"],
            estimation=_estimation(row["flags"]),
            integrated=bool(row["flags"] & INTEGRATED),
        )


def _estimation(flags: int) -> str | None:
    if flags & PROFILED:
        return "profile"
    return "linear" if flags & ESTIMATED else None


def _factors(
    reader: LedgerReader, chosen: Sequence[tuple[Series, Meter]], from_ms: int, to_ms: int
) -> Iterator[FactorUse]:
    factor_set = reader.factor_set
    things: dict[_Thing, set[str]] = defaultdict(set)
    for found, meter in chosen:
        if found.key.channel in carriers()[meter.carrier].accounted({found.key.channel}):
            unit = str(catalogue()[found.key.channel].unit)
            analyses = analyses_of(reader.register, meter.site, meter.id, meter.carrier)
            name = f"{meter.site}/{meter.id}"
            things[meter.carrier, unit, found.key.region, analyses] |= {name} if analyses else set()
    for thing in sorted(things, key=lambda thing: (thing[:3], sorted(things[thing]))):
        carrier, unit, region, analyses = thing
        for measure in Measure:
            steps = factor_set.steps(carrier, unit, measure, region, analyses)
            ends = [*steps.valid_from_ms[1:].tolist(), to_ms]
            for i in steps.between(from_ms, to_ms):
                start = max(from_ms, int(steps.valid_from_ms[i]))
                row = factor_set.rows.get(steps.row_ids[i])
                since = None if row is None else row.provisional_from_ms
                analysis = steps.analyses[i]
                yield FactorUse(
                    carrier=carrier,
                    channel_unit=unit,
                    region=region,
                    measure=str(measure),
                    from_ms=start,
                    to_ms=min(to_ms, ends[i]),
                    id=None if row is None else row.id,
                    kg_per_unit=None if np.isnan(steps.factor[i]) else float(steps.factor[i]),
                    meters=tuple(sorted(things[thing])),
                    ncv_gj=None if analysis is None else float(analysis.ncv_gj),
                    ncv_source=None if analysis is None else analysis.source,
                    data_year=None if row is None else row.data_year,
                    provisional=None if row is None else since is not None and since < to_ms,
                    verified=None if row is None else row.verified,
                    edition=None if row is None else row.edition,
                    source=None if row is None else row.source,
                    reason=steps.reasons[i] or None,
                )


_Thing = tuple[str, str, str, tuple[Analysis, ...]]
"""Carrier, unit, region and what was measured: what a factor depends on."""
