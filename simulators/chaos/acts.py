"""What a fault does to the parts, and what heals it: one pair of functions per kind."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import shutil
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable

from simulators.chaos.faults import Fault
from simulators.chaos.power import cut_power
from simulators.chaos.proof import Lost
from simulators.chaos.world import AGGREGATOR, BROKER, COMMIT_S, STORE, World, wall_ms

FULL_BYTES = 4096
"""No file of a process on a full disk grows beyond this."""
SLICE_S = 0.1
SLACK_MS = 5_000
"""An answer of a meter reaches the outbox within this and a commit's period, on a busy machine."""
SECOND_MS = 1_000
"""A display's second is younger than this."""


class Acts:
    """Begins and heals faults in a world; keeps what they excuse."""

    def __init__(self, world: World) -> None:
        """`lost` says which readings may have been lost, by docs/delivery.md."""
        self.lost: list[Lost] = []
        self.jumps_ms: dict[str, set[int]] = defaultdict(set)
        """Edge -> by how much its wall clock was wrong, and with it the times of its log."""
        self.touched: dict[Fault, int] = {}
        """What a wire's trouble hit until it was mended, see `counts` of its kind."""
        self._world = world
        self._slow: asyncio.Task[None] | None = None
        self._limits: dict[int, tuple[int, int]] = {}
        """Process -> what its files could grow to before."""
        both: dict[str, tuple[Callable[[Fault], Awaitable[None]], ...]] = {
            "edge-kill": (self._kill, self._start),
            "edge-power-cut": (self._cut_power, self._start),
            "edge-pause": (self._pause, self._resume),
            "edge-disk-full": (self._fill, self._empty),
            "edge-clock-jump": (self._jump, self._set_right),
            "broker-kill": (self._kill, self._start),
            "broker-disk-lost": (self._lose_disk, self._start),
            "broker-queue-limit": (self._limit_queue, self._unlimit_queue),
            "aggregator-kill": (self._kill, self._start),
            "aggregator-power-cut": (self._cut_power, self._start),
            "aggregator-pause": (self._pause, self._resume),
            "aggregator-slow": (self._slow_down, self._speed_up),
            "aggregator-disk-full": (self._fill, self._empty),
            "store-kill": (self._kill, self._begin_twice),
            "store-power-cut": (self._cut_power, self._begin_twice),
            "store-restart": (self._end, self._begin_twice),
            "store-pause": (self._pause, self._resume),
            "store-full": (self._fill, self._restart),
        }
        for trouble in ("cut", "half-open", "slow", "reorder", "duplicate", "drop"):
            both[f"network-{trouble}"] = (self._spoil, self._mend)
        for trouble in ("cut", "slow"):
            both[f"store-{trouble}"] = (self._spoil, self._mend)
        self.known = both

    async def begin(self, fault: Fault) -> None:
        """Let it happen."""
        await self.known[fault.kind][0](fault)

    async def heal(self, fault: Fault) -> None:
        """Put right what can be; what was lost stays lost."""
        await self.known[fault.kind][1](fault)

    # ------------------------------------------------------------------------------ wires

    async def _spoil(self, fault: Fault) -> None:
        trouble = fault.kind.partition("-")[2]
        self._world.links[fault.target].spoil(trouble, fault.amount)

    async def _mend(self, fault: Fault) -> None:
        self.touched[fault] = self._world.links[fault.target].mend()

    # -------------------------------------------------------------------------- processes

    async def _kill(self, fault: Fault) -> None:
        began_ms = wall_ms()
        await self._world.kill(fault.target)
        if fault.part == "edge":  # what it had been told and had not committed is gone
            from_ms = began_ms - round(COMMIT_S * 1000) - SLACK_MS
            self.lost.append(Lost(fault.target, from_ms, wall_ms() + SECOND_MS))

    async def _end(self, fault: Fault) -> None:
        await self._world.end(fault.target)

    async def _start(self, fault: Fault) -> None:
        await self._world.start(fault.target)

    async def _restart(self, fault: Fault) -> None:
        """Of influxd 1.x, whose log refuses every write after one that failed."""
        await self._empty(fault)
        await self._end(fault)
        await self._begin_twice(fault)

    async def _begin_twice(self, fault: Fault) -> None:
        """As the unit of influxd 1.x does, see deploy/debian/influx-settle: a torn log is cut short
        before anybody writes.
        """
        link = self._world.links[STORE]
        link.spoil("cut", None)
        await self._start(fault)
        await self._world.ready(STORE)
        await self._end(fault)
        await self._start(fault)
        await self._world.ready(STORE)
        link.mend()

    async def _pause(self, fault: Fault) -> None:
        self._world.signal(fault.target, signal.SIGSTOP)

    async def _resume(self, fault: Fault) -> None:
        self._world.signal(fault.target, signal.SIGCONT)

    async def _slow_down(self, fault: Fault) -> None:
        async def hold_up(stopped_s: float) -> None:
            while True:
                self._world.signal(AGGREGATOR, signal.SIGSTOP)
                await asyncio.sleep(stopped_s)
                self._world.signal(AGGREGATOR, signal.SIGCONT)
                await asyncio.sleep(SLICE_S - stopped_s)

        share = (fault.amount or 0) / 100
        self._slow = asyncio.create_task(hold_up(SLICE_S * share))

    async def _speed_up(self, _fault: Fault) -> None:
        if self._slow is not None:
            self._slow.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._slow
        self._world.signal(AGGREGATOR, signal.SIGCONT)

    # ------------------------------------------------------------------------------ disks

    async def _fill(self, fault: Fault) -> None:
        """Once it runs: on a disk that is really full it could still open the files that it has."""
        if fault.target != STORE:
            await self._world.begun(fault.target)
        pid = self._world.running[fault.target].process.pid
        with contextlib.suppress(ProcessLookupError):
            self._limits[pid] = before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, before[1]))

    async def _empty(self, fault: Fault) -> None:
        pid = self._world.running[fault.target].process.pid
        if pid in self._limits:  # else it ended while it began, and another one has begun
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, self._limits.pop(pid))

    async def _cut_power(self, fault: Fault) -> None:
        await self._kill(fault)
        draw = random.Random(f"{self._world.setting.seed} {fault}")
        cut_power(self._world.data_dir(fault.target), draw)

    async def _lose_disk(self, _fault: Fault) -> None:
        await self._world.kill(BROKER)
        shutil.rmtree(self._world.broker_folder)

    # ----------------------------------------------------------------------------- others

    async def _jump(self, fault: Fault) -> None:
        off_ms = round((fault.amount or 0) * 1000)
        self.jumps_ms[fault.target].add(off_ms)
        self._world.clock_file(fault.target).write_text(str(off_ms), "ascii")

    async def _set_right(self, fault: Fault) -> None:
        self._world.clock_file(fault.target).unlink()

    async def _limit_queue(self, fault: Fault) -> None:
        await self._start_anew(round(fault.amount or 0))

    async def _unlimit_queue(self, _fault: Fault) -> None:
        await self._start_anew(0)

    async def _start_anew(self, queued: int) -> None:
        """Not by SIGHUP: a mosquitto that has only just begun would end by it."""
        await self._world.kill(BROKER)
        self._world.limit_queue(queued)
        await self._world.start(BROKER)
