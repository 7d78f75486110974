"""What every wire does: open, send, receive, close. Knows no protocol."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from edge_agent.errors import LinkError

BITS_PER_CHARACTER = 11
"""Start bit, eight data bits, parity or second stop bit, stop bit."""
FAST_BAUD = 19_200
FAST_GAP_S = 0.00175


def silence_s(baud: int) -> float:
    """Silence that parts two Modbus frames [s]: 3.5 characters; 1.75 ms above 19 200 bit/s."""
    return FAST_GAP_S if baud > FAST_BAUD else 3.5 * BITS_PER_CHARACTER / baud


class Wire(Protocol):
    """A stream of bytes to and from one or more meters, half duplex."""

    @property
    def where(self) -> str:
        """Endpoint, for messages."""
        ...

    @property
    def baud(self) -> int:
        """Signalling rate [bit/s]; 0 where bytes take no time worth counting."""
        ...

    @property
    def drops_late(self) -> bool:
        """Whether closing the wire throws away answers still under way."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the wire is up as far as is known."""
        ...

    async def open(self) -> None:
        """Bring the wire up; does nothing when it is. LinkError when that fails."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand over the bytes; they may still be leaving when this returns. LinkError."""
        ...

    async def receive(self, deadline: float) -> bytes:
        """Return what came, as soon as anything did; empty at `deadline` (the loop's time).

        LinkError when the wire broke.
        """
        ...

    def close(self) -> None:
        """Take the wire down and forget what came. Never raises."""
        ...


class Inbox:
    """Bytes that came and were not taken yet, and the one who waits for them."""

    MOST = 1 << 16
    """Bytes kept [bytes]: a babbling device must not fill the memory."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._waiting: asyncio.Future[None] | None = None
        self._broken = ""

    def put(self, data: bytes) -> None:
        """Add bytes; the oldest go when there are too many."""
        self._bytes += data
        del self._bytes[: -self.MOST]
        self._wake()

    def broke(self, reason: str) -> None:
        """Say that nothing more will come."""
        self._broken = self._broken or reason
        self._wake()

    async def take(self, deadline: float, where: str, give_up: Callable[[], None]) -> bytes:
        """Wait for bytes until `deadline`; LinkError after `broke`, having called `give_up`."""
        loop = asyncio.get_running_loop()
        while not self._bytes:
            if self._broken:
                give_up()
                raise LinkError(where, self._broken)
            left_s = deadline - loop.time()
            if left_s <= 0:
                return b""
            self._waiting = loop.create_future()
            try:
                async with asyncio.timeout(left_s):
                    await self._waiting
            except TimeoutError:
                return b""
            finally:
                self._waiting = None
        data = bytes(self._bytes)
        self._bytes.clear()
        return data

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
