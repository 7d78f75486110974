"""The rounds of the doctor: polls each meter some times, looks at clock, disk, outbox, certificate.

Nothing is stored and nothing is sent. A running agent goes on; on a serial bus stop it first.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from contract.channels import catalogue
from contract.interval import DAY_MS
from contract.reading import Reading
from contract.units import MICRO
from edge_agent.agent import device_maps, make_pollers
from edge_agent.certificate import expires_ms
from edge_agent.clock import LinuxMachine, SystemClock
from edge_agent.config import EdgeConfig, MeterConfig
from edge_agent.doctor import Finding, answers, cycle_budget, outbox_health
from edge_agent.errors import OutboxError
from edge_agent.events import Event, MeterLost
from edge_agent.heartbeat import ENDS_SOON_MS
from edge_agent.maps.base import DeviceMap
from edge_agent.outbox.inspection import inspect
from edge_agent.poller import BusPoller
from edge_agent.probe.physics import Snapshot, gains
from edge_agent.wiring import counting, shown, wiring


class _Collected:
    """Keeps the first and the last value of each channel, and why meters were lost."""

    def __init__(self) -> None:
        self.first: dict[str, Snapshot] = {}
        self.last: dict[str, Snapshot] = {}
        self.reasons: dict[str, str] = {}

    def append(self, readings: Sequence[Reading]) -> None:
        """Take readings of one meter."""
        values = {
            r.channel: r.value / (MICRO if catalogue()[r.channel].cumulative else 1)
            for r in readings
        }
        taken = Snapshot(readings[0].time_ms / 1000, values)
        self.first.setdefault(readings[0].meter, taken)
        self.last[readings[0].meter] = taken

    def heard(self, event: Event) -> None:
        """Take an event of a poller."""
        if isinstance(event, MeterLost):
            self.reasons.setdefault(event.meter, event.reason)


async def examine(config: EdgeConfig, rounds: int, watch_s: float = 0.0) -> list[Finding]:
    """Look at everything; the findings in the order in which one would read them.

    `rounds` polls are spread over `watch_s` seconds.
    """
    clock, sink = SystemClock(), _Collected()
    maps = device_maps(config)
    # A dead meter is asked in each round, else its failures would tell nothing.
    impatient = replace(config, poll=replace(config.poll, backoff_max_s=0.0))
    pollers = make_pollers(impatient, maps, clock, sink, sink.heard)
    watches = [_rounds(poller, rounds, watch_s) for poller in pollers]
    findings: list[Finding] = []
    for poller, bus, (cycles, latencies) in zip(
        pollers, config.buses, await asyncio.gather(*watches), strict=True
    ):
        for meter in poller.meter_states():
            reason = sink.reasons.get(meter.id, "")
            taken = latencies.get(meter.id, ())
            findings.append(answers(meter.id, rounds, taken, meter.failures, reason))
        baud = bus.baud if bus.kind == "serial" else 0
        if latencies and bus.kind != "manual":  # where nobody answers, no time tells anything
            needed_s, period_s = max(cycles), config.poll.period_s
            findings.append(cycle_budget(bus.id, len(bus.meters), needed_s, period_s, baud))
        for meter_config in bus.meters:
            if meter_config.id in sink.last:
                findings += _values(meter_config, maps[meter_config.model], sink)
    findings += _clock(config)
    findings += _certificate(config, clock.time_ms())
    findings += _secrets(config)
    findings += _outbox(
        config, sum(len(maps[m.model].registers) for b in config.buses for m in b.meters)
    )
    return findings


async def _rounds(
    poller: BusPoller, rounds: int, watch_s: float
) -> tuple[list[float], dict[str, list[int]]]:
    """Poll a bus; how long each round took [s], and each meter's answers [ms]."""
    latencies: dict[str, list[int]] = {}
    cycles: list[float] = []
    try:
        for number in range(rounds):
            began = SystemClock().monotonic()
            answered = {meter.id: meter.last_ok_ms for meter in poller.meter_states()}
            await poller.poll_once()
            cycles.append(SystemClock().monotonic() - began)
            for meter in poller.meter_states():
                if meter.latency_ms is not None and meter.last_ok_ms != answered[meter.id]:
                    latencies.setdefault(meter.id, []).append(meter.latency_ms)
            if number < rounds - 1:
                await asyncio.sleep(max(0.0, watch_s / (rounds - 1) - cycles[-1]))
    finally:
        await poller.close()
    return cycles, latencies


