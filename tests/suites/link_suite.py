"""What every link must do, whatever it speaks: read, refuse, stay silent, fail, come back.

A link's test subclasses `LinkSuite` and gives a `bench`: the link under test and real meters on a
real wire that can be told to misbehave. `WireSuite` adds what only a wire without message numbers
can do to a link, `SerialSuite` what a port can.
"""

import asyncio
from pathlib import Path
from typing import Any, Protocol

import pytest

from edge_agent.errors import (
    EdgeError,
    LinkError,
    LinkGarbledError,
    LinkTimeoutError,
    MeterError,
)
from edge_agent.links.base import MeterLink
from simulators.wire import Faults, SimulatedWire

TIMEOUT_S = 0.2
"""Timeout the bench gives to the link."""


class Bench(Protocol):
    """A link and the meters it talks to: units 1 and 2; the number at place a of unit u is
    u * 1000 + a. Places 0 to 49 exist.
    """

    link: MeterLink
    refusal: str
    """What the error says when a place does not exist; empty when the protocol cannot refuse."""

    def question(self, unit: int, place: int) -> Any:
        """What to ask the link for that number."""
        ...

    def number(self, answer: Any) -> int:
        """The number in the link's answer."""
        ...

    async def start(self) -> None: ...
    async def stop(self) -> None:
        """Take the meters off the wire; what is open breaks."""

    def delay(self, unit: int, seconds: float) -> None:
        """Let a unit answer so much later."""


class WireBench(Bench, Protocol):
    """A bench of `simulators.wire`."""

    wire: SimulatedWire
    exception_4: str
    """What the error says to an error answer of code 4."""

    def faults(self, unit: int) -> Faults: ...
    def foreign_frame(self) -> bytes:
        """A whole answer of a unit nobody asked."""
        ...


class SerialBench(WireBench, Protocol):
    """A wire bench on a pseudo-terminal."""

    path: Path


async def once(bench: Bench, unit: int, place: int = 0) -> int:
    async with asyncio.timeout(10):
        return bench.number(await bench.link.read(bench.question(unit, place)))


async def read(bench: Bench, unit: int, place: int = 0) -> int:
    """As `once`, where an answer is due: a busy machine may miss the short timeout, and asks again.

    A wrong answer stays one.
    """
    for _ in range(4):
        try:
            return await once(bench, unit, place)
        except LinkTimeoutError:
            continue
    return await once(bench, unit, place)


class LinkSuite:
    """Subclass with a fixture `bench`."""

    async def test_reads_numbers(self, bench: Bench) -> None:
        await bench.link.open()
        assert bench.link.is_open
        assert await read(bench, 1, 5) == 1005
        assert await read(bench, 2, 48) == 2048

    async def test_opens_by_itself_and_twice_is_once(self, bench: Bench) -> None:
        assert await read(bench, 1) == 1000
        await bench.link.open()
        assert await read(bench, 1) == 1000

    async def test_refusal_is_permanent_and_leaves_the_wire_up(self, bench: Bench) -> None:
        if not bench.refusal:
            return  # the protocol has no way to say no
        with pytest.raises(MeterError, match=bench.refusal) as caught:
            await once(bench, 1, 50)
        assert not caught.value.retriable
        assert bench.link.is_open
        assert await read(bench, 1) == 1000

    async def test_silence_is_a_timeout_and_others_still_answer(self, bench: Bench) -> None:
        bench.delay(1, 5)
        began = asyncio.get_running_loop().time()
        with pytest.raises(LinkTimeoutError, match="did not answer") as caught:
            await once(bench, 1)
        assert caught.value.retriable
        assert TIMEOUT_S * 0.9 <= asyncio.get_running_loop().time() - began < TIMEOUT_S + 1
        assert await read(bench, 2) == 2000

    async def test_late_answer_is_never_the_answer_to_the_next_read(self, bench: Bench) -> None:
        bench.delay(1, TIMEOUT_S * 1.2)  # comes in while the next read waits
        bench.delay(2, TIMEOUT_S * 0.5)
        for place in (10, 20, 30):
            with pytest.raises(LinkTimeoutError):
                await once(bench, 1, place)
            assert await read(bench, 2, place + 1) == 2001 + place
        bench.delay(1, 0)
        assert await read(bench, 1, 40) == 1040

    async def test_late_answer_is_never_the_answer_of_the_same_meter(self, bench: Bench) -> None:
        bench.delay(1, TIMEOUT_S * 1.2)
        with pytest.raises(LinkTimeoutError):
            await once(bench, 1, 10)
        bench.delay(1, TIMEOUT_S * 0.4)  # would come after the late one
        assert await read(bench, 1, 20) == 1020
        assert await read(bench, 1, 21) == 1021

    async def test_cancelled_read_leaves_no_answer_behind(self, bench: Bench) -> None:
        bench.delay(1, TIMEOUT_S * 0.5)
        await bench.link.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.link.read(bench.question(1, 10)), TIMEOUT_S * 0.2)
        assert await read(bench, 1, 20) == 1020

    async def test_meters_gone_is_a_link_error(self, bench: Bench) -> None:
        await bench.link.open()
        await bench.stop()
        with pytest.raises(LinkError):
            await once(bench, 1)
        with pytest.raises(LinkError, match=r"cannot (connect|open)"):
            await bench.link.open()
        assert not bench.link.is_open

    async def test_comes_back_by_itself(self, bench: Bench) -> None:
        assert await read(bench, 1) == 1000
        await bench.stop()
        with pytest.raises(EdgeError):
            await once(bench, 1)
        await bench.start()
        assert await read(bench, 1) == 1000

    async def test_can_be_closed_and_opened_again(self, bench: Bench) -> None:
        assert await read(bench, 1) == 1000
        await bench.link.close()
        await bench.link.close()
        assert not bench.link.is_open
        assert await read(bench, 1) == 1000


