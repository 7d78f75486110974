"""All edges of a fleet: what is due, on the way, acknowledged, and to be sent again. No I/O.

Open loop: what is due comes from the plan alone. A batch that cannot leave, because eight of its
edge are on the way or the broker is gone, waits as in an outbox; its delay counts from when it was
due. Whether a batch is measured is decided by when it was due, not by when its ack came: else the
slowest would be left out. Times are ms of one clock that never goes back.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from contract.ack import decode_ack
from contract.topics import MessageKind
from simulators.fleet.latency import Delays
from simulators.fleet.messages import Messages
from simulators.fleet.plan import Plan

WINDOW = 8
STATE_MS = 30_000
META_PAUSE_MS = 5_000
LATE_MS = 100
_DUE_AT_ONCE = 256
"""Most batches that become due in one tick: acks are to be read in between, and the time."""

Send = Callable[[int, MessageKind, bytes], None]
"""Edge, kind, payload."""


class Probes(Protocol):
    """Is told of every batch, and looks for some of them in the ledger."""

    def due(self, number: int, seq: int, due_ms: float) -> None:
        """A batch became due."""

    def sent(self, number: int, seq: int, now_ms: float) -> None:
        """It was sent for the first time."""

    def acked(self, number: int, seq: int, now_ms: float) -> None:
        """It was acknowledged."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an edge waits for an ack [ms]: first, and at most after doubling."""

    first_ms: float = 30_000
    most_ms: float = 300_000


@dataclass(slots=True)
class _Flight:
    first_ms: float
    tries: int = 1


@dataclass(slots=True)
class _Edge:
    made: int = 0
    """Batches that became due, which is the last one's seq."""
    sent: int = 0
    """Batches that were sent at least once."""
    upto: int = 0
    """Every batch up to and including it is settled."""
    flying: dict[int, _Flight] = field(default_factory=dict)
    again: dict[int, _Flight] = field(default_factory=dict)
    """Sent, not acknowledged in time, and not sent again yet."""
    meta_ms: float = -META_PAUSE_MS
    up: bool = False
    """Whether its connection stands."""
    silent: bool = False
    """Whether it is cut off although its connection stands."""
    backlog_upto: int = 0
    """Up to this seq, what was not settled when it was heard again is its backlog."""
    heard_ms: float = 0.0
    """When it was heard again."""

    @property
    def speaks(self) -> bool:
        return self.up and not self.silent


@dataclass(slots=True)
class Tally:
    """What happened in a stretch of time."""

    due_batches: int = 0
    sent_batches: int = 0
    acked_batches: int = 0
    resent_batches: int = 0
    late_batches: int = 0
    """Sent for the first time over `LATE_MS` after they were due."""
    sent_bytes: int = 0
    acks: int = 0
    repeated_metas: int = 0
    lateness: Delays = field(default_factory=Delays)
    """From due to sent for the first time."""
    due_to_ack: Delays = field(default_factory=Delays)


@dataclass(slots=True)
class Measured:
    """Delays of the batches that became due from `from_ms` on, whenever they were settled."""

    from_ms: float = math.inf
    lateness: Delays = field(default_factory=Delays)
    due_to_ack: Delays = field(default_factory=Delays)
    sent_to_ack: Delays = field(default_factory=Delays)
    """From sent for the first time; of what was never sent there is none."""
    reading_to_ack: Delays = field(default_factory=Delays)
    """One count per row of readings: rows wait for their batch to be full."""
    outage_to_ack: Delays = field(default_factory=Delays)
    """Of backlogs, which are in none of the others: from the end of the outage."""


