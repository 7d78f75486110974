"""How long a sent batch takes to be seen in the ledger: asked of the API, as a person would.

Any batch may be probed, drawn as it becomes due: the one behind a full window as well as the one of
an edge at rest, and what is not seen to the end counts as waiting. Questions are a load, too: one
is asked when the ack is there, for it leaves after the commit, and before only now and then. A
figure is what the API had answered in full, so it is never too low.
"""

from __future__ import annotations

import math
import queue
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from contract.interval import GRID_MS
from simulators.fleet.edges import Edges
from simulators.fleet.latency import Delays
from simulators.fleet.messages import meter_id
from simulators.fleet.plan import CUMULATIVE, Plan

PAUSE_MS, PAUSE_SHARE = 250.0, 0.25
"""Between two questions, or so much of what has been waited: ever less often."""
_LOOK_S = 0.01


@dataclass(slots=True, eq=False)
class Probe:
    """One register of one batch. measured: whether what is seen counts."""

    edge: int
    seq: int
    meter: int
    due_ms: float
    measured: bool
    sent_ms: float | None = None
    ask_ms: float = math.inf
    """When to ask next."""


class Prober(threading.Thread):
    """Probes `per_s` batches on average. `due` and `sent` belong to the thread of the edges."""

    def __init__(
        self, api: str, plan: Plan, edges: Edges, now_ms: Callable[[], float], per_s: float
    ) -> None:
        super().__init__(name="freshness", daemon=True)
        self._client = httpx.Client(base_url=api, timeout=30, trust_env=False)
        self._plan, self._edges, self._now_ms = plan, edges, now_ms
        self._chance = per_s / plan.batches_per_s
        self._draw = random.Random(plan.seed)
        self._ending = threading.Event()
        self._unsent: dict[tuple[int, int], Probe] = {}
        self._unacked: dict[tuple[int, int], Probe] = {}
        self._told: queue.SimpleQueue[tuple[float, Probe]] = queue.SimpleQueue()
        """From the edges to the thread: when to ask for what."""
        self._waiting: set[Probe] = set()
        """Sent and not seen; of the thread alone."""
        self.sent_to_interval, self.reading_to_interval = Delays(), Delays()
        self.samples: list[tuple[float, float]] = []
        """(time seen, delay) [ms]."""
        self.taken = self.seen = self.held_up = self.unsettled = self.unsent = self.refused = 0

    def counts(self) -> Mapping[str, int]:
        """What became of the probes of the measured time. held_up: seen or not, in a backlog.

        refused: questions that the API did not answer; they are asked again.
        """
        names = ("taken", "seen", "held_up", "unsettled", "unsent", "refused")
        return {name: getattr(self, name) for name in names}

    @property
    def open(self) -> int:
        """Probes of the measured time that are not answered."""
        return self.taken - self.seen - self.held_up

    # ------------------------------------------------------------------- told by the edges

    def due(self, number: int, seq: int, due_ms: float) -> None:
        """Draw whether a batch is probed. What its edge has on the way is not looked at."""
        if self._draw.random() < self._chance:
            meter = self._draw.randrange(self._plan.meters_per_edge)
            measured = due_ms >= self._edges.measured.from_ms
            self.taken += measured
            self._unsent[number, seq] = Probe(number, seq, meter, due_ms, measured)

    def sent(self, number: int, seq: int, now_ms: float) -> None:
        """From here on the ledger is asked for it."""
        probe = self._unsent.pop((number, seq), None)
        if probe is not None:
            self._unacked[number, seq] = probe
            probe.sent_ms = now_ms
            self._told.put((now_ms + PAUSE_MS, probe))

    def acked(self, number: int, seq: int, now_ms: float) -> None:
        """The ledger should have it."""
        probe = self._unacked.pop((number, seq), None)
        if probe is not None:
            self._told.put((now_ms, probe))

    # ------------------------------------------------------------------------- the thread

    def run(self) -> None:
        """Ask until closed: of all that wait, first the one whose question is most overdue."""
        while not self._ending.is_set():
            self._listen()
            probe = min(self._waiting, key=lambda one: one.ask_ms, default=None)
            if probe is None or probe.ask_ms > self._now_ms():
                self._ending.wait(_LOOK_S)
            elif self.holds(probe):
                self._waiting.discard(probe)
                self._note(probe, self._now_ms())
            else:
                now_ms = self._now_ms()
                waited_ms = now_ms - (probe.sent_ms or now_ms)
                probe.ask_ms = now_ms + max(PAUSE_MS, PAUSE_SHARE * waited_ms)

    def _listen(self) -> None:
        while not self._told.empty():
            ask_ms, probe = self._told.get()
            if math.isinf(probe.ask_ms):
                self._waiting.add(probe)
            probe.ask_ms = min(ask_ms, probe.ask_ms)

    def close(self) -> None:
        """Ask no more."""
        self._ending.set()
        if self.is_alive():
            self.join()
        self._client.close()

    def give_up(self, now_ms: float) -> None:
        """Close, and measure what is not seen: its delay is at least what it has waited."""
        self.close()
        self._listen()
        for probe in [*self._waiting, *self._unsent.values()]:
            if not probe.measured:
                continue
            if self._edges.in_backlog(probe.edge, probe.seq):
                self.held_up += 1
                continue
            self.unsettled += 1
            self.unsent += probe.sent_ms is None
            self._measure(probe, now_ms, unsettled=True)

    def holds(self, probe: Probe) -> bool:
        """Whether the ledger has the batch's last reading, and its intervals what it moved."""
        plan = self._plan
        due_ms = plan.due_ms(probe.edge, probe.seq)
        from_ms = (due_ms - plan.commit_ms) // GRID_MS * GRID_MS
        asked: dict[str, str | int] = {
            "site": plan.address(probe.edge).site,
            "meter": meter_id(probe.meter),
            "from": from_ms,
        }
        try:
            answer = self._client.get("/api/v1/proof", params=asked)
            rows = answer.raise_for_status().json()["channels"]
        except (httpx.HTTPError, KeyError, ValueError):
            self.refused += 1
            return False
        since_ms = max(from_ms, plan.reading_ms(probe.edge, 0))
        return any(
            row["channel"] == CUMULATIVE[0]
            and row["last_ms"] is not None
            and row["last_ms"] >= due_ms
            and row["closes"]
            # A later batch may have come before it: then readings are missing.
            and row["received"] > (row["last_ms"] - since_ms) // plan.poll_ms
            for row in rows
        )

    # ----------------------------------------------------------------------------- inside

    def _note(self, probe: Probe, now_ms: float) -> None:
        if not probe.measured:
            return
        if self._edges.in_backlog(probe.edge, probe.seq):
            self.held_up += 1
            return
        self._measure(probe, now_ms)
        self.samples.append((now_ms, now_ms - (probe.sent_ms or now_ms)))
        self.seen += 1

    def _measure(self, probe: Probe, now_ms: float, *, unsettled: bool = False) -> None:
        if probe.sent_ms is not None:
            self.sent_to_interval.add(now_ms - probe.sent_ms, unsettled=unsettled)
        for waited_ms in self._plan.waits_ms():
            took_ms = now_ms - probe.due_ms + waited_ms
            self.reading_to_interval.add(took_ms, unsettled=unsettled)
