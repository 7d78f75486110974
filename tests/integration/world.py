"""A small district on real parts, each a process of its own that may be killed and started again.

mosquitto (no persistence, one port for the whole run), simulated meters behind real Modbus TCP,
edges, the aggregator. Whatever a test does to them, `ledger.assert_proof` says in the end whether
the ledger is what the meters served and what was true.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from contract.interval import HOUR_MS, MINUTE_MS
from edge_agent.outbox.inspection import Inspection, inspect
from simulators.demo.clients import Api, ask_control
from simulators.demo.processes import Child, Processes, free_port
from simulators.district import find_district, load_district
from simulators.server import Ports, read_ports
from simulators.workspace import Pace, write_edges, write_register
from tests.brokers import Mosquitto

BACKLOG_MS = 12 * HOUR_MS
"""How far back the meters' totals go."""
_DISTRICT = find_district("chaos")
_EDGE_PACE = "ack_timeout_s = 1.0\nack_timeout_max_s = 3.0\nreconnect_max_s = 1.0\n"
_AGGREGATOR = """\
[aggregator]
regions = ["370114"]
data_dir = "{data_dir}"
register = "{register}"
factor_set = "demo"
[broker]
port = {broker}
[pace]
late_debounce_s = 0.3
late_quiet_s = 0.1
rollup_s = 0.5
[api]
port = {api}
"""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class World:
    """Use as `async with World(folder) as world`; at the end nothing of it runs any more."""

    def __init__(self, folder: Path, *, edges: Iterable[str] = (), store: str = "") -> None:
        """Take some edges of the district only, or all; `store`: the aggregator's [store]."""
        self.folder = folder.resolve()
        self.folder.mkdir(exist_ok=True)
        self.district = district = load_district(_DISTRICT)
        if chosen := set(edges):
            sites = [site for site in district.sites if chosen & set(site.edges)]
            self.district = replace(district, sites=tuple(sites))
        self.chosen = chosen or {edge for site in district.sites for edge in site.edges}
        self._store = store
        self.broker = Mosquitto(self.folder)
        self.data_dir = self.folder / "store"
        self.running: dict[str, Child] = {}
        self._processes = Processes(self.folder / "logs")
        self._ports: Ports
        self._api_port = free_port()
        self.url = f"http://127.0.0.1:{self._api_port}"
        self.api = Api(self.url)
        self._client = httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False)

    async def __aenter__(self) -> Self:
        """Start broker and meters, and write the configurations of the others."""
        try:
            self.broker.start()
            await self._start_meters()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        try:
            await self._end()
        except AssertionError:
            if error is None:
                raise
        finally:
            if error is not None:
                for log in sorted((self.folder / "logs").glob("*.log")):
                    error.add_note(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}")

    async def _end(self) -> None:
        await self._processes.stop_all()
        self.broker.kill()
        await self.api.aclose()
        await self._client.aclose()
        left = self.processes_left()
        for process in left:
            process.kill()
        assert not left, f"still running: {left}"

    def processes_left(self) -> list[psutil.Process]:
        """Every process that was started with something of this world's folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                here = any(str(self.folder) in part for part in process.cmdline())
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    # -------------------------------------------------------------------------------- parts

    async def _start_meters(self) -> None:
        ports_file = self.folder / "ports.json"
        origin_ms = wall_ms() // MINUTE_MS * MINUTE_MS - BACKLOG_MS
        arguments = ["meters", "--district", str(_DISTRICT), "--ports-file", str(ports_file)]
        arguments += ["--origin-ms", str(origin_ms)]
        self.running["meters"] = await self._processes.start("meters", "simulators", arguments)

        async def listening() -> bool:
            return ports_file.exists()

        await self.wait_until(listening, "the meters listen")
        self._ports = read_ports(ports_file)
        broker = (self.broker.host, self.broker.port)
        pace = Pace(poll_s=1.0, commit_s=1.0, state_s=1.0)
        folder = self.folder / "edges"
        written = write_edges(self.district, self._ports.meters, broker, folder, pace)
        self.edges = {file.edge: file for file in written if file.edge in self.chosen}
        for file in self.edges.values():
            text = file.config.read_text("utf-8")
            file.config.write_text(text.replace("[uplink]\n", f"[uplink]\n{_EDGE_PACE}"), "utf-8")
        write_register(self.district, self.folder / "register")
        config = _AGGREGATOR.format(
            data_dir=self.data_dir,
            register=self.folder / "register",
            broker=self.broker.port,
            api=self._api_port,
        )
        (self.folder / "aggregator.toml").write_text(config + self._store, "utf-8")

    async def start(self, *parts: str) -> None:
        """Start "broker", "aggregator" or edges; a restart is a start after `kill` or `end`."""
        for part in parts:
            if part == "broker":
                self.broker.start()
                continue
            assert part not in self.running, f"{part} runs already"
            if part == "aggregator":
                arguments = ["--config", str(self.folder / "aggregator.toml")]
                child = await self._processes.start(part, "aggregator", arguments)
                await self._processes.until_ready(child, self.api.healthy, 90)
            else:
                arguments = ["run", "--config", str(self.edges[part].config)]
                child = await self._processes.start(part, "edge_agent", arguments)
            self.running[part] = child

    async def kill(self, part: str) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        if part == "broker":
            self.broker.kill()
            return
        child = self.running.pop(part)
        self._processes.check_running([child])
        child.process.kill()
        assert await child.process.wait() == -signal.SIGKILL

    async def end(self, part: str, within_s: float = 12.0) -> float:
        """SIGTERM; the seconds it took to exit with 0."""
        child, started_s = self.running.pop(part), time.monotonic()
        os.kill(child.process.pid, signal.SIGTERM)
        code = await asyncio.wait_for(child.process.wait(), within_s)
        assert code == 0, f"{part} ended with {code}:\n{child.log_tail()}"
        return time.monotonic() - started_s

    async def step(self, edge: str, from_ms: int, to_ms: int) -> None:
        """Let an edge poll past minutes beside its meters, then let these follow the clock.

        It commits each minute, so that a few hours make hundreds of batches.
        """
        arguments = ["run", "--config", str(self.edges[edge].config), "--step-s", "60"]
        arguments += ["--step-from", str(from_ms), "--step-to", str(to_ms)]
        arguments += ["--control", f"{self._ports.host}:{self._ports.edges[edge]}"]
        child = await self._processes.start(f"{edge}-steps", "edge_agent", arguments)
        await self._processes.finish(child)
        await self.control({"group": edge, "live": True})

    async def control(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        """Ask the simulated meters something."""
        return await ask_control(self._ports.host, self._ports.control, request)

    def outbox(self, edge: str) -> Inspection:
        """What the edge's file holds at this moment."""
        return inspect(self.folder / "edges" / edge / "outbox.sqlite")

    def all_ports(self) -> list[int]:
        """Every TCP port of this world."""
        meters = (self._ports.control, *self._ports.edges.values(), *self._ports.meters.values())
        return [self.broker.port, self._api_port, *meters]

    # --------------------------------------------------------------------------- conditions

    async def wait_until(
        self, condition: Callable[[], Awaitable[object]], what: str, deadline_s: float = 25.0
    ) -> None:
        """Ask again and again until it holds; fail when a part ends meanwhile or time is up."""
        ends_s = time.monotonic() + deadline_s
        refused = ""
        while True:
            try:
                if await condition():
                    return
            except httpx.TransportError:
                pass  # the aggregator is being started again
            except httpx.HTTPStatusError as error:
                refused = error.response.text
            self._processes.check_running(list(self.running.values()))
            assert time.monotonic() < ends_s, f"not within {deadline_s:g} s: {what} {refused}"
            await asyncio.sleep(0.05)

    async def counter(self, name: str) -> int:
        """One of the aggregator's counters since its start."""
        answer = await self._client.get("/metrics")
        head = f"nenghao_aggregator_{name}_total "
        found = [line for line in answer.text.splitlines() if line.startswith(head)]
        return round(float(found[0].removeprefix(head)))

    async def wait_counter(self, name: str, least: int, deadline_s: float = 25.0) -> None:
        """Wait until a counter has come so far."""

        async def reached() -> bool:
            return await self.counter(name) >= least

        await self.wait_until(reached, f"{name} >= {least}", deadline_s)

    def meters(self, edges: Iterable[str] = ()) -> set[tuple[str, str]]:
        """(site, meter) of some edges, or of all that take part."""
        chosen = set(edges) or set(self.edges)
        return {(s.id, m.id) for s in self.district.sites for m in s.meters if m.edge in chosen}
