"""Builds the HTTP API on a LedgerReader. Handlers are plain functions: they run in threads."""

from fastapi import FastAPI

from aggregator.api import document, errors, pages
from aggregator.api.guard import Doorkeeper, Guard
from aggregator.api.reader import LedgerReader
from aggregator.api.routes import (
    balance,
    commands,
    consumption,
    cost,
    demand,
    edges,
    events,
    factors,
    health,
    intervals,
    live,
    load,
    plans,
    proof,
    proposals,
    regions,
    register,
    rules,
    tree,
    verdicts,
)
from aggregator.api.routes import closings as closings_routes
from aggregator.api.scoped import ScopedClosings, ScopedReader, ScopedWriter
from aggregator.api.writer import LedgerWriter
from aggregator.closings import Closings
from aggregator.orders import Orders

PREFIX = "/api/v1"


def build_app(
    reader: LedgerReader,
    writer: LedgerWriter | None = None,
    keeper: Doorkeeper | None = None,
    closings: Closings | None = None,
    version: str = "1",
    orders: Orders | None = None,
) -> FastAPI:
    """Return the application; it holds no state beside reader and writer.

    Without a writer it knows no events; without a keeper everybody reads and nobody writes; without
    closings it serves no closed months; without orders it sends no commands. Routes get reader,
    writer and closings of the visitor's scope, never the whole ones.
    """
    app = FastAPI(
        title="nenghao 能耗",
        version=version,
        summary="The energy ledger: amounts, standard coal, CO2, cost, and the proof of them.",
        description=(
            "Times are UTC milliseconds; `from` and `to` also take RFC 3339 or a Beijing date. "
            "Units are in the field names. Null means not determined, never zero. "
            'Refusals read `{"error": {"parameter": ..., "reason": ...}}`.'
        ),
        docs_url=None,  # FastAPI's page loads scripts from the internet; ours is in pages
        redoc_url=None,
    )
    errors.install(app)
    document.install(app)
    app.add_middleware(Guard, keeper=keeper or Doorkeeper())
    scoped = ScopedReader(reader)
    modules = (
        health,
        register,
        tree,
        intervals,
        consumption,
        balance,
        cost,
        factors,
        demand,
        edges,
        live,
        regions,
        load,
        plans,
        proof,
        proposals,
        rules,
        verdicts,
    )
    for module in modules:
        app.include_router(module.routes(scoped), prefix=PREFIX)
    if closings is not None:
        shown = ScopedClosings(closings, scoped)
        app.include_router(closings_routes.routes(scoped, shown), prefix=PREFIX)
    if writer is not None:
        seen = ScopedWriter(writer, scoped.sees)
        app.include_router(events.routes(scoped, seen), prefix=PREFIX)
    if orders is not None:
        app.include_router(commands.routes(scoped, orders), prefix=PREFIX)
    app.include_router(health.metrics_routes(scoped))
    app.include_router(pages.routes())
    return app
