"""Builds the HTTP API on a LedgerReader. Handlers are plain functions: they run in threads."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from aggregator.api import errors
from aggregator.api.guard import Guard
from aggregator.api.reader import LedgerReader
from aggregator.api.routes import (
    balance,
    commands,
    consumption,
    cost,
    demand,
    events,
    health,
    intervals,
    live,
    proof,
    proposals,
    register,
    rules,
    tree,
)
from aggregator.api.routes import closings as closings_routes
from aggregator.api.writer import LedgerWriter
from aggregator.closings import Closings
from aggregator.orders import Orders

PREFIX = "/api/v1"


def build_app(
    reader: LedgerReader,
    writer: LedgerWriter | None = None,
    guard: Guard | None = None,
    closings: Closings | None = None,
    version: str = "1",
    orders: Orders | None = None,
) -> FastAPI:
    """Return the application; it holds no state beside reader and writer.

    Without a writer it knows no events; without a guard nobody may write; without closings it
    serves no closed months; without orders it
    sends no commands.
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
        docs_url=None,  # FastAPI's page loads scripts from the internet; ours is below
        redoc_url=None,
    )
    errors.install(app)
    modules = (
        health,
        register,
        tree,
        intervals,
        consumption,
        balance,
        cost,
        demand,
        live,
        proof,
        proposals,
        rules,
    )
    for module in modules:
        app.include_router(module.routes(reader), prefix=PREFIX)
    if closings is not None:
        app.include_router(closings_routes.routes(reader, closings), prefix=PREFIX)
    if writer is not None:
        app.include_router(events.routes(reader, writer, guard or Guard(None)), prefix=PREFIX)
    if orders is not None:
        app.include_router(commands.routes(reader, orders, guard or Guard(None)), prefix=PREFIX)
    app.include_router(health.metrics_routes(reader))

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        """Show what the API offers; works without internet."""
        return HTMLResponse(files("aggregator.api").joinpath("page.html").read_text("utf-8"))

    return app
