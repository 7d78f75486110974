"""Broker, store and aggregator as processes of their own, and what the kernel counts of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from simulators.demo.processes import free_port
from simulators.fleet.plan import Plan
from simulators.fleet.register import write_register
from simulators.fleet.run import Run
from tests.benchmarks.processes import child, mosquitto, peak_rss, wait_for_event
from tests.brokers import mosquitto_broker, wait_for_port
from tests.conftest import find_server
from tests.debian_influx import DebianInflux, debian_influx

CONFIG = """\
[aggregator]
regions = ["{region}"]
data_dir = "{folder}/store"
register = "{folder}/register"
factor_set = "demo"
[broker]
port = {broker}
[pace]
rollup_s = {rollup_s}
[api]
port = 0
[store]
"""
EMBEDDED = 'kind = "embedded"\n'
INFLUX = """\
kind = "influx1"
url = "{url}"
database = "nenghao"
username = "nenghao"
password_file = "{password}"
"""


@dataclass(frozen=True, slots=True)
class Plant:
    """Everything but the generator. watched: by name, `aggregator`, the broker's, the store's."""

    folder: Path
    broker: tuple[str, int]
    broker_name: str
    api: str
    watched: Mapping[str, psutil.Process]
    influx: DebianInflux | None
    start_s: float
    """How long the aggregator took to read its register and start [s]."""

    def store_bytes(self) -> int:
        """What the store holds on the disk, logs included [bytes]."""
        if self.influx is None:
            return _size(path for path in (self.folder / "store").glob("ledger.duckdb*"))
        return _size((self.folder / "influx").rglob("*"))

    def complaints(self) -> list[str]:
        """What the aggregator logged beyond information."""
        log = (self.folder / "aggregator.log").read_text("utf-8")
        return [line for line in log.splitlines() if '"level": "info"' not in line]


def _size(paths: Iterator[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


@contextmanager
def running(plan: Plan, store: str, rollup_s: float) -> Iterator[Plant]:
    """Start what a fleet needs: Debian's mosquitto, or the embedded broker where it is absent."""
    with tempfile.TemporaryDirectory(prefix="nenghao-scale-") as name, ExitStack() as stack:
        folder = Path(name)
        write_register(plan, folder / "register")
        watched: dict[str, psutil.Process] = {}
        if find_server("mosquitto") is not None:
            port, broker_name = stack.enter_context(mosquitto_broker(folder)).port, "mosquitto"
            watched[broker_name] = mosquitto()
        else:
            port, broker_name = free_port(), "iotcore (mosquitto is not installed)"
            log = folder / "broker.log"
            broker = stack.enter_context(child("simulators.demo.broker", [str(port)], log))
            wait_for_port(port)
            watched["iotcore"] = psutil.Process(broker.pid)
        config = CONFIG.format(region=plan.region, folder=folder, broker=port, rollup_s=rollup_s)
        influx: DebianInflux | None = None
        if store == "influx":
            influx = stack.enter_context(debian_influx(folder / "influx"))
            password = influx.secrets / "influxdb-nenghao"
            config += INFLUX.format(url=influx.url, password=password)
            (watched["influxd"],) = (
                p for p in psutil.Process().children() if p.name() == "influxd"
            )
        else:
            config += EMBEDDED
        (folder / "aggregator.toml").write_text(config, "utf-8")
        log, began_s = folder / "aggregator.log", time.monotonic()
        arguments = ["--config", str(folder / "aggregator.toml")]
        aggregator = stack.enter_context(child("aggregator", arguments, log))
        api = wait_for_event(log, "aggregator_started", aggregator)["api"]
        wait_for_event(log, "broker_connected", aggregator)
        watched["aggregator"] = psutil.Process(aggregator.pid)
        start_s = time.monotonic() - began_s
        watched["generator"] = psutil.Process()
        broker_at = ("127.0.0.1", port)
        yield Plant(folder, broker_at, broker_name, api, watched, influx, start_s)


@dataclass(slots=True)
class Usage:
    """What the processes took while a run was measuring. Is what a run calls each second."""

    plant: Plant
    seconds: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    thread_s: float = 0.0
    """CPU of the aggregator's busiest thread, which is the pipeline's."""
    other_cores: float = 0.0
    """Cores that processes which are none of ours took meanwhile."""
    store_bytes: int = 0
    """By how much the store grew."""
    rss: dict[str, int] = field(default_factory=dict)
    """Peak of each process ever [bytes]."""
    began: _Look | None = None

    def watch(self, run: Run) -> None:
        """Look at the processes where the measured time begins, and from then on."""
        if run.phase == "measuring" and self.began is None:
            self.began = _Look.of(self.plant)
        if run.phase == "measuring":
            self._until(_Look.of(self.plant))

    def _until(self, now: _Look) -> None:
        began = self.began
        assert began is not None
        self.seconds = now.at_s - began.at_s
        self.cpu_s = {name: cpu - began.cpu_s[name] for name, cpu in now.cpu_s.items()}
        self.thread_s = max(
            (cpu - began.threads_s.get(thread, 0.0) for thread, cpu in now.threads_s.items()),
            default=0.0,
        )
        if self.seconds:
            busy = (now.busy_s - began.busy_s - sum(self.cpu_s.values())) / self.seconds
            self.other_cores = max(0.0, busy)
        self.store_bytes = now.store_bytes - began.store_bytes
        self.rss = now.rss


@dataclass(frozen=True, slots=True)
class _Look:
    """What has been counted so far."""

    at_s: float
    cpu_s: Mapping[str, float]
    threads_s: Mapping[int, float]
    busy_s: float
    store_bytes: int
    rss: dict[str, int]

    @staticmethod
    def of(plant: Plant) -> _Look:
        machine = psutil.cpu_times()
        aggregator = plant.watched["aggregator"]
        return _Look(
            time.monotonic(),
            {name: sum(process.cpu_times()[:2]) for name, process in plant.watched.items()},
            {one.id: one.user_time + one.system_time for one in aggregator.threads()},
            sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice,
            plant.store_bytes(),
            {name: peak_rss(process.pid) for name, process in plant.watched.items()},
        )
