"""An installation on real parts: meters, edges, broker, aggregator, store, and wires between them.

Each part is a process of its own that keeps its ports and its folder for the whole run, so that it
can be started again. What a fault does to them is in `acts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from contract.interval import MINUTE_MS
from simulators.chaos.faults import Targets
from simulators.chaos.proxy import Link
from simulators.chaos.servers import find_program, influxd_config, mosquitto_config
from simulators.demo.clients import Api, ask_control
from simulators.demo.conductor import aggregator_config
from simulators.demo.processes import Child, Processes, free_port, listens
from simulators.district import District, find_district, load_district
from simulators.server import Ports, read_ports
from simulators.workspace import EdgeFiles, Pace, write_edges, write_register

HOST = "127.0.0.1"
DISTRICT = "chaos"
DATABASE = "nenghao"
AGGREGATOR, BROKER, STORE = "aggregator", "broker", "store"
GRID_MIN = 1
COMMIT_S = 1.0
READY_S = 180.0
STEP_S = 60
ORIGIN_MS = 12 * 60 * MINUTE_MS
"""How far back the meters' totals go."""
_UPLINK = """\
[uplink]
keepalive_s = 5
publish_timeout_s = 2.0
ack_timeout_s = 1.0
ack_timeout_max_s = 3.0
reconnect_min_s = 0.2
reconnect_max_s = 1.0
"""


class ChaosError(RuntimeError):
    """The run could not be carried through; the message says what did not happen."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What takes part. broker: "mosquitto" or "embedded"; store: "embedded" or "influx"."""

    folder: Path
    broker: str
    store: str
    seed: int

    @property
    def influx(self) -> bool:
        """Whether a database server is the store."""
        return self.store == "influx"

    @property
    def abilities(self) -> tuple[str, ...]:
        """What `needs` of a kind of fault may ask for."""
        return (self.broker, self.store)


def targets_of(setting: Setting, edges: tuple[str, ...]) -> Targets:
    """What there is of each part."""
    return {
        "link": (*edges, AGGREGATOR),
        "edge": edges,
        "clock": edges,
        "broker": (BROKER,),
        "aggregator": (AGGREGATOR,),
        "store": (STORE,) if setting.influx else (),
    }


