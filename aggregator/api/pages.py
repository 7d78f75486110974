"""The pages for people: the console at `/` and the list of all requests at `/docs`.

Files are served as they lie, by name out of a closed list, and refer to each other and to the API
by relative addresses only, so that a proxy may put a prefix before all of them. The chart library
comes out of an installed package; nothing is loaded from elsewhere, which `_HEADERS` enforces.
"""

from collections.abc import Mapping
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import PurePosixPath
from types import MappingProxyType

from fastapi import APIRouter
from fastapi.responses import Response

from aggregator.api.errors import ApiError

_CHARTS = "youplot"
"""Distribution whose only use here is that it brings uPlot's released files."""
_CHART_FILES: Mapping[str, str] = MappingProxyType(
    {
        "uplot.js": "youplot/vendor/uplot.iife.min.js",
        "uplot.css": "youplot/vendor/uplot.min.css",
    }
)
_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
)


def routes() -> APIRouter:
    """Return the routes; what they show is public, the figures are asked for by the pages."""
    router = APIRouter(include_in_schema=False)
    static = _static()

    @router.get("/")
    def console() -> Response:
        """Show the console."""
        return _answer("index.html", static["index.html"])

    @router.get("/docs")
    def docs() -> Response:
        """Show what the API offers; works without internet."""
        return _answer("docs.html", static["docs.html"])

    @router.get("/console/{name}")
    def part(name: str) -> Response:
        """Give a part of the pages."""
        if name not in static:
            raise ApiError(404, "", "Not Found")
        return _answer(name, static[name])

    return router


def _static() -> Mapping[str, bytes]:
    """Return all parts by name."""
    folder = files("aggregator.api").joinpath("console")
    found = {part.name: part.read_bytes() for part in folder.iterdir() if part.is_file()}
    package = distribution(_CHARTS)
    for name, path in _CHART_FILES.items():
        with open(str(package.locate_file(path)), "rb") as file:  # noqa: PTH123 # may be no Path
            found[name] = file.read()
    return found


def _answer(name: str, body: bytes) -> Response:
    return Response(body, media_type=_TYPES[PurePosixPath(name).suffix], headers=dict(_HEADERS))
