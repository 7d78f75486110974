"""Conducts the demo: starts every part, walks through the phases, proves, and cleans up.

broker, simulators, aggregator          started, ready
24 h without network                    every edge steps through the day beside its meters
live                                    new processes send the backlog and poll every seconds
hold                                    meters stand still, edges read them once more
drain                                   edges end; their outboxes are empty
proof                                   true = served = ledger, channel by channel
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from rich.console import Console

from contract.channels import catalogue
from contract.interval import MINUTE_MS
from simulators.demo.clients import Api, ask_control
from simulators.demo.processes import (
    Child,
    OnLine,
    Processes,
    ProcessFailedError,
    free_port,
    listens,
)
from simulators.demo.proof import (
    Booked,
    Served,
    Verdict,
    compare,
    parse_booked,
    parse_served,
    summarise,
)
from simulators.demo.showing import showing
from simulators.demo.view import Scene, proof_table, render, save_picture
from simulators.district import District, find_district, load_district
from simulators.server import Ports, read_ports
from simulators.workspace import EdgeFiles, Pace, write_edges, write_register

HOST = "127.0.0.1"
BACKLOG_MS = 24 * 60 * MINUTE_MS
STEP_S = 60
STEPS_A_BATCH = 15
"""At least: the aggregator would be long at thousands of batches of one reading each."""
READY_S = 90.0
CAUGHT_UP_S = 300.0
DRAIN_S = 20.0
PROOF_S = 60.0


class DemoFailedError(RuntimeError):
    """The demo could not be carried through; the message says what did not happen."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. seconds: of live data, 0 = until Ctrl-C. broker: None = the embedded one."""

    district: str
    seconds: float
    broker: tuple[str, int] | None
    work_dir: Path
    keep: bool
    live_view: bool
    picture: Path | None


