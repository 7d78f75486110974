"""Plays a scenario on the demo's real parts, all of them living in the scenario's time.

The wall clock of meters, edges and aggregator is set so that the scenario's end is now: its past is
stepped through, then everything goes live, and what a person should see is asked of the API. In the
end the proof is the demo's: true = served = ledger.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
from rich.console import Console

from simulators.chaos.servers import find_program, influxd_config
from simulators.demo.checks import Finding, see
from simulators.demo.clients import Api
from simulators.demo.conductor import HOST, READY_S, Demo, DemoFailedError, Options
from simulators.demo.processes import Child, OnLine, ProcessFailedError, free_port, listens
from simulators.demo.proof import Booked, Served, Verdict
from simulators.district import District
from simulators.scenario import Scenario
from simulators.workspace import EdgeFiles, Pace

DATABASE = "scenario"
SEEN_S = 60.0
GONE_S = 90.0


class Rehearsal(Demo):
    """One scenario. `run` returns 0 when everything expected was seen and the proof holds.

    influx_port: Debian's influxd listens there and is the store; None: the embedded one.
    """

    def __init__(
        self,
        scenario: Scenario,
        path: Path,
        options: Options,
        console: Console,
        influx_port: int | None = None,
    ) -> None:
        self._scenario = scenario
        self._path = path
        self._influx_port = influx_port
        self._offset_ms = 0
        self._findings: list[Finding] = []
        super().__init__(options, console)
        self._pace = Pace(poll_s=2.0, commit_s=1.0, state_s=1.0)
        self._scene.title = f"nenghao simulate  {scenario.name_zh} {scenario.name_en}"

    async def _play(self) -> list[Verdict]:
        self._set_clock(min([self._scenario.end_ms, *self._scenario.lost.values()]))
        return await super()._play()

    # ------------------------------------------------------------- what differs from the demo

    def _load(self) -> District:
        return self._scenario.district

    def _meters(self) -> list[str]:
        return ["--scenario", str(self._path), "--origin-ms", str(self._scenario.begin_ms)]

    def _wall_ms(self) -> int:
        return super()._wall_ms() + self._offset_ms

    async def _start(
        self, name: str, module: str, arguments: Sequence[str], on_line: OnLine | None = None
    ) -> Child:
        arguments = [str(self._clock), module, *arguments]
        return await super()._start(name, "simulators.demo.wallclock", arguments, on_line)

    def _steps(self) -> tuple[str, int, Mapping[str, list[tuple[int, int]]]]:
        edges = [edge for site in self._district.sites for edge in site.edges]
        spans = {edge: self._scenario.spans(edge) for edge in edges}
        return self._scenario.name_en, self._scenario.step_s, spans

    async def _store(self, folder: Path) -> str:
        """Debian's influxd, empty, for dashboards to ask; it ends with the run."""
        port = self._influx_port
        if port is None:
            return ""
        program = find_program("influxd")
        if program is None:
            raise DemoFailedError("influxd is not installed (apt install influxdb)")
        if await listens(HOST, port):
            raise DemoFailedError(f"port {port} for influxd is taken")
        config = folder / "influxdb.conf"
        config.write_text(
            influxd_config((folder / "influxdb").resolve(), port, free_port()), "utf-8"
        )
        arguments = [program, "run", "-config", str(config)]
        child = await self._processes.start("influxd", "--", arguments)
        await self._processes.until_ready(child, lambda: listens(HOST, port), READY_S)
        self._parts.append(child)
        url = f"http://{HOST}:{port}"
        span = f"from={self._scenario.begin_ms}&to={self._scenario.end_ms}"
        self._console.print(
            f"store for Grafana: {url} database {DATABASE}, its time range: {span}",
            markup=False, soft_wrap=True, highlight=False,
        )  # fmt: skip
        return f'[store]\nkind = "influx1"\nurl = "{url}"\ndatabase = "{DATABASE}"\n'

    async def _part_from(self, edges: Sequence[EdgeFiles], api: Api) -> Sequence[EdgeFiles]:
        """What an edge that is lost had sent by then; then it is gone without a word.

        The others send their past in order, before anything new makes all of it late.
        """
        by_name = {edge.edge: edge for edge in edges}
        for name, lost_ms in sorted(self._scenario.lost.items(), key=lambda item: item[1]):
            self._scene.phase = f"{name} sends, and is lost"
            self._set_clock(lost_ms)
            (child,) = await self._sending([by_name.pop(name)], api)
            child.process.kill()
            await child.process.wait()
            await self._until(api, online=0, what=f"{name} is known to be off line")
        self._set_clock(self._scenario.end_ms)
        self._scene.phase = "sending what was read"
        children = await self._sending(list(by_name.values()), api)
        await self._processes.stop(children, GONE_S)
        return list(by_name.values())

    async def _sending(self, edges: Sequence[EdgeFiles], api: Api) -> list[Child]:
        """Edges on line that have sent all they had."""
        children = [
            await self._start(
                edge.edge, "edge_agent", ["run", "--config", str(edge.backlog_config)]
            )
            for edge in edges
        ]
        await self._until(api, online=len(edges), what="the edges have sent their outboxes")
        return children

    async def _look(self, api: Api) -> None:
        self._scene.phase = "looking for what should be seen"
        deadline_s = time.monotonic() + SEEN_S
        for expected in self._scenario.expect:
            while True:
                finding = await see(api, self._scenario, expected)
                if finding.good or time.monotonic() > deadline_s:
                    break
                await asyncio.sleep(1.0)
            self._findings.append(finding)

    def _provable(
        self, served: Sequence[Served], booked: Sequence[Booked]
    ) -> tuple[Sequence[Served], Sequence[Booked]]:
        """All but the meters of lost edges: what these had read last went with them."""
        lost = {
            (site.id, meter.id)
            for site in self._district.sites
            for meter in site.meters
            if meter.edge in self._scenario.lost
        }
        return (
            [row for row in served if (row.site, row.meter) not in lost],
            [row for row in booked if (row.site, row.meter) not in lost],
        )

    def _report(self, verdicts: Sequence[Verdict]) -> int:
        good = all(finding.good for finding in self._findings)
        if not good:
            self._options = replace(self._options, keep=True)
        code = super()._report(verdicts)
        for finding in self._findings:
            mark = "[green]✓[/green]" if finding.good else "[red]✗[/red]"
            self._console.print(f"{mark} {finding.text}", soft_wrap=True, highlight=False)
        return code if good else 1

    # ------------------------------------------------------------------------------- helpers

    @property
    def _clock(self) -> Path:
        return (self._options.work_dir / "clock.ms").resolve()

    def _set_clock(self, now_ms: int) -> None:
        self._offset_ms = now_ms - super()._wall_ms()
        self._clock.write_text(str(self._offset_ms), "ascii")

    async def _until(self, api: Api, online: int, what: str) -> None:
        deadline_s, left = time.monotonic() + GONE_S, 0
        while True:
            now = await api.now()
            if now is not None and now.edges_online == online and now.outbox_batches <= online:
                return
            if now is not None and now.outbox_batches != left:  # it goes on
                deadline_s, left = time.monotonic() + GONE_S, now.outbox_batches
            if time.monotonic() > deadline_s:
                raise DemoFailedError(f"not for {GONE_S:.0f} s: {what}")
            await asyncio.sleep(0.2)


async def rehearse(
    scenario: Scenario,
    path: Path,
    options: Options,
    console: Console,
    influx_port: int | None = None,
) -> int:
    """Play a scenario; says on stderr what went wrong. Returns the exit code."""
    console.print(f"{scenario.name_zh} {scenario.name_en}: {scenario.about}", highlight=False)
    try:
        return await Rehearsal(scenario, path, options, console, influx_port).run()
    except* (ProcessFailedError, DemoFailedError, httpx.HTTPError, OSError) as group:
        for error in group.exceptions:
            print(f"nenghao simulate: {error}", file=sys.stderr)
    print(f"nenghao simulate: logs are in {options.work_dir / 'logs'}", file=sys.stderr)
    return 1
