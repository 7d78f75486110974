"""A wire with simulated meters on it: a TCP port or a pseudo-terminal, with a real wire's pace.

Every station hears all that is sent and answers what is meant for it. On a wire with a baud rate
a request is heard only when its last character could have come, and answers leave in pieces no
faster than the rate. `Faults` say how a station or the wire misbehaves.

A pseudo-terminal keeps the rate its user set, but no parity: the kernel clears PARENB, so that a
wrong parity goes unnoticed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import pty
import termios
import tty
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from simulators.noise import PPM, uniform

BITS_PER_CHARACTER = 11
PIECE = 16
"""Characters sent at once on a wire with a baud rate."""


@dataclass(slots=True)
class Faults:
    """What is wrong with one station, or on the way from it. May be changed at any time."""

    silent: bool = False
    delay_s: float = 0.0
    """Answers come so much later [s]."""
    spread_s: float = 0.0
    """And up to so much more, drawn for each [s]."""
    exception: int = 0
    """Whatever is asked is refused, in the protocol's own way with this code; 0 = not."""
    broken_checksum: bool = False
    cut_short: int = 0
    """So many bytes are missing at the end of an answer."""
    foreign: bool = False
    """A whole answer of a unit that nobody asked comes just before."""
    before: bytes = b""
    """Noise just before the answer."""
    after: bytes = b""
    share_ppm: int = PPM
    """Of so many answers all this is true; the others are right and in time."""
    seed: int = 0
    """For what is drawn: the same seed, the same answers."""
    answers: int = 0
    """How many there were."""

    def strike(self) -> bool:
        """Whether the next answer is one of the share."""
        self.answers += 1
        return self.share_ppm >= PPM or uniform(self.seed, self.answers, 1, PPM) <= self.share_ppm

    def late_s(self) -> float:
        """How much later this answer comes [s]."""
        if not self.spread_s:
            return self.delay_s
        return self.delay_s + self.spread_s * uniform(self.seed, -self.answers, 0, PPM) / PPM


class Speaker(Protocol):
    """One device, and how its protocol says what is wrong."""

    faults: Faults

    def spoil(self, answer: bytes) -> bytes:
        """The answer with a wrong checksum, or what stands for one."""
        ...

    def refuse(self, answer: bytes, code: int) -> bytes:
        """The error answer in place of `answer`."""
        ...

    def foreign(self, answer: bytes) -> bytes:
        """The same answer of another unit."""
        ...


class Station(Speaker, Protocol):
    """One device on a wire."""

    def hear(self, data: bytes) -> Iterable[bytes]:
        """Take bytes from the wire; the answers to whole requests among them."""
        ...


def faulty(speaker: Speaker, answer: bytes) -> tuple[bytes, float]:
    """What the faults make of an answer, empty when it does not come; how much later it is [s]."""
    faults = speaker.faults
    if not faults.strike():
        return answer, 0.0
    if faults.silent:
        return b"", 0.0
    foreign = speaker.foreign(answer) if faults.foreign else b""
    if faults.exception:
        answer = speaker.refuse(answer, faults.exception)
    if faults.broken_checksum:
        answer = speaker.spoil(answer)
    answer = answer[: len(answer) - faults.cut_short]
    return faults.before + foreign + answer + faults.after, faults.late_s()


class SimulatedWire:
    """Stations on one wire; served on TCP, on a pseudo-terminal, or both after one another."""

    def __init__(self, stations: Sequence[Station], baud: int = 0, *, echo: bool = False) -> None:
        """`baud` 0 = no pace, any is heard. `echo` = the adapter hears itself, as cheap ones do."""
        self.stations = stations
        self.baud = baud
        self.echo = echo
        self.requests = 0
        """Answers that were due, sent or not."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._master = -1
        self._path: Path | None = None

    # --- TCP -----------------------------------------------------------------------------------
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port."""
        server = await self.listen(host, port)
        return int(server.sockets[0].getsockname()[1])

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """As `serve`; returns the server."""
        self._server = await asyncio.start_server(self._connected, host, port)
        return self._server

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        connection = asyncio.current_task()
        if connection is not None:
            self._tasks.add(connection)
            connection.add_done_callback(self._tasks.discard)
        try:
            while data := await reader.read(4096):
                self._heard(data, writer.write)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    # --- pseudo-terminal -----------------------------------------------------------------------
    def plug(self, path: Path) -> None:
        """Make a pseudo-terminal and let `path` lead to it, as udev does for an adapter."""
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        path.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._path = path
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def unplug(self) -> None:
        """Pull the adapter out: the path is gone, who has it open is hung up on."""
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            self._master = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        except OSError:  # nobody has the other end open: look again when somebody has
            asyncio.get_running_loop().remove_reader(self._master)
            asyncio.get_running_loop().call_later(0.005, self._watch_again, self._master)
            return
        if self._at_our_rate():
            self._heard(data, self._write_pty)

    def _at_our_rate(self) -> bool:
        """Whether the port is set to the wire's rate: at another no meter knows a character."""
        if not self.baud:
            return True
        return bool(termios.tcgetattr(self._master)[5] == getattr(termios, f"B{self.baud}"))

    def _watch_again(self, master: int) -> None:
        if master == self._master >= 0:
            asyncio.get_running_loop().add_reader(master, self._readable)

    def _write_pty(self, data: bytes) -> None:
        if self._master >= 0:
            with contextlib.suppress(BlockingIOError):  # nobody reads: the wire does not wait
                os.write(self._master, data)

    # -------------------------------------------------------------------------------------------
    def say(self, data: bytes) -> None:
        """Put bytes on the wire that nobody asked for."""
        if self._master >= 0:
            self._write_pty(data)
        for writer in self._writers:
            writer.write(data)

    async def stop(self) -> None:
        """Take the wire down; what is open breaks."""
        self.unplug()
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _heard(self, data: bytes, write: Callable[[bytes], object]) -> None:
        if self.echo:
            write(data)
        due = [(station, answer) for station in self.stations for answer in station.hear(data)]
        self.requests += len(due)
        heard = [(station, *faulty(station, answer)) for station, answer in due]
        heard = [one for one in heard if one[1]]
        if len({id(station) for station, _, _ in heard}) > 1:
            station, _, late_s = heard[0]
            heard = [(station, _collided([answer for _, answer, _ in heard]), late_s)]
        for _, answer, late_s in heard:
            task = asyncio.create_task(self._answer(len(data), answer, late_s, write))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, asked_bytes: int, answer: bytes, late_s: float, write: Callable[[bytes], object]
    ) -> None:
        character_s = BITS_PER_CHARACTER / self.baud if self.baud else 0.0
        await asyncio.sleep(asked_bytes * character_s + late_s)
        step = PIECE if self.baud else max(1, len(answer))
        for at in range(0, len(answer), step):
            piece = answer[at : at + step]
            await asyncio.sleep(len(piece) * character_s)
            write(piece)


def _collided(answers: Sequence[bytes]) -> bytes:
    """What is heard of stations that answer at once: a 0 of anybody pulls the line down."""
    bytes_at_once = itertools.zip_longest(*answers, fillvalue=0xFF)
    return bytes(functools.reduce(int.__and__, values) for values in bytes_at_once)
