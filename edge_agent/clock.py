"""The only file of the edge agent that reads a clock.

Everything else receives a `Clock`, so that a test or the lockstep backlog run decides what time
it is. Wall time is UTC milliseconds and may jump; monotonic time is seconds and never does.
"""

import asyncio
import ctypes
import json
import time
from pathlib import Path
from typing import Protocol

from edge_agent.timekeeping import Offset, Timekeeper

_LONGEST_NAP_S = 1.0  # a forward jump of the wall clock is noticed within this


_TIME_ERROR = 5
_STA_UNSYNC = 0x40


class Clock(Protocol):
    """Where the time comes from."""

    def time_ms(self) -> int:
        """Wall clock, UTC milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    async def sleep_until(self, time_ms: int) -> None:
        """Sleep until the wall clock shows `time_ms`.

        Returns at once when that is past. May return early or late when the wall clock jumps:
        the caller reads the time again and decides.
        """
        ...


class SystemClock:
    """The machine's clock."""

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def uptime_s(self) -> float:
        """Seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep_until(self, time_ms: int) -> None:
        # The longest wait is fixed at entry on the monotonic clock, so that a backward jump of
        # the wall clock (NTP after a boot without battery) cannot make the caller sleep for years.
        deadline = time.monotonic() + (time_ms - self.time_ms()) / 1000
        while (left_s := min(deadline - time.monotonic(), (time_ms - self.time_ms()) / 1000)) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, _LONGEST_NAP_S))


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, adjtimex(2); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_char * 256),
    )


class LinuxMachine:
    """The clocks of a machine under Linux."""

    def __init__(self) -> None:
        try:
            self.boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            self.boot = ""
        self._timex = _Timex()
        self._libc = ctypes.CDLL(None)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def uptime_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def disciplined(self) -> bool:
        self._timex.modes = 0  # reads, changes nothing
        state = self._libc.adjtimex(ctypes.byref(self._timex))
        return 0 <= state < _TIME_ERROR and not self._timex.status & _STA_UNSYNC


class SteadyClock(SystemClock):
    """The time as the timekeeper knows it: jumps of the wall clock do not show."""

    def __init__(self, keeper: Timekeeper) -> None:
        self._keeper = keeper

    def time_ms(self) -> int:
        return self._keeper.time_ms()


def load_offset(file: Path, boot: str) -> Offset | None:
    """Return the offset an earlier process of this boot saved; None when there is none."""
    try:
        saved = json.loads(file.read_text("ascii"))
        if boot and saved["boot"] == boot:
            return Offset(int(saved["ms"]), "saved", int(saved["doubt_ms"]), int(saved["at_ms"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def save_offset(file: Path, boot: str, offset: Offset) -> None:
    """Keep an offset for the next process of this boot. OSError when the disk does not take it."""
    saved = {
        "boot": boot,
        "ms": offset.ms,
        "doubt_ms": offset.doubt_ms,
        "at_ms": offset.at_ms,
    }
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(json.dumps(saved), "ascii")
    fresh.replace(file)


class SteppingClock:
    """A clock that stands still until `advance` moves it: the lockstep run and tests.

    `monotonic` follows the same time. `sleep_until` returns once `advance` has reached its target.
    """

    def __init__(self, time_ms: int) -> None:
        self._time_ms = time_ms
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def time_ms(self) -> int:
        return self._time_ms

    def monotonic(self) -> float:
        return self._time_ms / 1000

    async def sleep_until(self, time_ms: int) -> None:
        if time_ms <= self._time_ms:
            await asyncio.sleep(0)  # still let others run, as a real sleep would
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((time_ms, future))
        await future

    def advance(self, time_ms: int) -> None:
        """Move to `time_ms` and wake everyone whose time has come. ValueError if it goes back."""
        if time_ms < self._time_ms:
            raise ValueError(f"clock cannot go back from {self._time_ms} to {time_ms}")
        self._time_ms = time_ms
        due = [item for item in self._sleepers if item[0] <= time_ms]
        self._sleepers = [item for item in self._sleepers if item[0] > time_ms]
        for _, future in sorted(due, key=lambda item: item[0]):
            if not future.done():
                future.set_result(None)
