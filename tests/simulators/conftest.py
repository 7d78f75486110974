"""A small district and a running server of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulators.district import District, find_district, load_district
from simulators.server import Ports, read_ports, serve_district

ORIGIN_MS = 1_763_654_400_000  # a Friday's midnight in Beijing


@dataclass
class Wall:
    """A clock that a test sets."""

    time_ms: int = ORIGIN_MS + 86_400_000

    def __call__(self) -> int:
        return self.time_ms


@pytest.fixture(scope="session")
def district() -> District:
    return load_district(find_district("zhangqiu-demo"))


@pytest.fixture
def wall() -> Wall:
    return Wall()


Serve = Callable[[], contextlib.AbstractAsyncContextManager[Ports]]


@pytest.fixture
def serve(district: District, wall: Wall, tmp_path: Path) -> Serve:
    """Serves the offices alone: every test's own servers, ports and time."""
    offices = tuple(site for site in district.sites if site.id in {"offices", "foundry"})
    small = District(
        district.id,
        district.name_zh,
        district.name_en,
        district.region,
        district.seed,
        district.tariff_hours,
        district.profiles,
        offices,
    )

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[Ports]:
        stop = asyncio.Event()
        ports_file = tmp_path / "ports.json"
        task = asyncio.create_task(
            serve_district(
                small,
                wall_ms=wall,
                origin_ms=ORIGIN_MS,
                ports_file=ports_file,
                control_port=0,
                host="127.0.0.1",
                stop=stop.wait,
            )
        )
        async with asyncio.timeout(30):
            while not ports_file.exists():
                if task.done():
                    task.result()
                await asyncio.sleep(0.01)
        try:
            yield read_ports(ports_file)
        finally:
            stop.set()
            await task

    return running
