"""How long a sent batch takes to be seen in the ledger: asked of the API, as a person would.

The ack bounds it from above, for it leaves after the commit; this looks for itself. A probe takes
an edge that has nothing on the way and is about to send, reads what the ledger has booked for one
of its registers, and when the batch leaves asks until the intervals hold exactly that much more.
A figure is what the API had answered in full, so it is never too low; it is too high by the
pause between two questions at most.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable

import httpx

from contract.interval import GRID_MS
from contract.units import MICRO
from simulators.fleet.edges import Edges
from simulators.fleet.latency import Delays
from simulators.fleet.messages import meter_id
from simulators.fleet.plan import CUMULATIVE, Plan

AHEAD_MS = 1_000
"""How long before a batch is due a probe begins; half the way at most."""
PAUSE_S = 0.05
_PATIENCE_S = 60.0
_ROUNDING_MICRO = 4
"""Amounts come as decimal kWh, and each border that is crossed is rounded once."""


class Prober(threading.Thread):
    """Probes one batch after the other, `per_s` at most, until `stop`."""

    def __init__(
        self, api: str, plan: Plan, edges: Edges, now_ms: Callable[[], float], per_s: float
    ) -> None:
        super().__init__(name="freshness", daemon=True)
        self._client = httpx.Client(base_url=api, timeout=30, trust_env=False)
        self._plan, self._edges, self._now_ms = plan, edges, now_ms
        self._every_s = 1 / per_s
        self._draw = random.Random(plan.seed)
        self._ending = threading.Event()
        self.measuring = False
        """Whether what is seen counts."""
        self.delays = Delays()
        self.samples: list[tuple[float, float]] = []
        """(time seen, delay) [ms]."""
        self.given_up = 0
        """Batches not seen within a minute, or refused by the API."""

    def run(self) -> None:
        """Probe until stopped."""
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._probe()
            except (httpx.HTTPError, KeyError, ValueError):
                self.given_up += self.measuring
            self._ending.wait(max(0.0, began + self._every_s - time.monotonic()))

    def stop(self) -> None:
        """Begin no more; what is being probed is not counted."""
        self._ending.set()

    def close(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        self.join()
        self._client.close()

    def _probe(self) -> None:
        plan = self._plan
        edge, seq = self._edges.upcoming(min(AHEAD_MS, plan.commit_ms / 2))
        if seq < 2 or not self._edges.idle(edge, seq):
            return
        meter = self._draw.randrange(plan.meters_per_edge)
        from_ms = plan.reading_ms(edge, 0) // GRID_MS * GRID_MS
        before = self._booked(edge, meter, from_ms)
        sent: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()
        self._edges.watch(edge, lambda *what: sent.put(what))
        if not self._edges.idle(edge, seq):
            return
        last, sent_ms = -1, 0.0
        while last < 0 and not self._ending.is_set():
            with contextlib.suppress(queue.Empty):
                last, sent_ms = sent.get(timeout=0.2)
        if last != seq:
            return
        old, new = (
            plan.register_micro(
                edge, meter, CUMULATIVE[0], plan.reading_ms(edge, number * plan.samples - 1)
            )
            for number in (seq - 1, seq)
        )
        more = plan.multiplier(edge, meter) * (new - old) - _ROUNDING_MICRO
        while more > 0 and not self._ending.is_set():
            booked = self._booked(edge, meter, from_ms)
            now_ms = self._now_ms()
            if booked - before >= more:
                if self.measuring:
                    self.delays.add(now_ms - sent_ms)
                    self.samples.append((now_ms, now_ms - sent_ms))
                return
            if now_ms - sent_ms > 1_000 * _PATIENCE_S:
                self.given_up += self.measuring
                return
            self._ending.wait(PAUSE_S)

    def _booked(self, edge: int, meter: int, from_ms: int) -> int:
        """What the base intervals of a register hold [micro-units]."""
        answer = self._client.get(
            "/api/v1/intervals",
            params={
                "level": "interval",
                "site": self._plan.address(edge).site,
                "meter": meter_id(meter),
                "channel": CUMULATIVE[0],
                "from": from_ms,
                "to": from_ms + 2 * GRID_MS + int(self._now_ms() - from_ms) // GRID_MS * GRID_MS,
            },
        )
        answer.raise_for_status()
        rows = answer.json()["intervals"]
        return sum(round(row["amount"]["energy_kwh"] * MICRO) for row in rows)