class Demo:
    """One run. `run` returns the exit code: 0 when the proof holds."""

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        self._district = self._load()
        self._processes = Processes(options.work_dir / "logs")
        self._scene = Scene(f"nenghao 能耗  {self._district.name_zh} {self._district.name_en}")
        self._picture = self._scene  # the last screen with all edges on line
        self._parts: list[Child] = []
        self._pace = Pace()

    async def run(self) -> int:
        """Run it all; whatever happens, nothing is left running."""
        prepare_work_dir(self._options.work_dir)
        try:
            verdicts = await self._play()
        finally:
            await self._processes.stop_all()
        return self._report(verdicts)

    async def _play(self) -> list[Verdict]:
        folder = self._options.work_dir
        broker = await self._start_broker()
        simulator, ports = await self._start_meters(folder)
        edges: Sequence[EdgeFiles] = write_edges(
            self._district, ports.meters, broker, folder / "edges", self._pace
        )
        spans = self._steps()[2].values()
        played = min(span[0][0] for span in spans), max(span[-1][1] for span in spans)
        write_register(self._district, folder / "register", played)
        api_port = free_port()
        api = Api(f"http://{HOST}:{api_port}")
        shown = showing(self._scene, api, self._console, live=self._options.live_view)
        async with contextlib.aclosing(api), shown:
            aggregator = await self._start_aggregator(folder, broker, api, api_port)
            self._parts += [simulator, aggregator]
            await self._step_backlog(edges, ports)
            edges = await self._part_from(edges, api)
            running = await self._go_live(edges, ports)
            await self._look(api)
            await self._end_edges(running, edges, ports)
            self._scene.phase = "proving"
            verdicts = await self._prove(ports, api)
            self._scene.now = await api.now() or self._scene.now
            self._scene.phase = "done"
        await self._processes.stop([aggregator], DRAIN_S)
        return verdicts

    # --------------------------------------------- what another play than the demo has otherwise

    def _load(self) -> District:
        return load_district(find_district(self._options.district))

    def _meters(self) -> list[str]:
        """What the meters' process is told to serve."""
        return ["--district", self._options.district]

    def _wall_ms(self) -> int:
        """The time that all parts live in."""
        return _wall_ms()

    async def _start(
        self, name: str, module: str, arguments: Sequence[str], on_line: OnLine | None = None
    ) -> Child:
        return await self._processes.start(name, module, arguments, on_line)

    def _steps(self) -> tuple[str, int, Mapping[str, list[tuple[int, int]]]]:
        """How the past is called, the step [s], and per edge the spans it reads in [ms]."""
        to_ms = self._wall_ms() // MINUTE_MS * MINUTE_MS
        span = [(to_ms - BACKLOG_MS, to_ms)]
        edges = [edge for site in self._district.sites for edge in site.edges]
        return "a day without network", STEP_S, dict.fromkeys(edges, span)

    async def _store(self, folder: Path) -> str:
        """[store] of the aggregator, which runs; none: the embedded one."""
        return ""

    async def _part_from(self, edges: Sequence[EdgeFiles], api: Api) -> Sequence[EdgeFiles]:
        """The edges that go live."""
        return edges

    async def _look(self, api: Api) -> None:
        """See what there is to see, all edges on line and every reading in the ledger."""

    def _provable(
        self, served: Sequence[Served], booked: Sequence[Booked]
    ) -> tuple[Sequence[Served], Sequence[Booked]]:
        """The counters whose last reading must be in the ledger."""
        return served, booked

    # ------------------------------------------------------------------ parts

    async def _start_broker(self) -> tuple[str, int]:
        self._scene.phase = "starting the broker"
        if self._options.broker is not None:
            host, port = self._options.broker
            if not await listens(host, port):
                raise DemoFailedError(f"no broker answers at {host}:{port}")
            return host, port
        port = free_port()
        child = await self._start("broker", "simulators.demo.broker", [str(port)])
        await self._processes.until_ready(child, lambda: listens(HOST, port), READY_S)
        self._parts.append(child)
        return HOST, port

    async def _start_meters(self, folder: Path) -> tuple[Child, Ports]:
        self._scene.phase = "starting the meters"
        ports_file = folder / "ports.json"
        arguments = ["meters", *self._meters(), "--ports-file", str(ports_file)]
        child = await self._start("simulators", "simulators", arguments)

        async def written() -> bool:
            return ports_file.exists()

        await self._processes.until_ready(child, written, READY_S)
        return child, read_ports(ports_file)

    async def _start_aggregator(
        self, folder: Path, broker: tuple[str, int], api: Api, api_port: int
    ) -> Child:
        self._scene.phase = "starting the aggregator"
        config = folder / "aggregator.toml"
        config.write_text(
            aggregator_config(
                self._district.region, folder, broker, api_port, store=await self._store(folder)
            ),
            encoding="utf-8",
        )
        child = await self._start("aggregator", "aggregator", ["--config", str(config)])
        await self._processes.until_ready(child, api.healthy, READY_S)
        address = f"console 能耗在线监测: http://{HOST}:{api_port}/"
        self._console.print(address, markup=False, soft_wrap=True)
        return child

    # ----------------------------------------------------------------- phases

    async def _step_backlog(self, edges: Sequence[EdgeFiles], ports: Ports) -> None:
        name, step_s, spans = self._steps()
        self._scene.phase = f"backlog: {name}"
        self._scene.backlog = {edge.edge: 0.0 for edge in edges}
        started_s = time.monotonic()

        async def step(edge: EdgeFiles) -> None:
            first_ms, last_ms = spans[edge.edge][0][0], spans[edge.edge][-1][1]

            def progress(line: str) -> None:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    done_ms = json.loads(line)["time_ms"] - first_ms
                    self._scene.backlog[edge.edge] = done_ms / (last_ms - first_ms)

            for from_ms, to_ms in spans[edge.edge]:
                arguments = ["run", "--config", str(edge.backlog_config)]
                arguments += ["--step-from", str(from_ms), "--step-to", str(to_ms)]
                arguments += ["--step-s", str(step_s), "--steps-a-batch", str(STEPS_A_BATCH)]
                arguments += ["--control", f"{ports.host}:{ports.edges[edge.edge]}"]
                child = await self._start(f"{edge.edge}-backlog", "edge_agent", arguments, progress)
                await self._processes.finish(child)
            self._scene.backlog[edge.edge] = 1.0

        async with asyncio.TaskGroup() as group:
            for edge in edges:
                group.create_task(step(edge))
        self._scene.note = f"{name} was polled in {time.monotonic() - started_s:.0f} s"

    async def _go_live(self, edges: Sequence[EdgeFiles], ports: Ports) -> list[Child]:
        for site in self._district.sites:
            await ask_control(ports.host, ports.control, {"group": site.id, "live": True})
        running = [
            await self._start(edge.edge, "edge_agent", ["run", "--config", str(edge.config)])
            for edge in edges
        ]
        self._parts += running
        self._scene.phase = "live, backlog arriving"
        seconds = self._options.seconds
        ends_s = time.monotonic() + seconds
        late_s = ends_s + CAUGHT_UP_S
        while True:
            self._processes.check_running(self._parts)
            now = self._scene.now
            caught_up = (
                now is not None
                and now.edges_online == len(edges)
                and now.outbox_batches <= 2 * len(edges)
            )
            self._scene.phase = "live" if caught_up else "live, backlog arriving"
            left_s = ends_s - time.monotonic()
            self._scene.left_s = max(0.0, left_s) if seconds else None
            if seconds and left_s <= 0 and caught_up:
                break
            if seconds and time.monotonic() > late_s:
                raise DemoFailedError(f"outboxes are not empty {CAUGHT_UP_S:.0f} s after the end")
            await asyncio.sleep(0.2)
        self._scene.left_s = None
        self._picture = replace(self._scene)
        return running

    async def _end_edges(
        self, running: Sequence[Child], edges: Sequence[EdgeFiles], ports: Ports
    ) -> None:
        # From here on the meters stand still: an edge that ends amid a poll drops what it had
        # just been told, and that must not be a register nobody else has seen.
        self._scene.phase = "holding the meters, last readings"
        for site in self._district.sites:
            request = {"group": site.id, "time_ms": self._wall_ms()}
            await ask_control(ports.host, ports.control, request)
        await asyncio.sleep(2 * self._pace.poll_s)
        self._processes.check_running(self._parts)
        self._scene.phase = "edges ending, outboxes draining"
        self._parts = [part for part in self._parts if part not in running]
        await self._processes.stop(running, DRAIN_S)
        for child in running:
            await self._processes.finish(child)
        for edge in edges:
            unacked = await self._unacked(edge)
            if unacked:
                raise DemoFailedError(f"{edge.edge} ended with {unacked} unacknowledged batches")

    async def _unacked(self, edge: EdgeFiles) -> int:
        lines: list[str] = []
        arguments = ["show-outbox", "--config", str(edge.config), "--json"]
        name = f"{edge.edge}-outbox"
        child = await self._processes.start(name, "edge_agent", arguments, lines.append)
        await self._processes.finish(child)
        return int(json.loads("".join(lines))["unacked_batches"])

    async def _prove(self, ports: Ports, api: Api) -> list[Verdict]:
        """Compare; late figures follow the acks by seconds, so ask again until all agree."""
        answer = await ask_control(ports.host, ports.control, {"served": True})
        served = [parse_served(row) for row in answer["served"]]
        deadline_s = time.monotonic() + PROOF_S
        while True:
            self._processes.check_running(self._parts)
            booked = [
                parse_booked(row)
                for site in self._district.sites
                for row in await api.proof(site.id)
            ]
            verdicts = compare(*self._provable(served, booked))
            if all(not verdict.problems for verdict in verdicts):
                return verdicts
            if time.monotonic() > deadline_s:
                return verdicts
            await asyncio.sleep(1.0)

    def _report(self, verdicts: Sequence[Verdict]) -> int:
        units = {name: str(channel.unit) for name, channel in catalogue().items()}
        table = proof_table(summarise(verdicts, units), verdicts)
        self._console.print(table)
        if self._options.picture is not None:
            save_picture(self._options.picture, render(self._picture), table)
        good = all(not verdict.problems for verdict in verdicts)
        if good and verdicts and not self._options.keep:
            shutil.rmtree(self._options.work_dir)
        else:
            self._console.print(f"logs, outboxes and the store are in {self._options.work_dir}")
        return 0 if good and verdicts else 1


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def prepare_work_dir(folder: Path) -> None:
    """Empty the work folder. DemoFailedError when it holds something else than a demo."""
    marker = folder / ".nenghao-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise DemoFailedError(f"{folder} holds other things than a demo; give another --work-dir")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()


