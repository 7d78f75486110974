"""Who is on a wire: one way of looking for each protocol. Reads only.

Where a protocol has a wildcard, everybody is called at once; when several answer over each other,
the addresses are narrowed down digit by digit, as the standards mean their wildcards to be used.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.codecs import cjt188, dlt645, mbus
from edge_agent.codecs.base import Heard
from edge_agent.codecs.modbus import ReadWords
from edge_agent.errors import LinkError, LinkGarbledError, LinkTimeoutError, MeterError
from edge_agent.links.base import MeterLink
from edge_agent.probe.plan import CJT188_IDS, CJT188_KINDS, DLT645_IDS, Wanted

STRIKES = 3
"""Broken connections in a row after which this is no wire for the protocol."""


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody who answered."""

    protocol: str
    unit: int = 1
    """Modbus."""
    address: str = ""
    kind: int = 0
    """CJ/T 188: type of meter."""
    secondary: str = ""
    """M-Bus: 16 digits of number, maker, version and medium."""

    def __str__(self) -> str:
        return f"unit {self.unit}" if self.protocol == "modbus" else f"address {self.address}"


class Seeker:
    """Looks for meters through one link, at one setting."""

    def __init__(self, link: MeterLink, wanted: Wanted, tick: Callable[[], None]) -> None:
        """`tick` is called once a question."""
        self._link = link
        self._wanted = wanted
        self._tick = tick
        self._strikes = 0
        self.broken = 0
        """Answers that were no whole frame."""

    def look(self, protocol: str) -> AsyncIterator[Found]:
        """Yield who speaks a protocol. LinkError when the wire cannot be used for it."""
        ways: Mapping[str, Callable[[], AsyncIterator[Found]]] = {
            "modbus": self._modbus,
            "dlt645": self._dlt645,
            "cjt188": self._cjt188,
            "mbus": self._mbus,
        }
        self._strikes = 0
        return ways[protocol]()

    async def _ask(self, question: Any) -> Any:
        """The answer; MeterError as the answer of who refuses; None when nobody answers."""
        self._tick()
        try:
            answer = await self._link.read(question)
        except MeterError as error:
            answer = error
        except LinkTimeoutError:
            answer = None
        except LinkGarbledError:
            self.broken += 1
            answer = None
        except LinkError:
            self._strikes += 1
            if self._strikes >= STRIKES:
                raise
            return None
        self._strikes = 0
        return answer

    async def _call(self, question: Any) -> Heard:
        heard: Heard = await self._ask(question) or Heard((), broken=False)
        self.broken += heard.broken
        return heard

    async def _modbus(self) -> AsyncIterator[Found]:
        """A meter without that register says so: that is an answer too."""
        for unit in self._wanted.units:
            if await self._ask(ReadWords(unit, 3, 0, 1)) is not None:
                yield Found("modbus", unit)

    async def _dlt645(self) -> AsyncIterator[Found]:
        calls = [dlt645.CallMeters()]
        calls += [dlt645.CallMeters(dlt645.ANY, id_) for id_ in DLT645_IDS]
        calls.append(dlt645.CallMeters(dlt645.BROADCAST, DLT645_IDS[1]))
        known = [a for a in self._wanted.addresses if len(a) == 12]
        calls += [dlt645.CallMeters(a, id_) for a in known for id_ in DLT645_IDS]
        seen: set[str] = set()
        several = False
        for call in calls:
            heard = await self._call(call)
            several |= heard.broken
            for address in sorted(set(heard.who) - seen):
                yield Found("dlt645", address=address)
            seen.update(heard.who)
        if several:
            async for address in self._dlt645_below("", DLT645_IDS[0]):
                if address not in seen:
                    seen.add(address)
                    yield Found("dlt645", address=address)

    async def _dlt645_below(self, tail: str, id_: str) -> AsyncIterator[str]:
        """Addresses that end with `tail`."""
        for pair in range(100):
            end = f"{pair:02d}{tail}"
            heard = await self._call(dlt645.CallMeters(end.rjust(12, "A"), id_))
            for address in heard.who:
                yield address
            if heard.broken and len(end) < 12:
                async for address in self._dlt645_below(end, id_):
                    yield address

    async def _cjt188(self) -> AsyncIterator[Found]:
        seen: set[str] = set()
        known = [a for a in self._wanted.addresses if len(a) == 14]
        for address in (cjt188.ANY, *known):
            for id_ in CJT188_IDS:
                for kind in CJT188_KINDS:
                    heard = await self._call(cjt188.CallMeters(kind, id_, address))
                    for who in sorted(set(heard.who) - seen):
                        own_kind, _, own = who.partition("/")
                        yield Found("cjt188", address=own, kind=int(own_kind, 16))
                    seen.update(heard.who)

    async def _mbus(self) -> AsyncIterator[Found]:
        everybody = await self._call(mbus.CallMeters())
        numbers: set[str] = set()
        async for address in self._mbus_below(""):
            numbers.add(address[:8])
            yield Found("mbus", address=address, secondary=address)
        if not (everybody.who or everybody.broken or numbers):
            return
        for unit in self._wanted.units:
            if unit > mbus.LAST_PRIMARY:
                break
            telegrams = await self._ask(mbus.ReadMbus(str(unit)))
            if isinstance(telegrams, tuple):
                address = mbus.secondary_address(telegrams[0])
                if address[:8] not in numbers:
                    yield Found("mbus", unit, str(unit), secondary=address)

    async def _mbus_below(self, head: str) -> AsyncIterator[str]:
        """Secondary addresses whose number begins with `head`."""
        selected = await self._call(mbus.CallMeters(head.ljust(8, "F")))
        if not selected.who and not selected.broken:
            return
        heard = await self._call(mbus.CallSelected())
        if heard.broken and len(head) < 8:
            for digit in "0123456789":
                async for address in self._mbus_below(head + digit):
                    yield address
            return
        for address in heard.who:
            yield address
