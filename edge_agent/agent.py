"""Composition root of the edge agent: the only file that knows the concrete classes.

::

    pollers --append--> outbox --notify--> uplink <--> broker
                          ^ commit, every period

Shutdown order: polling stops, the outbox commits, the uplink drains (bounded) and says offline,
the outbox closes. Whatever fails, what was read is committed before the file is closed.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from contract.meta import Meta, encode_meta
from contract.topics import Address
from edge_agent.clock import Clock
from edge_agent.config import EdgeConfig
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import ConfigError, OutboxError, Problem
from edge_agent.events import (
    AgentStarted,
    AgentStopped,
    CommitFailed,
    CommitRecovered,
    Emit,
    ReadingsDropped,
    UnackedEvicted,
)
from edge_agent.heartbeat import Heartbeat, agent_versions
from edge_agent.links.registry import PROTOCOLS, make_link
from edge_agent.maps.base import DeviceMap
from edge_agent.outbox.base import Outbox
from edge_agent.outbox.sqlite import SqliteOutbox
from edge_agent.poller import BusPoller, Sink, build_pollers
from edge_agent.registers import load_device_maps, meta_meter
from edge_agent.uplink import Uplink

MAX_PENDING_READINGS = 50_000
"""Uncommitted readings kept in memory while the outbox does not take them: about 10 MB."""


def device_maps(config: EdgeConfig) -> dict[str, DeviceMap]:
    """The maps of all configured models; ConfigError with all that does not fit together."""
    devices = load_device_maps(meter.model for bus in config.buses for meter in bus.meters)
    problems = list(_misfits(config, devices))
    if problems:
        raise ConfigError("", problems)  # the keys are the configuration's own
    return devices


def _misfits(config: EdgeConfig, devices: dict[str, DeviceMap]) -> Iterator[Problem]:
    """Meters that cannot be on their bus, or cannot be asked as they are configured."""
    for i, bus in enumerate(config.buses):
        for j, meter in enumerate(bus.meters):
            device = devices[meter.model]
            if device.protocol not in PROTOCOLS[bus.kind]:
                fits = ", ".join(k for k, spoken in PROTOCOLS.items() if device.protocol in spoken)
                reason = f"{meter.model} speaks {device.protocol}: its bus must be one of {fits}"
                yield Problem(f"bus[{i}].meter[{j}].model", reason)
                continue
            try:
                make_decoder(meter, device, by_hand=bus.kind == "manual")
            except ValueError as error:
                yield Problem(f"bus[{i}].meter[{j}].address", str(error))


def build_meta(config: EdgeConfig, devices: dict[str, DeviceMap]) -> bytes:
    """Payload of the meta: what this edge reads. ConfigError when the contract does not take it."""
    meters = [meta_meter(m, devices[m.model]) for bus in config.buses for m in bus.meters]
    try:
        return encode_meta(Meta(tuple(meters)))
    except ValueError as error:
        reason = f"{len(meters)} meters make no meta of one edge: {error}"
        raise ConfigError(config.edge.id, [Problem("bus", reason)]) from error


def open_outbox(config: EdgeConfig, emit: Emit) -> SqliteOutbox:
    """The durable outbox of this configuration. OutboxError when it cannot be had."""
    return SqliteOutbox(
        config.outbox_path,
        config.outbox.max_bytes,
        config.outbox.max_days,
        lambda first, last, readings: emit(UnackedEvicted(first, last, readings)),
    )


def make_pollers(
    config: EdgeConfig, devices: dict[str, DeviceMap], clock: Clock, sink: Sink, emit: Emit
) -> tuple[BusPoller, ...]:
    """One poller per bus."""
    return build_pollers(config.buses, config.poll, devices, make_link, clock, sink, emit)


class Committer:
    """Makes readings durable every period, and bears it when the disk does not take them."""

    def __init__(self, outbox: Outbox, clock: Clock, emit: Emit, period_s: float) -> None:
        self._outbox = outbox
        self._clock = clock
        self._emit = emit
        self._period_s = period_s
        self._failing = False
        self._dropped = 0

    async def run(self, uplink: Uplink) -> None:
        """Commit and notify the uplink, for ever."""
        while True:
            await asyncio.sleep(self._period_s)
            if self.commit():
                uplink.notify()

    def commit(self) -> bool:
        """Commit once; True when there are new batches."""
        try:
            written = self._outbox.commit(self._clock.time_ms())
        except OutboxError as error:
            if not self._failing:
                self._failing = True
                self._emit(CommitFailed(str(error)))
            dropped = self._outbox.drop_pending(MAX_PENDING_READINGS)
            if dropped and not self._dropped:
                self._emit(ReadingsDropped(dropped))
            self._dropped += dropped
            return False
        if self._failing:
            self._emit(CommitRecovered(self._dropped))
            self._failing = False
            self._dropped = 0
        return len(written) > 0


async def run_agent(config: EdgeConfig, clock: Clock, emit: Emit, stop: asyncio.Event) -> None:
    """Poll, buffer and forward until `stop` is set; then end in order.

    Raises ConfigError or OutboxError before anything is polled; later errors as they come.
    """
    devices = device_maps(config)
    meta = build_meta(config, devices)
    outbox = open_outbox(config, emit)
    with contextlib.closing(outbox):
        outbox.use_meta(meta)
        pollers = make_pollers(config, devices, clock, outbox, emit)
        heartbeat = Heartbeat(outbox, clock, pollers, config.uplink.tls_certificate)
        committer = Committer(outbox, clock, emit, config.uplink.commit_period_s)
        uplink = Uplink(
            config.uplink,
            Address(config.edge.region, config.edge.site, config.edge.id),
            outbox,
            clock,
            emit,
            lambda: heartbeat.payload(uplink.counts(), uplink.clock_offset_ms()),
        )
        emit(
            AgentStarted(
                edge=config.edge.id,
                outbox=outbox.id,
                version=agent_versions()["agent"],
                meters=sum(len(bus.meters) for bus in config.buses),
                held=outbox.stats().depth_batches,
            )
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(uplink.run())
                reading = [tasks.create_task(poller.run()) for poller in pollers]
                reading.append(tasks.create_task(committer.run(uplink)))
                await stop.wait()
                for task in reading:
                    task.cancel()
                await asyncio.wait(reading)
                committer.commit()
                uplink.notify()
                uplink.stop(config.uplink.drain_s)
                await sending
        finally:
            committer.commit()
            emit(AgentStopped(outbox.stats().depth_batches))