def aggregator_config(
    region: str,
    folder: Path,
    broker: tuple[str, int],
    api_port: int,
    *,
    grid_min: int = 15,
    keepalive_s: int = 30,
    rollup_s: float = 5.0,
    store: str = "",
) -> str:
    """The aggregator's configuration for a demo: factor set 演示. store: its [store], if any."""
    folder = folder.resolve()
    return "\n".join(
        (
            "[aggregator]",
            f"regions = [{json.dumps(region)}]",
            f"data_dir = {json.dumps(str(folder / 'store'))}",
            f"register = {json.dumps(str(folder / 'register'))}",
            'factor_set = "demo"',
            f"grid_min = {grid_min}",
            "",
            "[broker]",
            f"host = {json.dumps(broker[0])}",
            f"port = {broker[1]}",
            f"keepalive_s = {keepalive_s}",
            "",
            "[pace]",
            "late_debounce_s = 0.3  # a day's backlog comes in windows of 8 batches",
            f"rollup_s = {rollup_s}",
            "",
            "[api]",
            f'host = "{HOST}"',
            f"port = {api_port}",
            "",
            store,
        )
    )


async def conduct(options: Options, console: Console) -> int:
    """Run the demo; says on stderr what went wrong. Returns the exit code."""
    try:
        return await Demo(options, console).run()
    except* (ProcessFailedError, DemoFailedError, httpx.HTTPError, OSError) as group:
        for error in group.exceptions:
            print(f"nenghao demo: {error}", file=sys.stderr)
    print(f"nenghao demo: logs are in {options.work_dir / 'logs'}", file=sys.stderr)
    return 1
