"""What the nodes and meters of a site account for, and what nobody accounts for."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader, by_channel
from aggregator.api.shapes import (
    Amounts,
    Format,
    Id,
    LevelName,
    Period,
    Shape,
    check_rows,
    csv_response,
    find_site,
    utc,
    widened,
)
from aggregator.balance import CarrierBalance, MeterBalance, NodeBalance, balance
from aggregator.periods import first_start, level_with_borders
from aggregator.register.carriers import carriers
from aggregator.register.limits import Limit, limit_of
from contract.interval import BEIJING_OFFSET_MS
from contract.stored import Level


class LimitRow(Shape):
    """How much of an amount may be without a place."""

    percent: float
    target: str
    source: str


class NodeRow(Shape):
    """One node. amount = own + amounts of the nodes right below; own = metered + unallocated.

    Amounts are empty when none of its meters has data.
    """

    node: str
    parent: str
    name_zh: str
    amount: Amounts
    own: Amounts
    metered: Amounts
    """Of own: counted by a meter with nothing below it."""
    unallocated: Amounts
    """Of own: counted by a meter above, and by none below it."""
    converted: Amounts
    """Of unallocated: known to have gone into a conversion."""
    held: Amounts
    """Awaits a decision; in no other figure."""
    measured_share: float | None
    """Time measured of the meters behind the amount, over all their time so far; 0 to 1."""
    estimated_share: float | None
    exceeded: bool | None
    """Is what no meter accounts for above the limit? Null: nothing to judge, or data lacking."""
    meters_without_data: tuple[str, ...]


class MeterRow(Shape):
    """A meter with others below it; gap = amount - below."""

    meter: str
    amount: Amounts
    below: Amounts
    gap: Amounts
    exceeded: bool | None
    meters_without_data: tuple[str, ...]


class VirtualRow(Shape):
    """A meter by formula."""

    meter: str
    amount: Amounts


class CarrierRow(Shape):
    """One carrier of the site in one unit. amount = amounts of the top nodes + unallocated."""

    carrier: str
    carrier_zh: str
    amount: Amounts
    unallocated: Amounts
    without_node: Amounts
    """Of unallocated: counted by `sub` meters that have no node."""
    converted: Amounts
    """Of unallocated: went into conversions, less what came out of them."""
    unexplained: Amounts
    """The rest of unallocated, which the limit is for."""
    held: Amounts
    measured_share: float | None
    estimated_share: float | None
    limit: LimitRow
    exceeded: bool | None
    meters_without_data: tuple[str, ...]
    nodes: tuple[NodeRow, ...]
    meters: tuple[MeterRow, ...]
    virtual: tuple[VirtualRow, ...]


class BalanceAnswer(Shape):
    """Balances from figures that start in [from, to)."""

    site: str
    level: LevelName
    figures_level: LevelName
    """Shorter than `level` when the tree changed inside one of its figures."""
    from_ms: int
    to_ms: int
    carriers: tuple[CarrierRow, ...]


class FlatRow(NodeRow):
    """A line of the CSV table."""

    site: str
    carrier: str


class BalanceQuery(Period):
    """Parameters of /balance."""

    site: Id
    carrier: str | None = Field(None, max_length=63)
    level: LevelName = "interval"
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["ledger"])

    @router.get("/balance", response_model=BalanceAnswer, response_model_exclude_unset=True)
    def balances(query: Annotated[BalanceQuery, Query()]) -> BalanceAnswer | Response:
        """Return what each node of a site accounts for (default: today)."""
        from_ms, to_ms = query.resolve(reader.now_ms())
        site = find_site(reader, query.site)
        if query.carrier is not None and query.carrier not in carriers():
            raise ApiError(422, "carrier", f"unknown; known: {', '.join(carriers())}")
        asked = Level(query.level)
        start_ms, end_ms = (first_start(asked, reader.grid_ms, t) for t in (from_ms, to_ms))
        borders = reader.register.tree_borders(site.id, start_ms, end_ms)
        level = level_with_borders(asked, reader.grid_ms, borders)
        series = by_channel(reader, site)
        check_rows(level, reader.grid_ms, len(series), from_ms, to_ms)
        figures = reader.figures(level, list(series.values()), start_ms, end_ms)
        until_ms = min(end_ms, reader.now_ms())
        found = balance(reader.register, site.id, series, figures, start_ms, end_ms, until_ms)
        month = utc(to_ms - 1 + BEIJING_OFFSET_MS)[: len("2026-01")]
        names = {
            node.id: (node.parent, node.name_zh)
            for node in reader.register.nodes_of(site.id, to_ms - 1)
        }
        rows = tuple(
            _carrier(one, limit_of(reader.register, site, one.carrier, month), names)
            for one in found
            if query.carrier in (None, one.carrier)
        )
        if query.format == "csv":
            return csv_response(FlatRow, _flat(site.id, rows))
        return BalanceAnswer(
            site=site.id,
            level=query.level,
            figures_level=level.value,
            from_ms=from_ms,
            to_ms=to_ms,
            carriers=rows,
        )

    return router


def _flat(site: str, rows: Sequence[CarrierRow]) -> Iterator[FlatRow]:
    for row in rows:
        for node in row.nodes:
            yield widened(FlatRow, node, site=site, carrier=row.carrier)


Names = dict[str, tuple[str, str]]
"""Node -> parent and name at the end of the period."""


def _carrier(found: CarrierBalance, limit: Limit, names: Names) -> CarrierRow:
    site, unit = found.site, found.unit
    return CarrierRow(
        carrier=found.carrier,
        carrier_zh=carriers()[found.carrier].name_zh,
        amount=Amounts.of({unit: site.amount}),
        unallocated=Amounts.of({unit: site.unallocated}),
        without_node=Amounts.of({unit: site.metered}),
        converted=Amounts.of({unit: site.converted}),
        unexplained=Amounts.of({unit: site.unexplained}),
        held=Amounts.of({unit: site.known.held}),
        measured_share=site.known.measured_share,
        estimated_share=site.known.estimated_share,
        limit=LimitRow(percent=float(limit.percent), target=limit.target, source=limit.source),
        exceeded=site.exceeds(limit),
        meters_without_data=site.known.without_data,
        nodes=tuple(_node(node, unit, limit, names) for node in found.nodes),
        meters=tuple(_meter(meter, unit, limit) for meter in found.meters),
        virtual=tuple(
            VirtualRow(meter=id_, amount=Amounts.of({unit: amount}))
            for id_, amount in sorted(found.virtual.items())
        ),
    )


def _node(found: NodeBalance, unit: str, limit: Limit, names: Names) -> NodeRow:
    parent, name_zh = names.get(found.node, ("", found.node))

    def amounts(micro: int) -> Amounts:
        return Amounts.of({} if found.known.none else {unit: micro})

    return NodeRow(
        node=found.node,
        parent=parent,
        name_zh=name_zh,
        amount=amounts(found.amount),
        own=amounts(found.own),
        metered=amounts(found.metered),
        unallocated=amounts(found.unallocated),
        converted=amounts(found.converted),
        held=amounts(found.known.held),
        measured_share=found.known.measured_share,
        estimated_share=found.known.estimated_share,
        exceeded=found.exceeds(limit),
        meters_without_data=found.known.without_data,
    )


def _meter(found: MeterBalance, unit: str, limit: Limit) -> MeterRow:
    has_data = found.meter not in found.without_data
    return MeterRow(
        meter=found.meter,
        amount=Amounts.of({unit: found.amount} if has_data else {}),
        below=Amounts.of({unit: found.below}),
        gap=Amounts.of({unit: found.gap} if has_data else {}),
        exceeded=found.exceeds(limit),
        meters_without_data=found.without_data,
    )
