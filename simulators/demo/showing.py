"""Keeps the demo's view fresh: the live screen on a terminal, lines of text elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.live import Live

from simulators.demo.clients import Api
from simulators.demo.view import Scene, plain_line, render

ASK_S = 1.0
VIEW_S = 0.5
PLAIN_S = 5.0


@contextlib.asynccontextmanager
async def showing(scene: Scene, api: Api, console: Console, *, live: bool) -> AsyncIterator[None]:
    """Show the scene, and what the API says of now, while inside."""
    draw = _draw if live and console.is_terminal else _tell
    tasks = [asyncio.create_task(_watch(scene, api)), asyncio.create_task(draw(scene, console))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(scene: Scene, api: Api) -> None:
    while True:
        scene.now = await api.now() or scene.now
        await asyncio.sleep(ASK_S)


async def _draw(scene: Scene, console: Console) -> None:
    with Live(render(scene), console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(render(scene), refresh=True)
                await asyncio.sleep(VIEW_S)
        finally:
            live.update(render(scene), refresh=True)


async def _tell(scene: Scene, console: Console) -> None:
    phase, told_s = "", 0.0
    while True:
        if scene.phase != phase or time.monotonic() - told_s >= PLAIN_S:
            phase, told_s = scene.phase, time.monotonic()
            console.print(plain_line(scene), markup=False, soft_wrap=True)
        await asyncio.sleep(VIEW_S)
