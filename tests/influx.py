"""Debian's InfluxDB 1.6.7 for tests, and a shim that makes it answer influxdb-client's 2.x API."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulators.chaos.servers import find_program, influxd_config
from simulators.demo.processes import free_port

START_S = 20.0


def find_influxd() -> str:
    """Return the server's path; skip, or fail where servers are required."""
    found = find_program("influxd")
    if found is None:
        message = "influxd is not installed (apt install influxdb): InfluxDB was NOT tested"
        if os.environ.get("NENGHAO_REQUIRE_SERVERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


class InfluxServer:
    """A server on its own folder and ports; may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._binary = find_influxd()
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self._folder / "influxdb.conf"
        config.write_text(influxd_config(self._folder, self._port, free_port()), encoding="utf-8")
        with (self._folder / "influxd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "run", "-config", str(config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/ping", trust_env=False).status_code == 204:
                    return
            except httpx.TransportError:
                time.sleep(0.02)
        log_text = (self._folder / "influxd.log").read_text(errors="replace")
        pytest.fail(f"influxd did not start: {log_text[-2000:]}")

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(20)
            self._process = None

    def query(self, database: str, text: str) -> list[dict[str, Any]]:
        """Return the series of one statement; times in ns."""
        answer = httpx.post(
            f"{self.url}/query", data={"db": database, "q": text, "epoch": "ns"}, trust_env=False
        ).json()
        assert "error" not in answer["results"][0], answer
        series: list[dict[str, Any]] = answer["results"][0].get("series", [])
        return series

    def write(self, database: str, lines: str) -> None:
        params = {"db": database, "precision": "ms"}
        answer = httpx.post(f"{self.url}/write", params=params, content=lines, trust_env=False)
        assert answer.status_code == 204, answer.text


@contextmanager
def influx2_shim(server: InfluxServer) -> Iterator[str]:
    """Serve /api/v2/write, /health, /ping and /query before a 1.x server; yield the address."""
    client = httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30)

    async def write(request: Request) -> Response:
        precision = request.query_params.get("precision", "ns")
        # 1.x takes "us" for nanoseconds: see aggregator/store/influx1.py
        params = {
            "db": request.query_params["bucket"],
            "precision": {"us": "u", "ns": "n"}.get(precision, precision),
        }
        return await forward("/write", params, request)

    async def query(request: Request) -> Response:
        return await forward("/query", dict(request.query_params), request)

    async def forward(path: str, params: dict[str, str], request: Request) -> Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in {"content-type", "content-encoding"}
        }
        try:
            answer = await client.post(
                path, params=params, content=await request.body(), headers=headers
            )
        except httpx.TransportError as error:
            return JSONResponse({"code": "unavailable", "message": repr(error)}, 503)
        return Response(
            answer.content, answer.status_code, {"content-type": answer.headers["content-type"]}
            if "content-type" in answer.headers else None,
        )  # fmt: skip

    async def health(_request: Request) -> Response:
        return JSONResponse({"name": "influxdb", "status": "pass"})

    async def ping(_request: Request) -> Response:
        return Response(status_code=204)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with client:  # its connections belong to the server's event loop
            yield

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/v2/write", write, methods=["POST"]),
            Route("/query", query, methods=["POST"]),
            Route("/health", health),
            Route("/ping", ping),
        ],
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    shim = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=shim.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        shim.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory) -> Iterator[InfluxServer]:
    """One server for all tests that leave it running."""
    server = InfluxServer(tmp_path_factory.mktemp("influxdb"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_influx_server(tmp_path) -> Iterator[InfluxServer]:
    """A server that the test may kill."""
    server = InfluxServer(tmp_path)
    server.start()
    yield server
    server.kill()
