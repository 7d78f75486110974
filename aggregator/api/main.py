"""Builds the HTTP API on a LedgerReader. Handlers are plain functions: they run in threads."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from aggregator.api import errors
from aggregator.api.reader import LedgerReader
from aggregator.api.routes import (
    balance,
    consumption,
    cost,
    demand,
    health,
    intervals,
    live,
    proof,
    register,
    tree,
)

PREFIX = "/api/v1"


def build_app(reader: LedgerReader, version: str = "1") -> FastAPI:
    """Return the application; it holds no state beside the reader."""
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
    for module in (
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
    ):
        app.include_router(module.routes(reader), prefix=PREFIX)
    app.include_router(health.metrics_routes(reader))

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        """Show what the API offers; works without internet."""
        return HTMLResponse(files("aggregator.api").joinpath("page.html").read_text("utf-8"))

    return app
