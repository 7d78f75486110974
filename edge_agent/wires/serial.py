"""A serial port by the system's own interface (termios): RS-485 or M-Bus behind an adapter.

The port is opened anew after any error, by its path: an adapter that was pulled out and put back
answers again without a restart. A udev name (/dev/serial/by-id/...) survives another numbering.
"""

import asyncio
import errno
import fcntl
import os
import termios
from dataclasses import dataclass
from typing import Literal

from edge_agent.errors import LinkError
from edge_agent.wires.base import BITS_PER_CHARACTER, Inbox

Parity = Literal["none", "even", "odd"]

BAUD_RATES = (300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200)
_SPARE_S = 1.0
"""How much longer than its length says a frame may take to leave [s]."""


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """How characters look on the wire. Eight data bits always."""

    baud: int = 9600
    parity: Parity = "none"
    stop_bits: int = 1


class SerialWire:
    """One serial port, for this process alone."""

    drops_late = False

    def __init__(self, device: str, settings: SerialSettings) -> None:
        """Keep the path; nothing is opened yet."""
        self._device = device
        self._settings = settings
        self._fd = -1
        self._inbox = Inbox()

    @property
    def where(self) -> str:
        return self._device

    @property
    def baud(self) -> int:
        return self._settings.baud

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    async def open(self) -> None:
        if self.is_open:
            return
        self._inbox = Inbox()
        fd = -1
        try:
            fd = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _configure(fd, self._settings)
        except BlockingIOError as error:
            os.close(fd)
            raise LinkError(self._device, "cannot open: another process uses it") from error
        except (OSError, termios.error) as error:
            if fd >= 0:
                os.close(fd)
            reason = error.strerror if isinstance(error, OSError) else error
            raise LinkError(self._device, f"cannot open: {reason}") from error
        self._fd = fd
        asyncio.get_running_loop().add_reader(fd, self._readable)

    async def send(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + len(data) * BITS_PER_CHARACTER / self.baud + _SPARE_S
        left = data
        while left:
            if not self.is_open:
                raise LinkError(self._device, "connection lost")
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                if loop.time() > deadline:
                    self.close()
                    raise LinkError(self._device, "the adapter takes no more bytes") from None
                await asyncio.sleep(BITS_PER_CHARACTER / self.baud)
            except OSError as error:
                self.close()
                raise LinkError(self._device, f"connection lost: {error.strerror}") from error

    async def receive(self, deadline: float) -> bytes:
        return await self._inbox.take(deadline, self._device, self.close)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
        self._inbox = Inbox()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._hang_up(f"connection lost: {error.strerror}")
            return
        if data:
            self._inbox.put(data)
        else:
            self._hang_up("connection lost: the device is gone")

    def _hang_up(self, reason: str) -> None:
        """Stop watching a port that went away, and let whoever waits on it know."""
        inbox = self._inbox
        self.close()
        inbox.broke(reason)


def _configure(fd: int, settings: SerialSettings) -> None:
    """Raw bytes, no flow control, no modem lines; what came before the opening is dropped."""
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    if settings.parity != "none":
        control |= termios.PARENB
    if settings.parity == "odd":
        control |= termios.PARODD
    if settings.stop_bits == 2:
        control |= termios.CSTOPB
    speed = getattr(termios, f"B{settings.baud}")
    characters = termios.tcgetattr(fd)[6]
    characters[termios.VMIN] = 1
    characters[termios.VTIME] = 0
    try:
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
    except termios.error as error:
        # A pseudo-terminal has no parity, and the call fails when nothing else was to be changed.
        if error.args[0] != errno.EINVAL or not os.ttyname(fd).startswith("/dev/pts/"):
            raise
    termios.tcflush(fd, termios.TCIOFLUSH)