class World:
    """All parts of one run. At the end `stop`; nothing is left running then."""

    def __init__(self, setting: Setting) -> None:
        """Makes nothing yet."""
        self.setting = setting
        self.folder = setting.folder
        self.district: District = load_district(find_district(DISTRICT))
        self.running: dict[str, Child] = {}
        """What must run at this moment, by name."""
        self.links: dict[str, Link] = {}
        self.files: dict[str, EdgeFiles] = {}
        self.ports: Ports
        self.origin_ms: int
        self.broker_port, self.api_port, self.store_port = free_port(), free_port(), free_port()
        self.api = Api(f"http://{HOST}:{self.api_port}")
        self.processes = Processes(self.folder / "logs")
        self._log_begins: dict[str, int] = {}

    @property
    def edges(self) -> tuple[str, ...]:
        """All gateways."""
        return tuple(edge for site in self.district.sites for edge in site.edges)

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites."""
        return tuple(site.id for site in self.district.sites)

    def site_of(self, edge: str) -> str:
        """The site a gateway is at."""
        return next(site.id for site in self.district.sites if edge in site.edges)

    def data_dir(self, name: str) -> Path:
        """Where a gateway, the aggregator or the database keeps its files."""
        folders = {AGGREGATOR: "store", STORE: "influxdb"}
        return self.folder / folders.get(name, f"edges/{name}")

    def clock_file(self, edge: str) -> Path:
        """Holds by how much its wall clock is wrong [ms]."""
        return self.folder / f"{edge}.clock"

    # ---------------------------------------------------------------------------- beginning

    async def build(self) -> None:
        """Start meters and wires, write all configurations."""
        ports_file = self.folder / "ports.json"
        self.origin_ms = wall_ms() // MINUTE_MS * MINUTE_MS - ORIGIN_MS
        arguments = ["meters", "--district", DISTRICT, "--ports-file", str(ports_file)]
        arguments += [
            "--origin-ms",
            str(self.origin_ms),
            "--record",
            str(self.folder / "served.csv"),
        ]
        child = await self.processes.start("meters", "simulators", arguments)

        async def written() -> bool:
            return ports_file.exists()

        await self.processes.until_ready(child, written, READY_S)
        self.running["meters"] = child
        self.ports = read_ports(ports_file)
        for number, name in enumerate((*self.edges, AGGREGATOR)):
            await self._open_link(name, self.broker_port, number)
        if self.setting.influx:
            await self._open_link(STORE, self.store_port, len(self.links), mqtt=False)
        self._write_configurations()

    async def _open_link(self, name: str, upstream: int, number: int, *, mqtt: bool = True) -> None:
        seed = self.setting.seed * 100 + number
        self.links[name] = Link(HOST, free_port(), upstream, seed, mqtt=mqtt)
        await self.links[name].open()

    def _write_configurations(self) -> None:
        pace = Pace(poll_s=1.0, commit_s=COMMIT_S, state_s=1.0)
        broker = (HOST, self.broker_port)
        for files in write_edges(
            self.district, self.ports.meters, broker, self.folder / "edges", pace
        ):
            text = files.config.read_text("utf-8").replace("[uplink]\n", _UPLINK)
            text = text.replace("[poll]\n", "[poll]\nbackoff_max_s = 2.0\n")
            own = self.links[files.edge].port
            text = text.replace(f"port = {self.broker_port}\n", f"port = {own}\n")
            files.config.write_text(text, "utf-8")
            self.files[files.edge] = files
        write_register(self.district, self.folder / "register")
        store = ""
        if self.setting.influx:
            url = f"http://{HOST}:{self.links[STORE].port}"
            store = f'[store]\nkind = "influx1"\nurl = "{url}"\ndatabase = "{DATABASE}"\n'
        (self.folder / "aggregator.toml").write_text(
            aggregator_config(
                self.district.region,
                self.folder,
                (HOST, self.links[AGGREGATOR].port),
                self.api_port,
                grid_min=GRID_MIN,
                keepalive_s=5,
                rollup_s=0.5,
                store=store,
            ),
            "utf-8",
        )

    async def step(self, edge: str, from_ms: int, to_ms: int) -> None:
        """Let a gateway poll a stretch of the past beside its meters, without network."""
        arguments = ["run", "--config", str(self.files[edge].backlog_config)]
        arguments += ["--step-from", str(from_ms), "--step-to", str(to_ms)]
        arguments += ["--step-s", str(STEP_S)]
        arguments += ["--control", f"{self.ports.host}:{self.ports.edges[edge]}"]
        child = await self.processes.start(f"{edge}-steps", "edge_agent", arguments)
        await self.processes.finish(child)

    # ------------------------------------------------------------------------------- parts

    async def start(self, name: str) -> None:
        """Start an edge, "broker", "aggregator" or "store"; does not wait until it is ready."""
        log = self.folder / "logs" / f"{name}.log"
        self._log_begins[name] = log.stat().st_size if log.exists() else 0
        starts = {BROKER: self._start_broker, STORE: self._start_store}
        if name in starts:
            child = await starts[name]()
        elif name == AGGREGATOR:
            arguments = ["--config", str(self.folder / "aggregator.toml")]
            child = await self.processes.start(name, "aggregator", arguments)
        else:
            arguments = [str(self.clock_file(name)), "edge_agent", "run"]
            arguments += ["--config", str(self.files[name].config)]
            child = await self.processes.start(name, "simulators.demo.wallclock", arguments)
        self.running[name] = child

    async def ready(self, name: str) -> None:
        """Wait until a part that was started answers."""
        port = {BROKER: self.broker_port, STORE: self.store_port}.get(name)

        async def answers() -> bool:
            return await self.api.healthy() if port is None else await listens(HOST, port)

        await self.until(answers, f"{name} answers", READY_S)

    async def kill(self, name: str) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        child = self.running.pop(name)
        if not self._may_end(name, child):
            self.processes.check_running([child])
        with contextlib.suppress(ProcessLookupError):
            child.process.kill()
        await child.process.wait()

    async def end(self, name: str, within_s: float = 20.0) -> None:
        """SIGTERM, and an exit with 0; ProcessFailedError."""
        child = self.running.pop(name)
        await self.processes.stop([child], within_s)
        if name != STORE:  # influxd listens before it heeds the signal: then it ends by it
            await self.processes.finish(child)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part that runs."""
        with contextlib.suppress(ProcessLookupError):
            self.running[name].process.send_signal(number)

    def limit_queue(self, messages: int) -> None:
        """Let mosquitto keep so many messages for a slow client; 0: any number. Not iotcore."""
        self._broker_conf.write_text(
            mosquitto_config(self.broker_port, self.broker_folder, queued=messages), "utf-8"
        )

    @property
    def broker_folder(self) -> Path:
        """What the broker keeps."""
        return self.folder / "broker"

    @property
    def _broker_conf(self) -> Path:
        return self.folder / "mosquitto.conf"

    async def _start_broker(self) -> Child:
        self.broker_folder.mkdir(exist_ok=True)
        if self.setting.broker == "embedded":
            arguments = [str(self.broker_port)]
            return await self.processes.start(BROKER, "simulators.demo.broker", arguments)
        if not self._broker_conf.exists():
            self.limit_queue(0)
        arguments = [program("mosquitto"), "-c", str(self._broker_conf)]
        return await self.processes.start(BROKER, "--", arguments)

    async def _start_store(self) -> Child:
        config = self.folder / "influxdb.conf"
        text = influxd_config(self.data_dir(STORE), self.store_port, free_port())
        config.write_text(text, "utf-8")
        arguments = [program("influxd"), "run", "-config", str(config)]
        return await self.processes.start(STORE, "--", arguments)

    # -------------------------------------------------------------------------- conditions

    async def watch(self) -> None:
        """ProcessFailedError when something has ended that must run.

        An aggregator that ends before it has begun, since store or disk are away, is started again,
        as its unit does (deploy/debian).
        """
        for name, child in list(self.running.items()):
            if not child.running and self._may_end(name, child):
                await self.start(name)
            else:
                self.processes.check_running([child])

    def _may_end(self, name: str, child: Child) -> bool:
        with child.log.open("rb") as log:
            log.seek(self._log_begins.get(name, 0))
            return name == AGGREGATOR and b'"aggregator_started"' not in log.read()

    async def until(
        self, condition: Callable[[], Awaitable[object]], what: str, within_s: float
    ) -> None:
        """Ask again and again until it holds; ChaosError when it does not in time."""
        ends_s = time.monotonic() + within_s
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if await condition():
                    return
            await self.watch()
            if time.monotonic() > ends_s:
                raise ChaosError(f"not within {within_s:g} s: {what}")
            await asyncio.sleep(0.1)

    async def control(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        """Ask the simulated meters something."""
        return await ask_control(self.ports.host, self.ports.control, request)

    async def outbox(self, edge: str) -> Mapping[str, Any]:
        """What an edge's outbox holds, as `nenghao edge show-outbox` tells it."""
        lines: list[str] = []
        arguments = ["show-outbox", "--config", str(self.files[edge].config), "--json"]
        child = await self.processes.start(f"{edge}-outbox", "edge_agent", arguments, lines.append)
        await self.processes.finish(child)
        shown: Mapping[str, Any] = json.loads("".join(lines))
        return shown

    def freeze(self) -> None:
        """SIGKILL to all: files stay as they are at this moment."""
        for child in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()

    async def stop(self) -> None:
        """End whatever runs."""
        for child in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGCONT)
        await self.processes.stop_all()
        for link in self.links.values():
            await link.close()
        await self.api.aclose()


def program(name: str) -> str:
    """Path of a server's program; ChaosError where it is not installed."""
    found = find_program(name)
    if found is None:
        package = {"influxd": "influxdb"}.get(name, name)
        raise ChaosError(f"{name} is not installed (apt install {package})")
    return found


def wall_ms() -> int:
    """Now [UTC ms]."""
    return time.time_ns() // 1_000_000
