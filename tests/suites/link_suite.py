"""What every link must do, whatever it speaks: read, refuse, stay silent, fail, come back.

A link's test subclasses `LinkSuite` and gives a `bench`: the link under test and real meters on a
real wire that can be told to misbehave.
"""

import asyncio
from typing import Protocol

import pytest

from edge_agent.errors import EdgeError, LinkError, MeterError
from edge_agent.links.base import LinkTimeoutError, MeterLink

TIMEOUT_S = 0.2
"""Timeout the bench gives to the link."""


class Bench(Protocol):
    """A link and the meters it talks to: units 1 and 2, word at address a of unit u = u * 1000 + a.

    Addresses 0 to 49 exist, for reads by function 3.
    """

    link: MeterLink

    async def start(self) -> None: ...
    async def stop(self) -> None:
        """Take the meters off the wire; what is open breaks."""

    def delay(self, unit: int, seconds: float) -> None:
        """Let a unit answer so much later."""


async def read(bench: Bench, unit: int, address: int = 0, count: int = 2) -> list[int]:
    async with asyncio.timeout(10):
        return list(await bench.link.read(unit, 3, address, count))


class LinkSuite:
    """Subclass with a fixture `bench`."""

    async def test_reads_words(self, bench: Bench) -> None:
        await bench.link.open()
        assert bench.link.is_open
        assert await read(bench, 1, 5, 3) == [1005, 1006, 1007]
        assert await read(bench, 2, 49, 1) == [2049]

    async def test_opens_by_itself_and_twice_is_once(self, bench: Bench) -> None:
        assert await read(bench, 1) == [1000, 1001]
        await bench.link.open()
        assert await read(bench, 1) == [1000, 1001]

    async def test_refusal_is_permanent_and_leaves_the_wire_up(self, bench: Bench) -> None:
        with pytest.raises(MeterError, match="illegal address") as caught:
            await read(bench, 1, 49, 2)
        assert not caught.value.retriable
        assert bench.link.is_open
        assert await read(bench, 1) == [1000, 1001]

    async def test_silence_is_a_timeout_and_others_still_answer(self, bench: Bench) -> None:
        bench.delay(1, 5)
        began = asyncio.get_running_loop().time()
        with pytest.raises(LinkTimeoutError, match="unit 1") as caught:
            await read(bench, 1)
        assert caught.value.retriable
        assert TIMEOUT_S * 0.9 <= asyncio.get_running_loop().time() - began < TIMEOUT_S + 1
        assert await read(bench, 2) == [2000, 2001]

    async def test_late_answer_is_never_the_answer_to_the_next_read(self, bench: Bench) -> None:
        bench.delay(1, TIMEOUT_S * 1.2)  # comes in while the next read waits
        bench.delay(2, TIMEOUT_S * 0.5)
        for address in (10, 20, 30):
            with pytest.raises(LinkTimeoutError):
                await read(bench, 1, address)
            assert await read(bench, 2, address + 1) == [2001 + address, 2002 + address]
        bench.delay(1, 0)
        assert await read(bench, 1, 40) == [1040, 1041]

    async def test_cancelled_read_leaves_no_answer_behind(self, bench: Bench) -> None:
        bench.delay(1, TIMEOUT_S * 0.5)
        await bench.link.open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.link.read(1, 3, 10, 2), TIMEOUT_S * 0.2)
        assert await read(bench, 1, 20) == [1020, 1021]

    async def test_meters_gone_is_a_link_error(self, bench: Bench) -> None:
        await bench.link.open()
        await bench.stop()
        with pytest.raises(LinkError):
            await read(bench, 1)
        with pytest.raises(LinkError, match="cannot connect"):
            await bench.link.open()
        assert not bench.link.is_open

    async def test_comes_back_by_itself(self, bench: Bench) -> None:
        assert await read(bench, 1) == [1000, 1001]
        await bench.stop()
        with pytest.raises(EdgeError):
            await read(bench, 1)
        await bench.start()
        assert await read(bench, 1) == [1000, 1001]

    async def test_can_be_closed_and_opened_again(self, bench: Bench) -> None:
        assert await read(bench, 1) == [1000, 1001]
        await bench.link.close()
        await bench.link.close()
        assert not bench.link.is_open
        assert await read(bench, 1) == [1000, 1001]
