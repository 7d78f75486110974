"""Questions and answers on a shared wire, one at a time, whatever the protocol.

Most field protocols do not number their messages: an answer says who sends it and little more. So
a late answer is kept from being taken for that to a later question by time. After a question to a
unit went unanswered, the same unit is not asked again before the wire was listened to for twice
the timeout more, and what comes is thrown away; a TCP connection is closed as well. Answers of
other units are told apart by what the question looks for.

How long to wait: the time the request needs on the wire, the timeout until the answer begins, the
time the longest answer needs.
"""

import asyncio
from typing import TypeVar

from edge_agent.codecs.base import Heard, Question, RollCall
from edge_agent.errors import EdgeError, LinkError, LinkGarbledError, LinkTimeoutError
from edge_agent.wires.base import BITS_PER_CHARACTER, Wire

MOST_HEARD = 2048
"""What is kept of what is heard [bytes]: some answers' length, however a device babbles."""
LATE = 2
"""Timeouts after an unanswered question in which its answer may still come."""

T = TypeVar("T")


class Dialogue:
    """Asks over one wire. Not reentrant."""

    def __init__(self, wire: Wire, timeout_s: float) -> None:
        """`timeout_s` = longest wait for the first byte of an answer [s]."""
        self.wire = wire
        self._timeout_s = timeout_s
        self._character_s = BITS_PER_CHARACTER / wire.baud if wire.baud else 0.0
        self._busy_until = 0.0
        self._late_until: dict[str, float] = {}

    async def ask(self, question: Question[T], gap_s: float) -> T:
        """Ask and return the answer; errors as of `MeterLink.read`.

        Args:
            question: what to send and how to know the answer.
            gap_s: silence the protocol wants before a request [s].
        """
        await self.wire.open()
        await self._settle(question.unit, gap_s)
        answered = False
        heard = b""
        try:
            deadline = await self._send(question.request)
            deadline += self._timeout_s + question.answer_bytes * self._character_s
            loop = asyncio.get_running_loop()
            while loop.time() < deadline and (chunk := await self.wire.receive(deadline)):
                heard = (heard + chunk)[-MOST_HEARD:]
                self._busy_until = loop.time()
                try:
                    answer = question.find(heard)
                except EdgeError:
                    answered = True
                    raise
                if answer is not None:
                    answered = True
                    return answer
        finally:
            if not answered:
                self._unanswered(question.unit)
        damage = question.damage(heard)
        if damage:
            raise LinkGarbledError(self.wire.where, f"{question.unit}: {damage}")
        reason = f"{question.unit} did not answer within {self._timeout_s:g} s"
        raise LinkTimeoutError(self.wire.where, reason)

    async def call(self, question: RollCall, gap_s: float) -> Heard:
        """Ask all who are meant, and hear all that comes while an answer may. LinkError."""
        await self.tell(question.request, gap_s)
        loop = asyncio.get_running_loop()
        deadline = self._busy_until + self._timeout_s + question.answer_bytes * self._character_s
        heard = b""
        while loop.time() < deadline and (chunk := await self.wire.receive(deadline)):
            heard = (heard + chunk)[-MOST_HEARD:]
            self._busy_until = loop.time()
        return question.heard(heard)

    async def tell(self, message: bytes, gap_s: float) -> None:
        """Send what nobody answers: a broadcast, or the wake-up of a protocol. LinkError."""
        await self.wire.open()
        await self._settle("", gap_s)
        await self._send(message)

    async def _send(self, message: bytes) -> float:
        """Send; returns when the last character will have left [the loop's time]."""
        await self.wire.send(message)
        left = asyncio.get_running_loop().time() + len(message) * self._character_s
        self._busy_until = left
        return left

    async def _settle(self, unit: str, gap_s: float) -> None:
        """Throw away what still comes, until the wire is quiet and `unit` can have nothing late."""
        loop = asyncio.get_running_loop()
        for _ in range(2):  # let the loop look at the wire: what has come is not heard before
            await asyncio.sleep(0)
        quiet_at = max(self._busy_until + gap_s, self._late_until.pop(unit, 0.0))
        patience = max(quiet_at, loop.time()) + self._timeout_s
        while await self.wire.receive(quiet_at):
            quiet_at = max(quiet_at, loop.time() + gap_s)
            if loop.time() > patience:
                self.wire.close()
                raise LinkError(self.wire.where, "the line is never quiet: a device babbles")

    def _unanswered(self, unit: str) -> None:
        now = asyncio.get_running_loop().time()
        self._late_until[unit] = max(now, self._busy_until) + LATE * self._timeout_s
        if self.wire.drops_late:
            self.wire.close()
