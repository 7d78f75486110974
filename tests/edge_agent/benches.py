"""Benches for the link suite: simulated meters on a real TCP port or pseudo-terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.links.wire import WireLink
from edge_agent.wires.serial import SerialSettings, SerialWire
from edge_agent.wires.tcp import TcpWire
from simulators.wire import Faults, SimulatedWire, Station
from tests.suites.link_suite import TIMEOUT_S


class Speech:
    """One protocol's part of a bench: its two stations, its questions, its numbers."""

    refusal: str
    exception_4: str
    stations: tuple[Station, Station]

    def question(self, unit: int, place: int) -> Any:
        raise NotImplementedError

    def number(self, answer: Any) -> int:
        raise NotImplementedError

    def foreign_frame(self) -> bytes:
        raise NotImplementedError


class TcpBench:
    """The two stations behind one TCP port."""

    def __init__(self, speech: Speech, port: int) -> None:
        self.speech = speech
        self.refusal = speech.refusal
        self.exception_4 = speech.exception_4
        self.port = port
        self.wire = SimulatedWire(speech.stations)
        self.link = WireLink(TcpWire("127.0.0.1", port, TIMEOUT_S), TIMEOUT_S)
        self.question: Callable[[int, int], Any] = speech.question
        self.number: Callable[[Any], int] = speech.number
        self.foreign_frame: Callable[[], bytes] = speech.foreign_frame

    async def start(self) -> None:
        await self.wire.serve(port=self.port)

    async def stop(self) -> None:
        await self.wire.stop()

    def faults(self, unit: int) -> Faults:
        return self.speech.stations[unit - 1].faults

    def delay(self, unit: int, seconds: float) -> None:
        self.faults(unit).delay_s = seconds


class PtyBench(TcpBench):
    """The two stations behind a pseudo-terminal."""

    def __init__(self, speech: Speech, path: Path, baud: int = 115_200) -> None:
        super().__init__(speech, 0)
        self.path = path
        self.wire = SimulatedWire(speech.stations, baud)
        self.link = WireLink(SerialWire(str(path), SerialSettings(baud)), TIMEOUT_S)

    async def start(self) -> None:
        self.wire.plug(self.path)