class WireSuite(LinkSuite):
    """A wire that carries bytes and no message numbers."""

    async def test_wrong_checksum_is_told_apart_from_silence(self, bench: WireBench) -> None:
        bench.faults(1).broken_checksum = True
        with pytest.raises(LinkGarbledError, match="broken") as caught:
            await once(bench, 1)
        assert caught.value.retriable
        assert await read(bench, 2) == 2000
        bench.faults(1).broken_checksum = False
        assert await read(bench, 1, 7) == 1007

    async def test_error_answer_is_permanent_and_leaves_the_wire_up(self, bench: WireBench) -> None:
        bench.faults(1).exception = 4
        for _ in range(2):  # each time, and at once: the wire waits for nothing late
            with pytest.raises(MeterError, match=bench.exception_4) as caught:
                await once(bench, 1, 3)
            assert not caught.value.retriable
        assert bench.link.is_open
        assert await read(bench, 2, 4) == 2004
        bench.faults(1).exception = 0
        assert await read(bench, 1, 3) == 1003

    async def test_answer_cut_short_is_no_answer(self, bench: WireBench) -> None:
        bench.faults(1).cut_short = 2
        with pytest.raises(LinkError):
            await once(bench, 1)
        bench.faults(1).cut_short = 0
        assert await read(bench, 1, 7) == 1007

    async def test_noise_and_foreign_frames_around_an_answer_are_ignored(
        self, bench: WireBench
    ) -> None:
        for noise in (b"\x00", b"\xff\xfe\xfe", bytes(range(40)), bench.foreign_frame()):
            bench.faults(1).before = noise
            bench.faults(1).after = noise
            assert await read(bench, 1, 3) == 1003
            assert await read(bench, 2, 4) == 2004
        bench.faults(1).before = bench.faults(1).after = b""
        bench.faults(1).foreign = True  # by the station's own encoder, of a unit next to it
        assert await read(bench, 1, 3) == 1003
        assert await read(bench, 2, 4) == 2004

    async def test_foreign_frame_alone_is_silence(self, bench: WireBench) -> None:
        bench.faults(1).silent = True
        asked = asyncio.create_task(once(bench, 1))
        while not bench.wire.requests:
            await asyncio.sleep(0)
        bench.wire.say(bench.foreign_frame())
        with pytest.raises(LinkTimeoutError):
            await asked

    async def test_echo_of_the_adapter_is_not_an_answer(self, bench: WireBench) -> None:
        bench.wire.echo = True
        assert await read(bench, 1, 6) == 1006
        assert await read(bench, 2, 6) == 2006
        bench.faults(1).silent = True
        with pytest.raises(LinkTimeoutError):
            await once(bench, 1)

    async def test_babbling_device_is_an_error_not_a_hang(self, bench: WireBench) -> None:
        await read(bench, 1)
        bench.faults(1).silent = True

        async def babble() -> None:
            while True:  # without a pause: there is always something to hear
                bench.wire.say(b"U" * 50)
                await asyncio.sleep(0)

        babbling = asyncio.create_task(babble())
        try:
            with pytest.raises(LinkError):
                await once(bench, 1)
        finally:
            babbling.cancel()
        bench.faults(1).silent = False
        assert await read(bench, 1, 9) == 1009


class SerialSuite(WireSuite):
    """A wire behind a port of this machine."""

    async def test_adapter_pulled_out_and_put_back(self, bench: SerialBench) -> None:
        assert await read(bench, 1) == 1000
        bench.wire.unplug()
        with pytest.raises(LinkError):
            await once(bench, 1)
        assert not bench.link.is_open
        for _ in range(3):
            with pytest.raises(LinkError, match=f"{bench.path}: cannot open: No such file"):
                await once(bench, 1)
        bench.wire.plug(bench.path)  # another device number behind the same name
        assert await read(bench, 1, 8) == 1008

    async def test_adapter_pulled_out_while_waiting(self, bench: SerialBench) -> None:
        bench.faults(1).silent = True
        asked = asyncio.create_task(once(bench, 1))
        while not bench.wire.requests:
            await asyncio.sleep(0)
        bench.wire.unplug()
        with pytest.raises(LinkError, match="connection lost"):  # at once: it is no timeout
            await asked
