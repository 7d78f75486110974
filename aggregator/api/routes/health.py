"""Whether the aggregator works, and its counters for Prometheus."""

from collections.abc import Iterator

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Shape


class HealthAnswer(Shape):
    """`ok` false comes with status 503."""

    ok: bool
    detail: str
    time_ms: int
    factor_set: str
    factor_set_title: str
    sites_not_applied: int
    """Sites with stored measures made with other rows of factors or prices, or other measured
    values, than are configured: they wait for `nenghao factors apply`."""
    grid_ms: int


def routes(reader: LedgerReader) -> APIRouter:
    """Return the route of the versioned API."""
    router = APIRouter(tags=["health"])

    @router.get("/health", response_model=HealthAnswer)
    def health() -> HealthAnswer | Response:
        """Tell whether the store answers."""
        state = reader.health()
        answer = HealthAnswer(
            ok=state.ok,
            detail=state.detail,
            time_ms=reader.now_ms(),
            factor_set=reader.factor_set.name,
            factor_set_title=reader.factor_set.title,
            sites_not_applied=len(reader.not_applied),
            grid_ms=reader.grid_ms,
        )
        return answer if state.ok else JSONResponse(answer.model_dump(), 503)

    return router


def metrics_routes(reader: LedgerReader) -> APIRouter:
    """Return the route that Prometheus scrapes."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Return counters and gauges in the Prometheus text format."""
        text = "".join(_lines(reader))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _lines(reader: LedgerReader) -> Iterator[str]:
    for name, count in reader.counters().items():
        words = name.replace("_", " ")
        yield _metric(f"nenghao_aggregator_{name}_total", "counter", f"Total {words}.", count)
    states = list(reader.live.states().values())
    rolled_up_ms = reader.live.rolled_up_ms
    gauges: list[tuple[str, str, float | None]] = [
        ("store_up", "Whether the store answers.", float(reader.health().ok)),
        (
            "readings_per_second",
            "Readings committed per second, lately.",
            reader.live.readings_per_s(reader.now_ms()),
        ),
        (
            "rollup_age_seconds",
            "How old hours, days and months are.",
            None if rolled_up_ms is None else (reader.now_ms() - rolled_up_ms) / 1_000,
        ),
        ("edges", "Edges that ever told their state.", len(states)),
        ("edges_online", "Edges online.", sum(state.online for state in states)),
        (
            "outbox_batches",
            "Batches that edges hold unacknowledged.",
            sum(state.outbox.depth_batches for state in states),
        ),
        (
            "outbox_readings",
            "Readings that edges hold unacknowledged.",
            sum(state.outbox.depth_readings for state in states),
        ),
        ("unregistered_channels", "Channels in no total.", len(reader.unregistered())),
        ("sites", "Sites in the register.", len(reader.register.sites)),
        ("meters", "Meters in the register.", len(reader.register.rows)),
    ]
    for name, text, value in gauges:
        if value is not None:  # what is not known here is not said to be 0
            yield _metric(f"nenghao_aggregator_{name}", "gauge", text, value)


def _metric(name: str, kind: str, text: str, value: float) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value:.16g}\n"