def _values(meter: MeterConfig, device: DeviceMap, sink: _Collected) -> Iterator[Finding]:
    first, last = sink.first[meter.id], sink.last[meter.id]
    rating = meter.rating
    if rating is None and device.rating is not None:
        rating = float(device.rating)
    yield from shown(meter.id, last.values)
    yield from wiring(meter.id, last.values, rating if device.carrier == "electricity" else None)
    if last.at_s > first.at_s:
        yield from counting(meter.id, gains(device, first, last))


def _clock(config: EdgeConfig) -> Iterator[Finding]:
    machine = LinuxMachine()
    if machine.disciplined():
        yield Finding("clock", good=True, text="follows a time server")
        return
    hint = "" if config.edge.rtc else "readings after a start wait until the aggregator is heard"
    said = "a battery-backed clock" if config.edge.rtc else "neither time server nor battery"
    yield Finding("clock", good=config.edge.rtc, text=said, hint=hint)


def _certificate(config: EdgeConfig, now_ms: int) -> Iterator[Finding]:
    file = config.uplink.tls_certificate
    if file is None:
        return
    end_ms = expires_ms(file)
    if end_ms is None:
        yield Finding("certificate", good=False, text=f"{file} cannot be read")
        return
    days = (end_ms - now_ms) // DAY_MS
    good = end_ms - now_ms > ENDS_SOON_MS
    hint = "" if good else "have tls/request.csr signed again: nenghao edge enrol"
    yield Finding("certificate", good=good, text=f"holds {days} days more", hint=hint)


def _secrets(config: EdgeConfig) -> Iterator[Finding]:
    """Passwords and keys are for the agent's account alone."""
    for file in filter(None, (config.uplink.password_file, config.uplink.tls_key)):
        if file.stat().st_mode & 0o077:
            text = f"{file} can be read by others"
            yield Finding("secrets", good=False, text=text, hint=f"chmod 600 {file}")


def _outbox(config: EdgeConfig, channels: int) -> Iterator[Finding]:
    path = config.outbox_path
    try:
        found = inspect(path)
    except OutboxError as error:
        there = path.exists()
        yield Finding("outbox", good=not there, text=str(error) if there else "not made yet")
        return
    writable = os.access(path, os.W_OK)
    yield Finding(
        "disk",
        good=writable,
        text="can be written" if writable else "cannot be written",
        hint="" if writable else "read-only file system: the card is at its end",
    )
    if errors := _file_system_errors(path):
        text = f"the file system has counted {errors} errors"
        yield Finding("disk", good=False, text=text, hint="new SD card, after a copy of the outbox")
    yield from outbox_health(
        free_bytes=shutil.disk_usage(path.parent).free,
        used_bytes=found.used_bytes,
        limit_bytes=config.outbox.max_bytes,
        held_readings=found.held_readings,
        readings_a_day=channels * DAY_MS / config.poll.period_ms,
        bytes_a_day=_written_a_day(path),
        unacked=found.unacked_batches,
        lost=found.lost_batches,
    )


def _file_system_errors(path: Path) -> int:
    """Errors ext4 has noted in the file system of a file; 0 where none or not known."""
    device = path.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    try:
        return int(Path(f"/sys/fs/ext4/{name}/errors_count").read_text("ascii"))
    except (OSError, ValueError):
        return 0


def _written_a_day(path: Path) -> float | None:
    """Bytes a day that the running agent makes the kernel write; None when none runs."""
    try:
        pid = int(path.with_name(path.name + ".lock").read_text("ascii"))
        process = Path("/proc") / str(pid)
        lines = (process / "io").read_text("ascii").splitlines()
        written = next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
        ticks = int((process / "stat").read_text("utf-8").rpartition(")")[2].split()[19])
        age_s = SystemClock().uptime_s() - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return written / age_s * 86_400 if age_s > 60 else None
