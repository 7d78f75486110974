"""Which batch to send next, and when to send it again: the uplink's rules, without I/O.

Live before backfill, neither ever starving
    *Live* are the newest `2 x size` numbers; all older ones are *backfill*. Live batches go first,
    newest first; backfill goes oldest first. A quarter of the window is kept free for each while
    the other has more to send, so that a day's backlog does not delay the present and a busy
    present does not stop the backlog. A live batch that is not sent in time becomes backfill.

Timeouts
    A batch unacked for `timeout_s` leaves the window and is sent again; each time the wait doubles
    up to `timeout_max_s`, +-20 % at random. When the aggregator speaks after a silence longer than
    `timeout_s`, all waits end at once: it was away, and what was sent meanwhile is lost.

Giving up
    A timeout counts against a batch only when others were acked meanwhile: it is the batch then,
    not the road. After `max_tries` of those it is given up.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.outbox.base import Outbox


@dataclass(slots=True)
class _Flight:
    meta: str
    deadline: float
    acked_before: int


class Window:
    """Batches sent and not yet acked. Times are monotonic seconds."""

    def __init__(
        self, outbox: Outbox, size: int, timeout_s: float, timeout_max_s: float, max_tries: int
    ) -> None:
        self._outbox = outbox
        self._size = size
        self._timeout_s = timeout_s
        self._timeout_max_s = timeout_max_s
        self._max_tries = max_tries
        self._flights: dict[int, _Flight] = {}
        self._sends: dict[int, int] = {}
        self._first_sent: dict[int, float] = {}
        self._own_from = outbox.next_seq
        self._blamed: Counter[int] = Counter()
        self._acked = 0
        self._heard_at: float | None = None
        self._random = random.Random()  # noqa: S311 - spreads load, guards no secret

    @property
    def in_flight(self) -> int:
        """Batches waiting for an ack."""
        return len(self._flights)

    @property
    def acked(self) -> int:
        """Batches acked since the process began."""
        return self._acked

    def sent_before(self, seq: int) -> bool:
        """Whether this batch was sent earlier by this process."""
        return seq in self._sends

    def pick(self) -> int | None:
        """The batch to send next, None when the window is full or nothing is left."""
        if len(self._flights) >= self._size:
            return None
        live_from = self._outbox.next_seq - 2 * self._size
        live = self._first(newest_first=True)
        backfill = self._first(newest_first=False)
        live = live if live is not None and live >= live_from else None
        backfill = backfill if backfill is not None and backfill < live_from else None
        share = self._size - self._size // 4
        flying_live = sum(seq >= live_from for seq in self._flights)
        if live is not None and (flying_live < share or backfill is None):
            return live
        if len(self._flights) - flying_live < share:
            return backfill
        return None

    def _first(self, *, newest_first: bool) -> int | None:
        candidates: Iterator[int] = self._outbox.unsettled(newest_first=newest_first)
        return next((seq for seq in candidates if seq not in self._flights), None)

    def sent(self, seq: int, meta: str, now_s: float) -> None:
        """A batch was handed to the broker."""
        wait_s = min(self._timeout_s * 2 ** min(self._sends.get(seq, 0), 30), self._timeout_max_s)
        self._sends[seq] = self._sends.get(seq, 0) + 1
        deadline = now_s + wait_s * self._random.uniform(0.8, 1.2)
        self._flights[seq] = _Flight(meta, deadline, self._acked)
        self._first_sent.setdefault(seq, now_s)

    def delayed(self, seq: int, by_s: float) -> None:
        """The broker took so long to take it: the wait for the ack begins only now."""
        if seq in self._flights:
            self._flights[seq].deadline += by_s

    def heard(self, now_s: float) -> float | None:
        """The outbox took an ack: forget what is settled.

        Returns a moment before the ack was made, as late as is sure: when the last of what is
        settled now was sent for the first time, since the ack of an earlier send may come after a
        later one. What an earlier process wrote, it may have sent: that tells nothing.
        """
        for seq in [seq for seq in self._flights if self._outbox.is_settled(seq)]:
            del self._flights[seq]
            self._acked += 1
        sure: float | None = None
        for seq in [seq for seq in self._sends if self._outbox.is_settled(seq)]:
            del self._sends[seq]
            self._blamed.pop(seq, None)
            first_s = self._first_sent.pop(seq)
            if seq >= self._own_from:
                sure = first_s if sure is None else max(sure, first_s)
        if self._heard_at is not None and now_s - self._heard_at > self._timeout_s:
            for flight in self._flights.values():
                flight.deadline = now_s
            for seq in self._flights:
                self._sends[seq] = 0  # waits begin short again
        self._heard_at = now_s
        return sure

    def resend_meta(self, meta: str, now_s: float) -> None:
        """The aggregator did not know this meta: what was sent under it goes again."""
        for flight in self._flights.values():
            if flight.meta == meta:
                flight.deadline = now_s
                flight.acked_before = self._acked  # not the batch's fault

    def expire(self, now_s: float) -> list[tuple[int, int]]:
        """Take timed-out batches out of the window; returns (seq, tries) of those to give up."""
        hopeless = []
        for seq in [seq for seq, flight in self._flights.items() if flight.deadline <= now_s]:
            if self._acked > self._flights.pop(seq).acked_before:
                self._blamed[seq] += 1
                if self._blamed[seq] >= self._max_tries:
                    hopeless.append((seq, self._blamed[seq]))
        return hopeless

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the next timeout, None when nothing is in flight."""
        deadline = min((flight.deadline for flight in self._flights.values()), default=None)
        return None if deadline is None else max(0.0, deadline - now_s)

    def connection_lost(self) -> None:
        """Whatever was in flight may be lost; it is sent again on the next connection."""
        self._flights.clear()
