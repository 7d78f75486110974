"""One run of a fleet: connects, warms up, measures, waits for the last acks, asks for the truth."""

from __future__ import annotations

import math
import random
import resource
import secrets
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from contract.topics import MessageKind
from contract.wire import DecodeError
from simulators.fleet.connection import Connection
from simulators.fleet.edges import Edges, Patience, Tally
from simulators.fleet.freshness import Prober
from simulators.fleet.latency import Delays
from simulators.fleet.messages import Messages
from simulators.fleet.plan import Plan
from simulators.fleet.samples import Pace, Second, pace
from simulators.fleet.truth import Verdict, check_truth

_MOST_WAIT_S = 0.02
_LEAD_MS = 500
_SETTLED_S = 1.0
_PERIODS = 3
"""The lag is judged by thirds of the measured time: what comes in bursts needs one in each."""


class FleetError(RuntimeError):
    """The run could not begin or come to its end; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is made. api: the aggregator's address; empty: neither freshness nor truth."""

    broker: tuple[str, int]
    api: str = ""
    connections: int = 4
    connect_s: float = 120.0
    warm_up_s: float = 10.0
    settle_s: float = 120.0
    """How much longer the warm-up may last, until no more than a second's worth is unsettled."""
    measure_s: float = 60.0
    drain_s: float = 60.0
    probes_per_s: float = 1.0
    checked_sites: int = 50
    """How many sites are compared with the truth in the end; 0: all."""
    outage_s: float = 0.0
    """So long a share of the edges is silent, from the end of the first third of the measuring."""
    outage_share: float = 0.1
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to. Delays are of what became due in the measured time; counts of all."""

    plan: Plan
    run: str
    seconds: Sequence[Second]
    """Of the measured time."""
    pace: Pace
    batches: Mapping[str, int]
    delays_ms: Mapping[str, Mapping[str, int | None]]
    freshness: Sequence[tuple[float, float]]
    """(seconds since the start, delay [ms]) of each probe."""
    generator_cpu_s_per_million: float | None
    """None when nothing was acknowledged."""
    generator_rss_mb: float
    probes: Mapping[str, int]
    """What became of the probes; empty without any."""
    outage: Mapping[str, float] | None
    """Seconds, and how many edges were silent."""
    truth: Verdict | None
    complete: bool
    """Whether everything that was due is acknowledged."""


Watcher = Callable[["Run"], None]
"""Looks at a run now and then: shows it, or counts what else there is to count."""


class Run:
    """A run under way. wall_ms: the wall clock, read once; from there time is monotonic."""

    def __init__(self, plan: Plan, settings: Settings, wall_ms: Callable[[], int]) -> None:
        """ValueError: what is to be measured does not fit into the measured time."""
        _check(plan, settings)
        self.plan = plan
        self.settings = settings
        self.run = secrets.token_hex(4)
        self.phase = "connecting"
        self.seconds: list[Second] = []
        self.total = Tally()
        self.silent: Sequence[int] = ()
        """Edges that are silent now."""
        self._began_ms, self._began_s = wall_ms(), time.monotonic()
        self.edges = Edges(plan, Messages(plan, self.run), self._send, settings.patience)
        connections = min(settings.connections, plan.edges)
        self.connections = [
            Connection(
                number,
                plan,
                range(number, plan.edges, connections),
                settings.broker,
                self.run,
                up=lambda edges: self.edges.connected(edges, self.now_ms()),
                down=self.edges.lost,
                ack=self._take_ack,
            )
            for number in range(connections)
        ]
        self.prober: Prober | None = None
        self.last: Second | None = None
        self._ask_ms = 0.0
        self.undecodable = 0
        self._selector = selectors.DefaultSelector()
        self._second_ms = 0.0

    def now_ms(self) -> float:
        """Wall time [ms], as the run's own clock has it."""
        return self._began_ms + 1_000 * (time.monotonic() - self._began_s)

    @property
    def since_s(self) -> float:
        """Seconds since the first reading."""
        return (self.now_ms() - self.plan.start_ms) / 1_000

    def go(self, watch: Watcher) -> Report:
        """Run to the end; `watch` is called each second and when a phase begins. FleetError."""
        settings = self.settings
        try:
            self._connect(watch)
            self.plan = self.plan.begun(int(self.now_ms()) + _LEAD_MS)
            start_ms = self.plan.start_ms
            self.edges.begin(self.plan)
            if settings.api and settings.probes_per_s > 0:
                self.prober = Prober(
                    settings.api, self.plan, self.edges, self.now_ms, settings.probes_per_s
                )
                self.edges.probes = self.prober
                self.prober.start()
            self._second_ms = start_ms + 1_000
            self._begin("warming up", watch)
            self._warm_up(start_ms + 1_000 * settings.warm_up_s, watch)
            self._end_second(measured=False)
            begun_ms = self.edges.measured.from_ms = self.now_ms()
            end_ms = begun_ms + 1_000 * settings.measure_s
            self._second_ms = begun_ms + 1_000
            self._begin("measuring", watch)
            used = _cpu_s()
            if settings.outage_s:
                self._outage(begun_ms + 1_000 * settings.measure_s / _PERIODS, end_ms, watch)
            self._until(end_ms, end_ms, watch, measured=True)
            used = _cpu_s() - used
            self._begin("waiting for the last acks", watch)
            drained_ms = self.now_ms() + 1_000 * settings.drain_s
            while self._awaiting(end_ms) and self.now_ms() < drained_ms:
                self._until(min(self.now_ms() + 100, drained_ms), end_ms, watch)
            self.edges.give_up(self.now_ms())
            if self.prober is not None:
                self.prober.give_up(self.now_ms())
            self.edges.say_offline(self.now_ms())
            self._flush()
            self._begin("comparing with the truth", watch)
            return self._report(used)
        finally:
            if self.prober is not None:
                self.prober.close()
            for connection in self.connections:
                connection.close()
            self._selector.close()

    # --------------------------------------------------------------------------------- inside

    def _begin(self, phase: str, watch: Watcher) -> None:
        self.phase = phase
        watch(self)

    def _connect(self, watch: Watcher) -> None:
        """Connect all edges, and wait until the aggregator has heard of them: a city has met."""
        watch(self)
        deadline_ms = self.now_ms() + 1_000 * self.settings.connect_s
        while any(c.writing or not c.ready for c in self.connections) or not self._known():
            self._work(0.1)
            if self.now_ms() >= deadline_ms:
                said = sorted({connection.reason for connection in self.connections} - {""})
                raise FleetError(
                    f"{sum(c.ready for c in self.connections)} of {len(self.connections)} "
                    f"connections stand after {self.settings.connect_s:g} s"
                    + (f": {'; '.join(said)}" if said else ", not all edges are known to the API")
                )

    def _known(self) -> bool:
        """Whether the aggregator has taken the states of all edges, which follow their metas."""
        if not self.settings.api or self.now_ms() < self._ask_ms:
            return not self.settings.api
        self._ask_ms = self.now_ms() + 500
        try:
            answer = httpx.get(f"{self.settings.api}/metrics", timeout=30, trust_env=False)
            text = answer.raise_for_status().text
        except httpx.HTTPError as error:
            raise FleetError(f"{self.settings.api}: {error}") from None
        head = "nenghao_aggregator_edges_online "
        known = [line for line in text.splitlines() if line.startswith(head)]
        return bool(known) and float(known[0].removeprefix(head)) >= self.plan.edges

    def _warm_up(self, warm_ms: float, watch: Watcher) -> None:
        """Go on until what the first readings of so many sites held up is made good."""
        latest_ms = warm_ms + 1_000 * self.settings.settle_s
        held_up = _SETTLED_S * self.plan.readings_per_s / self.plan.readings_per_batch
        self._until(warm_ms, math.inf, watch)
        while self.edges.unsettled > held_up + 1 and self.now_ms() < latest_ms:
            self._until(self.now_ms() + 100, math.inf, watch)

    def _outage(self, from_ms: float, end_ms: float, watch: Watcher) -> None:
        """Work until the end of an outage that begins at `from_ms`."""
        self._until(from_ms, end_ms, watch, measured=True)
        chosen = silent_edges(self.plan, self.settings.outage_share)
        self.edges.silence(chosen, self.now_ms())
        self.silent = chosen
        until_ms = self.now_ms() + 1_000 * self.settings.outage_s
        self._until(until_ms, end_ms, watch, measured=True)
        self.silent = ()
        self.edges.unsilence(chosen, self.now_ms())

    def _awaiting(self, end_ms: float) -> bool:
        """Whether acks are still to come, or batches to leave, or probes to be answered."""
        late = self.edges.next_due_ms() < end_ms
        return (
            late or self.edges.unsettled > 0 or (self.prober is not None and self.prober.open > 0)
        )

    def _until(
        self, stop_ms: float, end_ms: float, watch: Watcher, *, measured: bool = False
    ) -> None:
        """Work until a moment; nothing becomes due from `end_ms` on."""
        while (now_ms := self.now_ms()) < stop_ms:
            self.edges.tick(now_ms, end_ms)
            due_ms = self.edges.next_due_ms()
            next_ms = min(due_ms, stop_ms) if due_ms < end_ms else stop_ms
            self._work(min(max(0.0, (next_ms - self.now_ms()) / 1_000), _MOST_WAIT_S))
            if self.now_ms() >= self._second_ms:
                self._end_second(measured=measured)
                watch(self)

    def _work(self, wait_s: float) -> None:
        now_ms = self.now_ms()
        for connection in self.connections:
            connection.work(self._selector, now_ms)
        for key, events in self._selector.select(wait_s):
            if events & selectors.EVENT_READ:
                key.data.read()

    def _flush(self) -> None:
        deadline = self.now_ms() + 2_000
        while any(c.writing for c in self.connections) and self.now_ms() < deadline:
            self._work(0.05)

    def _end_second(self, *, measured: bool) -> None:
        tally, self.edges.tally = self.edges.tally, Tally()
        second = Second.of(self.plan, self.since_s, tally, self.edges.unsettled)
        self._second_ms = max(self._second_ms + 1_000, self.now_ms() + 500)
        for name in _COUNTS:
            setattr(self.total, name, getattr(self.total, name) + getattr(tally, name))
        if measured:
            self.seconds.append(second)
        self.last = second

    def _send(self, edge: int, kind: MessageKind, payload: bytes) -> None:
        self.connections[edge % len(self.connections)].send(edge, kind, payload)

    def _take_ack(self, edge: int, payload: bytes) -> None:
        try:
            self.edges.take_ack(edge, payload, self.now_ms())
        except DecodeError:
            self.undecodable += 1

    def _report(self, used_s: float) -> Report:
        self._end_second(measured=False)
        complete = self.edges.unsettled == 0
        truth = None
        if self.settings.api and complete:
            try:
                truth = check_truth(
                    self.settings.api, self.plan, self.edges.made(), self.settings.checked_sites
                )
            except httpx.HTTPError as error:
                raise FleetError(f"{self.settings.api}: {error}") from None
        acked = sum(second.acked for second in self.seconds)
        delays = {
            name: getattr(source, name, Delays()).summary()
            for source, names in ((self.edges.measured, _DELAYS), (self.prober, _PROBED))
            for name in names
        }
        return Report(
            plan=self.plan,
            run=self.run,
            seconds=self.seconds,
            pace=pace(self.plan, self.seconds),
            batches={
                **{name: getattr(self.total, name) for name in _COUNTS},
                "unsettled_batches": self.edges.unsettled,
                "unsent_batches": self.edges.unsent,
                "undecodable_acks": self.undecodable,
                "connects": sum(connection.connects for connection in self.connections),
            },
            delays_ms=delays,
            freshness=[
                (round((at - self.plan.start_ms) / 1_000, 2), round(delay, 1))
                for at, delay in (self.prober.samples if self.prober is not None else ())
            ],
            generator_cpu_s_per_million=used_s / acked * 1e6 if acked else None,
            generator_rss_mb=peak_rss_bytes() / 1e6,
            probes=self.prober.counts() if self.prober is not None else {},
            outage=_outage_of(self.plan, self.settings),
            truth=truth,
            complete=complete,
        )


