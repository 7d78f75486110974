"""Composition root of the edge agent: the only file that knows the concrete classes.

::

    pollers --append--> outbox --notify--> uplink <--> broker
                          ^ commit, every period

Shutdown order: polling stops, the outbox commits, the uplink drains (bounded) and says offline,
the outbox closes. Whatever fails, what was read is committed before the file is closed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from contract.command import Reply
from contract.meta import Meta, encode_meta
from contract.reading import Quality, Reading
from contract.topics import Address
from edge_agent.clock import Clock, save_offset
from edge_agent.commands import Commands
from edge_agent.config import EdgeConfig, missing_files
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import (
    ConfigError,
    OutboxError,
    OutboxFullError,
    OutboxLockedError,
    Problem,
)
from edge_agent.events import (
    AgentStarted,
    AgentStopped,
    ClockSynchronised,
    ClockUnknown,
    CommitFailed,
    CommitRecovered,
    ConfigurationChanged,
    Emit,
    OutboxFilling,
    OutboxSalvaged,
    OutboxVolatile,
    ReadingsDropped,
    ReadingsThinned,
    UnackedEvicted,
)
from edge_agent.gaps import Since
from edge_agent.heartbeat import Heartbeat, agent_versions
from edge_agent.links.registry import PROTOCOLS, make_link
from edge_agent.maps.base import DeviceMap
from edge_agent.orders import Orders
from edge_agent.outbox.base import MemoryOutbox, Outbox, moved
from edge_agent.outbox.sqlite import SqliteOutbox
from edge_agent.poller import BusPoller, Sink, build_pollers
from edge_agent.registers import load_device_maps, meta_meter
from edge_agent.timekeeping import Offset, Timekeeper
from edge_agent.trial import Trials
from edge_agent.uplink import Uplink

MAX_PENDING_READINGS = 50_000
"""Uncommitted readings kept in memory while the outbox does not take them: about 10 MB."""


NOT_OURS = frozenset({Quality.MANUAL, Quality.FREEZE})
"""Readings whose time does not come from the gateway's clock."""
VOLATILE_BYTES = 16 << 20
"""Room of an outbox that has only memory."""
STUCK_S = 600.0
"""After so long without a commit, for another reason than a full disk, the agent ends: started
again, it keeps readings in memory and sends them."""


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
    except OutboxLockedError:
        raise
    except OutboxError as error:
        emit(OutboxVolatile(str(error)))
        return MemoryOutbox(
            VOLATILE_BYTES,
            config.outbox.max_days,
            lambda first, last, readings: emit(UnackedEvicted(first, last, readings)),
        )


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


class TimedSink:
    """Gives readings to the outbox, or has them held while no source tells the time."""

    def __init__(self, outbox: Outbox, keeper: Timekeeper) -> None:
        self._outbox = outbox
        self._keeper = keeper

    def append(self, readings: Sequence[Reading]) -> None:
        """Take readings whose times were asked of the keeper just now, or are somebody else's.

        What a meter froze or a person wrote down bears a time that no clock here has made.
        """
        if self._keeper.known:
            self._outbox.append(readings)
            return
        timed = [reading for reading in readings if reading.quality in NOT_OURS]
        if timed:
            self._outbox.append(timed)
        ours = [reading for reading in readings if reading.quality not in NOT_OURS]
        since_boot = moved(ours, -self._keeper.guess_ms, None)
        self._outbox.hold(since_boot, self._keeper.boot, self._keeper.guess_ms)


class Committer:
    """Makes readings durable every period, and bears it when the disk does not take them."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        emit: Emit,
        period_s: float,
        keeper: Timekeeper | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._emit = emit
        self._period_s = period_s
        self._keeper = keeper
        self._failing_since: float | None = None
        self._dropped = 0
        self._alarm = 0

    async def run(self, uplink: Uplink) -> None:
        """Commit and notify the uplink, for ever. OutboxError when the disk is gone for good."""
        while True:
            await asyncio.sleep(self._period_s)
            if self.commit():
                uplink.notify()

    async def release(self, uplink: Uplink, known: asyncio.Event) -> None:
        """Number held readings as soon as their time is known, some at a time."""
        keeper = self._keeper
        if keeper is None:
            return
        for boot in self._outbox.held_boots():
            if boot != keeper.boot:
                await self._place(boot, None)
        while True:
            await known.wait()
            known.clear()
            if keeper.offset is not None:
                await self._place(keeper.boot, keeper.offset.ms)
            self.commit()
            uplink.notify()

    async def _place(self, boot: str, offset_ms: int | None) -> None:
        """Number all held readings of a boot, however long the disk does not take them."""
        while True:
            try:
                while self._outbox.release(boot, offset_ms):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            except OutboxError:
                self.commit()  # which tells of it, and ends the agent when it lasts
                await asyncio.sleep(self._period_s)
            else:
                return

    def commit(self) -> bool:
        """Commit once; True when there are new batches."""
        now_s = self._clock.monotonic()
        # Nothing is old by a clock that is not believed.
        timed = self._keeper is None or self._keeper.offset is not None
        try:
            written = self._outbox.commit(self._clock.time_ms() if timed else 0)
        except OutboxError as error:
            if self._failing_since is None:
                self._failing_since = now_s
                self._emit(CommitFailed(str(error)))
            dropped = self._outbox.drop_pending(MAX_PENDING_READINGS)
            if dropped and not self._dropped:
                self._emit(ReadingsDropped(dropped))
            self._dropped += dropped
            full = isinstance(error, OutboxFullError)
            if not full and now_s - self._failing_since > STUCK_S:
                raise
            return False
        if self._failing_since is not None:
            self._emit(CommitRecovered(self._dropped))
            self._failing_since = None
            self._dropped = 0
        self._watch()
        return len(written) > 0

    def _watch(self) -> None:
        alarm = self._outbox.stats().alarm_percent
        if alarm != self._alarm:
            self._alarm = alarm
            self._emit(OutboxFilling(alarm))


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
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(uplink.run())
                reading = [tasks.create_task(poller.run()) for poller in pollers]
                reading.append(tasks.create_task(committer.run(uplink)))
                reading.append(tasks.create_task(committer.release(uplink, known)))
                reading.append(tasks.create_task(probation.run(heard)))
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
