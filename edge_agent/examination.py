"""The rounds of the doctor: polls each meter some times, looks at clock, disk, outbox, certificate.

Nothing is stored and nothing is sent. A running agent goes on; on a serial bus stop it first.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from contract.interval import DAY_MS
from contract.reading import Reading
from edge_agent.agent import device_maps, make_pollers
from edge_agent.certificate import expires_ms
from edge_agent.clock import LinuxMachine, SystemClock
from edge_agent.config import EdgeConfig
from edge_agent.doctor import Finding, cycle_budget, histogram, outbox_health, wiring
from edge_agent.errors import OutboxError
from edge_agent.outbox.inspection import inspect
from edge_agent.poller import BusPoller

CERTIFICATE_ALARM_MS = 30 * DAY_MS


class _Collected:
    """Keeps the last value of each channel."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, float]] = {}

    def append(self, readings: Sequence[Reading]) -> None:
        """Take readings of one meter."""
        for reading in readings:
            self.values.setdefault(reading.meter, {})[reading.channel] = float(reading.value)


async def examine(config: EdgeConfig, rounds: int) -> list[Finding]:
    """Look at everything; the findings in the order in which one would read them."""
    clock, sink = SystemClock(), _Collected()
    pollers = make_pollers(config, device_maps(config), clock, sink, lambda _: None)
    findings: list[Finding] = []
    for poller in pollers:
        findings += await _bus(poller, config.poll.period_s, rounds)
    for meter, values in sink.values.items():
        findings += wiring(meter, values)
    findings += _clock(config)
    findings += _certificate(config, clock.time_ms())
    findings += _outbox(config)
    return findings


async def _bus(poller: BusPoller, period_s: float, rounds: int) -> list[Finding]:
    latencies: dict[str, list[int]] = {}
    cycles: list[float] = []
    try:
        for _ in range(rounds):
            began = SystemClock().monotonic()
            answered = {meter.id: meter.last_ok_ms for meter in poller.meter_states()}
            await poller.poll_once()
            cycles.append(SystemClock().monotonic() - began)
            for meter in poller.meter_states():
                if meter.latency_ms is not None and meter.last_ok_ms != answered[meter.id]:
                    latencies.setdefault(meter.id, []).append(meter.latency_ms)
    finally:
        await poller.close()
    findings = []
    for meter in poller.meter_states():
        failures = ", ".join(f"{kind} {count}" for kind, count in meter.failures.items() if count)
        text = f"{len(latencies.get(meter.id, ()))} of {rounds} polls answered"
        text += f" ({failures})" * bool(failures)
        hint = "" if meter.ok else _hint(meter.failures)
        findings.append(Finding(meter.id, good=meter.ok, text=text, hint=hint))
    times = [max(cycles) / max(1, len(latencies))] * len(latencies)
    findings.append(cycle_budget(poller.id, times, period_s))
    shown = histogram(value for values in latencies.values() for value in values)
    findings.append(Finding(poller.id, good=True, text=f"answers: {shown}"))
    return findings


def _hint(failures: object) -> str:
    kinds = failures if isinstance(failures, dict) else {}
    if kinds.get("connection"):
        return "nothing listens there: address, port, cable, power of the gateway"
    if kinds.get("timeout"):
        return "no answer: unit address, baud rate and parity, A and B swapped, termination"
    if kinds.get("exception"):
        return "the meter refuses registers of this map: another model or firmware"
    return "frames arrive damaged: CRC errors come from noise, missing ground, wrong baud rate"


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
    good = end_ms - now_ms > CERTIFICATE_ALARM_MS
    hint = "" if good else "have tls/request.csr signed again: nenghao edge enrol"
    yield Finding("certificate", good=good, text=f"holds {days} days more", hint=hint)


def _outbox(config: EdgeConfig) -> Iterator[Finding]:
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
    yield from outbox_health(
        free_bytes=shutil.disk_usage(path.parent).free,
        used_bytes=found.used_bytes,
        limit_bytes=config.outbox.max_bytes,
        bytes_a_day=_written_a_day(path),
        unacked=found.unacked_batches,
        lost=found.lost_batches,
    )


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