_COUNTS = (
    "due_batches", "sent_batches", "acked_batches", "resent_batches", "late_batches", "sent_bytes",
    "acks", "repeated_metas",
)  # fmt: skip
_DELAYS = ("lateness", "sent_to_ack", "due_to_ack", "reading_to_ack", "outage_to_ack")
_PROBED = ("sent_to_interval", "reading_to_interval")


def silent_edges(plan: Plan, share: float) -> Sequence[int]:
    """The edges of an outage: a seeded sample, at least one."""
    return sorted(random.Random(plan.seed).sample(range(plan.edges), _silent(plan, share)))


def _silent(plan: Plan, share: float) -> int:
    return max(1, round(share * plan.edges))


def _outage_of(plan: Plan, settings: Settings) -> Mapping[str, float] | None:
    if not settings.outage_s:
        return None
    return {"seconds": settings.outage_s, "edges": _silent(plan, settings.outage_share)}


def _check(plan: Plan, settings: Settings) -> None:
    third_s = settings.measure_s / _PERIODS
    if settings.outage_s > third_s:
        raise ValueError(
            f"an outage of {settings.outage_s:g} s is over a third of the {settings.measure_s:g} s "
            "measured: before it and after its backlog there would be nothing to compare"
        )
    if not 0 < settings.outage_share <= 1:
        raise ValueError(f"an outage of {settings.outage_share:g} of the edges: over 0, at most 1")
    if plan.aligned and plan.commit_ms > 1_000 * third_s:
        raise ValueError(
            f"{settings.measure_s:g} s measured hold less than {_PERIODS} bursts: all edges "
            f"send at once each {plan.commit_ms / 1_000:g} s"
        )


def peak_rss_bytes() -> int:
    """Largest resident memory; `getrusage` would count what was forked from, too."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
