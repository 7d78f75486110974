"""What time a reading has, on a gateway whose clock cannot be believed. No I/O; time is asked.

The machine's counter since boot never jumps; only what must be added to it to make UTC is in
doubt. A reading's time is counter + offset, so a jump of the wall clock, by hours or years, moves
nothing. The offset comes from, best first:

    ntp   the kernel says that the wall clock is disciplined: offset = wall clock - counter
    ack   the aggregator told its time T in an answer to something sent at s and heard at r:
          the offset lies within [T - r, T - s]; taken when that is at most `MAX_DOUBT_MS` wide
    rtc   the configuration says that the gateway has a battery-backed clock: the wall clock at
          the start of the process counts until one of the others is heard
    saved the offset of an earlier process of the same boot

Without any, readings are held with the counter's time (`Outbox.hold`) until there is one. An
offset stays once it is known: a quartz that is never corrected goes off by seconds a day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MAX_DOUBT_MS = 2_000
"""Widest range of an offset that places a reading within a second."""
DRIFT_PER_MILLION = 50
"""How fast an offset that is not renewed may go wrong."""
ASK_KERNEL_MS = 1_000


class Machine(Protocol):
    """The clocks of a machine."""

    @property
    def boot(self) -> str:
        """Names this run of the operating system; "" where it cannot be told."""
        ...

    def wall_ms(self) -> int:
        """The wall clock, right or wrong [ms UTC]."""
        ...

    def uptime_ms(self) -> int:
        """Milliseconds since boot, sleep included; never jumps."""
        ...

    def disciplined(self) -> bool:
        """Whether the kernel says that the wall clock follows a time server."""
        ...


@dataclass(frozen=True, slots=True)
class Offset:
    """What makes UTC of the counter [ms], from which source, wrong by how much at `at_ms`."""

    ms: int
    source: str
    doubt_ms: int
    at_ms: int
    """The counter's time."""

    def doubt_at(self, uptime_ms: int) -> int:
        """How far it may be off by now [ms]."""
        return self.doubt_ms + (uptime_ms - self.at_ms) * DRIFT_PER_MILLION // 1_000_000


class Timekeeper:
    """Keeps the offset. `changed` is called when time becomes known."""

    def __init__(self, machine: Machine, *, rtc: bool, saved: Offset | None = None) -> None:
        """`saved`: of an earlier process of this boot."""
        self._machine = machine
        self._guess_ms = machine.wall_ms() - machine.uptime_ms()
        self._asked_ms: int | None = None
        self._offset = saved
        if rtc and saved is None:
            self._offset = Offset(self._guess_ms, "rtc", MAX_DOUBT_MS // 2, machine.uptime_ms())
        self.changed: Callable[[Offset], None] | None = None

    @property
    def boot(self) -> str:
        """The boot whose counter is used."""
        return self._machine.boot

    @property
    def offset(self) -> Offset | None:
        """The offset in use; None while no source tells the time."""
        self._ask_kernel()
        return self._offset

    @property
    def known(self) -> bool:
        """Whether the last `time_ms` was the time."""
        return self._offset is not None

    @property
    def source(self) -> str:
        """Where the time comes from; "none" while it is not known."""
        offset = self.offset
        return "none" if offset is None else offset.source

    @property
    def guess_ms(self) -> int:
        """What the wall clock, right or wrong, showed at time 0 of the counter."""
        return self._guess_ms

    def time_ms(self) -> int:
        """UTC as far as it is known, else by the wall clock of the start."""
        offset = self.offset
        return self._machine.uptime_ms() + (self._guess_ms if offset is None else offset.ms)

    def heard(self, told_ms: int, sent_s: float, now_s: float) -> None:
        """The aggregator told its time in answer to what was sent at `sent_s` [counter, s]."""
        width_ms = (now_s - sent_s) * 1000
        uptime_ms = self._machine.uptime_ms()
        if not 0 <= width_ms <= MAX_DOUBT_MS:
            return
        known = self.offset
        doubt_ms = round(width_ms / 2) + 1
        if known is None or (known.source != "ntp" and doubt_ms <= known.doubt_at(uptime_ms)):
            ms = told_ms - uptime_ms + round(width_ms / 2)
            self._use(Offset(ms, "ack", doubt_ms, uptime_ms))

    def _ask_kernel(self) -> None:
        uptime_ms = self._machine.uptime_ms()
        if self._asked_ms is not None and uptime_ms - self._asked_ms < ASK_KERNEL_MS:
            return
        self._asked_ms = uptime_ms
        if self._machine.disciplined():
            self._use(Offset(self._machine.wall_ms() - uptime_ms, "ntp", 100, uptime_ms))
        elif self._offset is not None and self._offset.source == "ntp":
            # Set by hand, or the server is away: the offset stays, and acks may renew it.
            known = self._offset
            self._offset = Offset(known.ms, "saved", known.doubt_ms, known.at_ms)

    def _use(self, offset: Offset) -> None:
        before, self._offset = self._offset, offset
        if self.changed and (before is None or before.source != offset.source):
            self.changed(offset)
