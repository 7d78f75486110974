"""Composition root of the edge agent: the only file that knows the concrete classes.

::

    pollers --append--> outbox --notify--> uplink <--> broker
                          ^ commit, every period

Shutdown order: polling stops, the outbox commits, the uplink drains (bounded) and says offline,
the outbox closes. Whatever fails, what was read is committed before the file is closed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from contract.command import Reply
from contract.meta import Meta, encode_meta
from contract.topics import Address
from edge_agent.clock import Clock, save_offset
from edge_agent.commands import Commands
from edge_agent.committer import Committer, TimedSink
from edge_agent.config import EdgeConfig, missing_files
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import (
    ConfigError,
    OutboxError,
    OutboxLockedError,
    Problem,
)
from edge_agent.events import (
    AgentStarted,
    AgentStopped,
    ClockSynchronised,
    ClockUnknown,
    ConfigurationChanged,
    Emit,
    OutboxSalvaged,
    OutboxVolatile,
    ReadingsThinned,
    UnackedEvicted,
)
from edge_agent.gaps import Since
from edge_agent.heartbeat import Heartbeat, agent_versions
from edge_agent.links.registry import PROTOCOLS, make_link
from edge_agent.maps.base import DeviceMap
from edge_agent.orders import Orders
from edge_agent.outbox.base import MemoryOutbox, Outbox
from edge_agent.outbox.sqlite import SqliteOutbox
from edge_agent.poller import BusPoller, Sink, build_pollers
from edge_agent.registers import load_device_maps, meta_meter
from edge_agent.timekeeping import Offset, Timekeeper
from edge_agent.trial import Trials
from edge_agent.uplink import Uplink

VOLATILE_BYTES = 16 << 20
"""Room of an outbox that has only memory."""
DISK_RETRY_S = 60.0
"""How often an agent that has only memory looks whether its disk can be written again."""


def device_maps(config: EdgeConfig) -> dict[str, DeviceMap]:
    """The maps of all configured models; ConfigError with all that does not fit together."""
    models = [meter.model for bus in config.buses for meter in bus.meters]
    devices = load_device_maps(models, config.edge.devices_dir)
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


def open_outbox(config: EdgeConfig, emit: Emit) -> Outbox:
    """The durable outbox of this configuration; one in memory where the disk cannot be written.

    OutboxLockedError when another agent has it.
    """
    try:
        return _outbox_on_disk(config, emit)
    except OutboxLockedError:
        raise
    except OutboxError as error:
        emit(OutboxVolatile(str(error)))
        return MemoryOutbox(
            VOLATILE_BYTES,
            config.outbox.max_days,
            lambda first, last, readings: emit(UnackedEvicted(first, last, readings)),
        )


def _outbox_on_disk(config: EdgeConfig, emit: Emit) -> Outbox:
    return SqliteOutbox(
        config.outbox_path,
        config.outbox.max_bytes,
        config.outbox.max_days,
        lambda first, last, readings: emit(UnackedEvicted(first, last, readings)),
        lambda first, last, readings: emit(ReadingsThinned(first, last, readings)),
        lambda saved: emit(
            OutboxSalvaged(
                saved.reason, saved.batches, saved.readings, saved.lost, str(saved.damaged)
            )
        ),
    )


async def _disk_again(config: EdgeConfig, outbox: Outbox, emit: Emit) -> None:
    """Return when an outbox in memory can be left for the disk: it is writable, nothing waits."""
    while True:
        await asyncio.sleep(DISK_RETRY_S)
        if outbox.stats().depth_batches == 0:
            with contextlib.suppress(OutboxError):
                _outbox_on_disk(config, emit).close()
                return


def make_pollers(
    config: EdgeConfig,
    devices: dict[str, DeviceMap],
    clock: Clock,
    sink: Sink,
    emit: Emit,
    since: Since | None = None,
) -> tuple[BusPoller, ...]:
    """One poller per bus; `since` = what is known of the time before this process."""
    return build_pollers(config.buses, config.poll, devices, make_link, clock, sink, emit, since)


async def run_agent(
    config: EdgeConfig,
    clock: Clock,
    emit: Emit,
    stop: asyncio.Event,
    keeper: Timekeeper | None = None,
    file: Path | None = None,
) -> bool:
    """Poll, buffer and forward until `stop` is set or a command asks; then end in order.

    `keeper` is that of the clock; without one the clock is believed. `file` is the configuration's.
    Returns True when the agent is to begin anew. Raises ConfigError or OutboxError before anything
    is polled; later errors as they come.
    """
    devices = device_maps(config)
    meta = build_meta(config, devices)
    outbox = open_outbox(config, emit)
    with contextlib.closing(outbox):
        outbox.use_meta(meta)
        sink = outbox if keeper is None else TimedSink(outbox, keeper)
        since = Since(outbox.newest_ms(), lambda: keeper is None or keeper.known)
        pollers = make_pollers(config, devices, clock, sink, emit, since)
        committer = Committer(outbox, clock, emit, config.uplink.commit_period_s, keeper)
        trials = Trials(file or config.edge.data_dir / "none", config.edge.data_dir)
        again = asyncio.Event()
        heard = asyncio.Event()
        known = asyncio.Event()

        def commit() -> None:
            committer.commit()
            uplink.notify()

        def told(time_ms: int, sent_s: float, now_s: float) -> None:
            heard.set()
            if keeper is not None:
                keeper.heard(time_ms, sent_s, now_s)

        def begin_anew() -> None:
            again.set()
            stop.set()

        orders = Orders(config, file, pollers, outbox, commit, trials, build_check, begin_anew)
        commands = Commands(
            orders.handlers(),
            clock,
            emit,
            knows_time=lambda: keeper is None or keeper.offset is not None,
            after={"restart": begin_anew},
        )
        heartbeat = Heartbeat(
            outbox,
            clock,
            pollers,
            config.uplink.tls_certificate,
            lambda: "rtc" if keeper is None else keeper.source,
            emit,
        )
        uplink = Uplink(
            config.uplink,
            Address(config.edge.region, config.edge.site, config.edge.id),
            outbox,
            clock,
            emit,
            lambda: heartbeat.payload(uplink.counts(), uplink.clock_offset_ms()),
            commands,
            told,
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
        if keeper is not None:
            _watch_time(keeper, known, config.edge.data_dir / "clock.json", outbox, emit)
        probation = _Probation(trials, commands, clock, emit, begin_anew)

        async def return_to_disk() -> None:
            await _disk_again(config, outbox, emit)
            begin_anew()

        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(uplink.run())
                reading = [tasks.create_task(poller.run()) for poller in pollers]
                reading.append(tasks.create_task(committer.run(uplink.notify)))
                reading.append(tasks.create_task(committer.release(uplink.notify, known)))
                reading.append(tasks.create_task(probation.run(heard)))
                if not outbox.durable:
                    reading.append(tasks.create_task(return_to_disk()))
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
        return again.is_set()


def build_check(config: EdgeConfig) -> None:
    """ConfigError when no agent could run with this configuration on this machine."""
    build_meta(config, device_maps(config))
    if problems := missing_files(config):
        raise ConfigError(config.edge.id, problems)


def _watch_time(
    keeper: Timekeeper, known: asyncio.Event, file: Path, outbox: Outbox, emit: Emit
) -> None:
    """Tell and save what the time is known from."""

    def changed(offset: Offset) -> None:
        emit(ClockSynchronised(offset.source, outbox.stats().timeless_readings))
        known.set()
        with contextlib.suppress(OSError):  # known to the next process a little later
            save_offset(file, keeper.boot, offset)

    keeper.changed = changed
    offset = keeper.offset
    if offset is None:
        emit(ClockUnknown(keeper.boot))
    else:
        changed(offset)


class _Probation:
    """Decides on a pushed configuration: kept when the aggregator is heard in time."""

    def __init__(
        self,
        trials: Trials,
        commands: Commands,
        clock: Clock,
        emit: Emit,
        begin_anew: Callable[[], None],
    ) -> None:
        self._trials = trials
        self._commands = commands
        self._clock = clock
        self._emit = emit
        self._begin_anew = begin_anew

    async def run(self, heard: asyncio.Event) -> None:
        """End the trial, if there is one."""
        if (told := self._trials.taken_back()) is not None:
            self._owe(told[0], ok=False, reason=told[1])
        trial = self._trials.begin()
        if trial is None:
            return
        reason = trial.refused
        if not reason:
            try:
                await asyncio.wait_for(heard.wait(), trial.trial_s)
            except TimeoutError:
                reason = f"the aggregator was not heard within {trial.trial_s:g} s"
        self._emit(ConfigurationChanged(not reason, reason))
        if reason:
            self._trials.take_back(trial.id, reason)
            self._begin_anew()
        else:
            self._trials.keep()
            self._owe(trial.id, ok=True, reason="")

    def _owe(self, command: str, *, ok: bool, reason: str) -> None:
        result = {"kept": True} if ok else {}
        error = f"taken back: {reason}" if reason else ""
        self._commands.owe(Reply(command, self._clock.time_ms(), ok, result, error))