class Edges:
    """Use from one thread. `send` hands a message to the edge's connection."""

    def __init__(self, plan: Plan, messages: Messages, send: Send, patience: Patience) -> None:
        self._plan = plan
        self._messages = messages
        self._send = send
        self._patience = patience
        self._edges = [_Edge() for _ in range(plan.edges)]
        self._turn = 0
        self._state_turn = 0
        self._expiries: list[tuple[float, int, int, int]] = []
        """(deadline, edge, seq, tries) of what is on the way; stale ones are passed over."""
        self._draw = random.Random(plan.seed)
        self.probes: Probes | None = None
        self.unsettled = 0
        """Batches that became due and are not acknowledged."""
        self.tally = Tally()
        self.measured = Measured()

    def begin(self, plan: Plan) -> None:
        """Take the same plan with another start, before anything is due."""
        self._plan = plan
        self._messages.begin(plan)

    # ------------------------------------------------------------------------- the connection

    def connected(self, edges: Iterable[int], now_ms: float) -> None:
        """Edges reached the broker: metas first, states, then what waits and what was cut off."""
        chosen = list(edges)
        for number in chosen:
            edge = self._edges[number]
            edge.up = True
            if edge.speaks:
                self._publish_meta(number, now_ms)
                self._publish_state(number, now_ms)
        for number in chosen:
            self._pump(number, now_ms)

    def lost(self, edges: Iterable[int]) -> None:
        """Edges lost the broker: whatever was on the way goes again."""
        for number in edges:
            edge = self._edges[number]
            edge.up = False
            edge.again.update(edge.flying)
            edge.flying.clear()

    def silence(self, numbers: Iterable[int], now_ms: float) -> None:
        """Cut edges off: they go on reading, and neither send nor hear. Their wills speak."""
        payload = self._messages.offline(int(now_ms))
        for number in numbers:
            edge = self._edges[number]
            if edge.up:
                self._send(number, MessageKind.STATE, payload)
            edge.silent = True
            edge.again.update(edge.flying)
            edge.flying.clear()

    def unsilence(self, numbers: Iterable[int], now_ms: float) -> None:
        """End it: what they have made meanwhile leaves as their windows go."""
        chosen = list(numbers)
        for number in chosen:
            edge = self._edges[number]
            edge.silent = False
            edge.backlog_upto, edge.heard_ms = edge.made, now_ms
        self.connected((number for number in chosen if self._edges[number].up), now_ms)

    def take_ack(self, number: int, payload: bytes, now_ms: float) -> None:
        """An ack to an edge came in. DecodeError: it breaks the contract."""
        edge, ack = self._edges[number], decode_ack(payload)
        if edge.silent:
            return
        self.tally.acks += 1
        settled = ack.outboxes.get(self._messages.outbox(number))
        if settled is not None:
            for waiting in (edge.flying, edge.again):
                for seq in [
                    seq
                    for seq in waiting
                    if seq <= settled.upto
                    or any(low <= seq <= high for low, high in settled.ranges)
                ]:
                    self._settle(number, seq, waiting.pop(seq), now_ms)
            edge.upto = max(edge.upto, settled.upto)
        if ack.need_meta and now_ms - edge.meta_ms >= META_PAUSE_MS:
            self.tally.repeated_metas += 1
            self._publish_meta(number, now_ms)
            edge.again.update(edge.flying)
            edge.flying.clear()
        self._pump(number, now_ms)

    # ----------------------------------------------------------------------------- the clock

    def tick(self, now_ms: float, until_ms: float) -> None:
        """Send what is due now, or a part of it; nothing becomes due from `until_ms` on."""
        plan, tally = self._plan, self.tally
        for _ in range(_DUE_AT_ONCE):
            number, seq = plan.turn(self._turn)
            due_ms = plan.due_ms(number, seq)
            if due_ms > now_ms or due_ms >= until_ms:
                break
            self._turn += 1
            self._edges[number].made = seq
            self.unsettled += 1
            tally.due_batches += 1
            if self.probes is not None:
                self.probes.due(number, seq, due_ms)
            self._pump(number, now_ms)
        while self._expiries and self._expiries[0][0] <= now_ms:
            _, number, seq, tries = heapq.heappop(self._expiries)
            edge = self._edges[number]
            flight = edge.flying.get(seq)
            if flight is not None and flight.tries == tries:
                edge.again[seq] = edge.flying.pop(seq)
                self._pump(number, now_ms)
        states = int((now_ms - plan.start_ms) * plan.edges / STATE_MS)
        for turn in range(max(self._state_turn, states - plan.edges), states):
            if self._edges[turn % plan.edges].speaks:
                self._publish_state(turn % plan.edges, now_ms)
        self._state_turn = max(self._state_turn, states)

    def next_due_ms(self) -> int:
        """When the next batch becomes due."""
        return self._plan.due_ms(*self._plan.turn(self._turn))

    def say_offline(self, now_ms: float) -> None:
        """The last state of every edge that is connected."""
        payload = self._messages.offline(int(now_ms))
        for number, edge in enumerate(self._edges):
            if edge.speaks:
                self._send(number, MessageKind.STATE, payload)

    # ------------------------------------------------------------------------------ looking on

    def made(self) -> Sequence[int]:
        """Per edge the number of batches that became due."""
        return [edge.made for edge in self._edges]

    @property
    def unsent(self) -> int:
        """Batches that became due and were never sent."""
        return sum(edge.made - edge.sent for edge in self._edges)

    def in_backlog(self, number: int, seq: int) -> bool:
        """Whether a batch that is not settled, or is just being, was held up by an outage."""
        return seq <= self._edges[number].backlog_upto

    def give_up(self, now_ms: float) -> None:
        """Measure what is not settled by now: its delay is at least what it has waited."""
        for number, edge in enumerate(self._edges):
            for waiting in (edge.flying, edge.again):
                for seq, flight in waiting.items():
                    self._measure_ack(number, seq, flight.first_ms, now_ms, unsettled=True)
            for seq in range(edge.sent + 1, edge.made + 1):
                self._measure_lateness(number, seq, now_ms, unsettled=True)
                self._measure_ack(number, seq, None, now_ms, unsettled=True)

    # --------------------------------------------------------------------------------- inside

    def _pump(self, number: int, now_ms: float) -> None:
        """Send what an edge has, as far as its window goes: what was cut off first."""
        edge, tally = self._edges[number], self.tally
        while edge.speaks and len(edge.flying) < WINDOW:
            if edge.again:
                seq = min(edge.again)
                flight = edge.again.pop(seq)
                flight.tries += 1
                tally.resent_batches += 1
            elif edge.sent < edge.made:
                edge.sent += 1
                seq, flight = edge.sent, _Flight(now_ms)
                self._note_first(number, seq, now_ms)
            else:
                return
            edge.flying[seq] = flight
            wait_ms = min(
                self._patience.first_ms * 2 ** min(flight.tries - 1, 30), self._patience.most_ms
            )
            deadline = now_ms + wait_ms * self._draw.uniform(0.8, 1.2)
            heapq.heappush(self._expiries, (deadline, number, seq, flight.tries))
            payload = self._messages.data(number, seq)
            tally.sent_bytes += len(payload)
            self._send(number, MessageKind.DATA, payload)

    def _note_first(self, number: int, seq: int, now_ms: float) -> None:
        tally, late_ms = self.tally, now_ms - self._plan.due_ms(number, seq)
        tally.sent_batches += 1
        if self.probes is not None:
            self.probes.sent(number, seq, now_ms)
        if not self.in_backlog(number, seq):
            tally.lateness.add(late_ms)
            tally.late_batches += late_ms > LATE_MS
        self._measure_lateness(number, seq, now_ms)

    def _settle(self, number: int, seq: int, flight: _Flight, now_ms: float) -> None:
        self.unsettled -= 1
        self.tally.acked_batches += 1
        self.tally.due_to_ack.add(now_ms - self._plan.due_ms(number, seq))
        self._measure_ack(number, seq, flight.first_ms, now_ms)
        if self.probes is not None:
            self.probes.acked(number, seq, now_ms)

    def _measure_lateness(
        self, number: int, seq: int, now_ms: float, *, unsettled: bool = False
    ) -> None:
        due_ms = self._plan.due_ms(number, seq)
        if due_ms >= self.measured.from_ms and not self.in_backlog(number, seq):
            self.measured.lateness.add(now_ms - due_ms, unsettled=unsettled)

    def _measure_ack(
        self,
        number: int,
        seq: int,
        first_ms: float | None,
        now_ms: float,
        *,
        unsettled: bool = False,
    ) -> None:
        plan, measured = self._plan, self.measured
        due_ms = plan.due_ms(number, seq)
        if due_ms < measured.from_ms:
            return
        if self.in_backlog(number, seq):
            took_ms = now_ms - self._edges[number].heard_ms
            measured.outage_to_ack.add(took_ms, unsettled=unsettled)
            return
        measured.due_to_ack.add(now_ms - due_ms, unsettled=unsettled)
        if first_ms is not None:
            measured.sent_to_ack.add(now_ms - first_ms, unsettled=unsettled)
        for waited_ms in plan.waits_ms():
            measured.reading_to_ack.add(now_ms - due_ms + waited_ms, unsettled=unsettled)

    def _publish_meta(self, number: int, now_ms: float) -> None:
        self._edges[number].meta_ms = now_ms
        self._send(number, MessageKind.META, self._messages.meta(number))

    def _publish_state(self, number: int, now_ms: float) -> None:
        edge = self._edges[number]
        payload = self._messages.state(number, int(now_ms), edge.made, edge.upto)
        self._send(number, MessageKind.STATE, payload)
