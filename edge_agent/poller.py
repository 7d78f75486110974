"""Poll the meters of one bus, on a grid, without letting the dead hold up the living.

- The grid is aligned to the epoch: a period of 15 s polls at :00, :15, :30 and :45. A poll that
  outlasts its period is followed at once by the poll of the slot it ended in; the slots that passed
  wholly are missed and counted, never made up for.
- Meters behind one endpoint (host and port) share a wire and are asked one after the other; the
  endpoints of a bus are independent of each other.
- A poll ends at its deadline, one period after its beginning: meters not yet asked are skipped and
  counted, and the next poll begins with them, so that no meter starves.
- A meter that fails n times running is left alone for 2^(n-1) - 1 polls, up to `backoff_max_s`:
  it costs one timeout per pause. When the endpoint itself cannot be reached, one attempt stands for
  all its meters.
- A meter that answers with an error ("refused") costs no time and is asked again each time; the
  answers to its other reads count.

- After a gap, what the meter froze meanwhile is read (see `gaps`), one freeze an endpoint and
  poll, when all its meters were polled and less than half the period is gone.

Time of a reading: the middle between the first request and the last answer of the meter's poll,
one for all its channels. The meter fixed its values somewhere in between, so the middle is wrong by
at most half the round trip. The wall clock is read once, at the end, and half the elapsed monotonic
time taken off: a jump of the wall clock in between cannot tear it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contract.reading import Reading
from contract.state import BusState, MeterState
from edge_agent.clock import Clock
from edge_agent.clocks import ClockSetter
from edge_agent.config import BusConfig, PollConfig
from edge_agent.decoders.base import Decoder
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import LinkError, LinkGarbledError, LinkTimeoutError, MeterError
from edge_agent.events import Emit, MeterBack, MeterLost, MeterRefused, PollMissed
from edge_agent.gaps import GapFiller, Since
from edge_agent.links.base import MeterLink
from edge_agent.links.registry import LinkFactory
from edge_agent.maps.base import DeviceMap

TIMEOUT = "timeout"
GARBLED = "garbled"
CONNECTION = "connection"
EXCEPTION = "exception"
DECODE = "decode"
BACKED_OFF = "backed_off"
SKIPPED = "skipped"


class Sink(Protocol):
    """Where readings go. Must not block: it is called between two requests on the wire."""

    def append(self, readings: Sequence[Reading]) -> None:
        """Take the readings of one poll of one meter."""
        ...


@dataclass(slots=True, eq=False)
class _Meter:
    """One meter and what happened to it. Counts since the process began."""

    id: str
    decoder: Decoder
    gaps: GapFiller
    polls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)
    failed_running: int = 0
    pause: int = 0
    """Polls to leave out before the next try."""
    lost_since_ms: int | None = None
    refused: bool = False
    answered: bool = False
    last_ok_ms: int | None = None
    latency_ms: int | None = None


@dataclass(slots=True, eq=False)
class _Endpoint:
    """One wire, its meters in the order of the configuration, and where to begin."""

    link: MeterLink
    meters: list[_Meter]
    first: int = 0
    cycles: int = 0
    missed: int = 0
    overrunning: bool = False
    clocks: ClockSetter | None = None
    cycle_ms: int | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class BusPoller:
    """Polls one bus: `run` for ever on the grid, or `poll_once` in lockstep."""

    def __init__(
        self,
        bus: BusConfig,
        poll: PollConfig,
        devices: Mapping[str, DeviceMap],
        link_factory: LinkFactory,
        clock: Clock,
        sink: Sink,
        emit: Emit,
        since: Since | None = None,
    ) -> None:
        """Work out reads and formats; nothing is opened yet.

        Args:
            bus: the bus and its meters.
            poll: period and longest pause.
            devices: maps by model; has every model of the bus.
            link_factory: makes the link to one endpoint, see `links.registry.make_link`.
            clock: the only source of time.
            sink: takes the readings.
            emit: takes events: a meter lost, back or refused, polls missed.
            since: what is known of the time before this process, None = nothing.
        """
        self.id = bus.id
        self._kind = bus.kind
        self._period_ms = poll.period_ms
        self._backoff_max_s = poll.backoff_max_s
        self._clock = clock
        self._sink = sink
        self._emit = emit
        self._meters: list[_Meter] = []
        endpoints: dict[tuple[str, int], _Endpoint] = {}
        for config in bus.meters:
            decoder = make_decoder(config, devices[config.model], by_hand=bus.kind == "manual")
            gaps = GapFiller(config.id, decoder, clock, emit, since or Since())
            meter = _Meter(config.id, decoder, gaps)
            where = (config.host or bus.host, config.port or bus.port)
            if where not in endpoints:
                clocks = ClockSetter(bus.id, clock, emit) if bus.clock_broadcast else None
                endpoints[where] = _Endpoint(link_factory(bus, *where), [], clocks=clocks)
            endpoints[where].meters.append(meter)
            self._meters.append(meter)
        self._endpoints = list(endpoints.values())

    async def run(self) -> None:
        """Poll on the grid until cancelled; a poll of a meter under way is then given up."""
        try:
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(self._run_endpoint(endpoint))
        finally:
            await self.close()

    async def poll_once(self, time_ms: int | None = None) -> int:
        """Poll every meter that is not backed off, once, without sleeping or deadline.

        Args:
            time_ms: the instant of the readings [ms UTC]; None = by the clock.

        Returns:
            The number of readings given to the sink.
        """
        if len(self._endpoints) == 1:
            return await self._poll_endpoint(self._endpoints[0], None, time_ms)
        counts = await asyncio.gather(
            *(self._poll_endpoint(endpoint, None, time_ms) for endpoint in self._endpoints)
        )
        return sum(counts)

    def set_period(self, period_ms: int) -> None:
        """Poll on another grid, from the next poll on."""
        self._period_ms = period_ms

    async def close(self) -> None:
        """Take all wires down."""
        for endpoint in self._endpoints:
            await endpoint.link.close()

    def bus_state(self) -> BusState:
        """Return the bus for the state message; an endpoint's cycles and misses count each."""
        lengths = [e.cycle_ms for e in self._endpoints if e.cycle_ms is not None]
        return BusState(
            id=self.id,
            kind=self._kind,
            cycles=sum(endpoint.cycles for endpoint in self._endpoints),
            missed_cycles=sum(endpoint.missed for endpoint in self._endpoints),
            cycle_ms=max(lengths, default=None),
        )

    def meter_states(self) -> tuple[MeterState, ...]:
        """Return the meters for the state message, in the order of the configuration."""
        return tuple(
            MeterState(
                id=meter.id,
                ok=meter.answered and meter.failed_running == 0 and not meter.refused,
                polls=meter.polls,
                failures=dict(meter.failures),
                last_ok_ms=meter.last_ok_ms,
                latency_ms=meter.latency_ms,
            )
            for meter in self._meters
        )

    def dropped(self) -> Counter[str]:
        """Return how many values could not become readings, by reason (see `decode`)."""
        return sum((meter.drops for meter in self._meters), Counter())

    async def _run_endpoint(self, endpoint: _Endpoint) -> None:
        period = self._period_ms
        done = self._clock.time_ms() // period
        task = asyncio.current_task()
        while True:
            if task is not None and task.cancelling():
                # Some library below took the cancellation for its own: wait_for of Python 3.11
                # does when the answer comes at the same moment.
                raise asyncio.CancelledError
            await self._clock.sleep_until((done + 1) * period)
            if period != self._period_ms:
                period = self._period_ms
                done = self._clock.time_ms() // period
                continue
            now = self._clock.time_ms() // period
            if now <= done:
                if now < done - 1:  # the wall clock went back: follow it
                    done = now
                continue
            self._count_missed(endpoint, now - done - 1)
            done = now
            deadline = self._clock.monotonic() + period / 1000
            await self._poll_endpoint(endpoint, deadline, None)

    @property
    def _longest_pause(self) -> int:
        return max(1, int(self._backoff_max_s * 1000) // self._period_ms)

    def _count_missed(self, endpoint: _Endpoint, missed: int) -> None:
        """Count grid points that passed while polling; report when it begins.

        Many at once means that the wall clock jumped forward or the machine slept: no overrun.
        """
        if endpoint.cycle_ms is None or missed * self._period_ms > endpoint.cycle_ms:
            missed = 0
        endpoint.missed += missed
        if missed and not endpoint.overrunning:
            self._emit(PollMissed(self.id, missed))
        endpoint.overrunning = missed > 0

    async def _poll_endpoint(
        self, endpoint: _Endpoint, deadline: float | None, time_ms: int | None
    ) -> int:
        async with endpoint.busy:
            return await self._poll_in_turn(endpoint, deadline, time_ms)

    async def _poll_in_turn(
        self, endpoint: _Endpoint, deadline: float | None, time_ms: int | None
    ) -> int:
        began = self._clock.monotonic()
        meters = endpoint.meters[endpoint.first :] + endpoint.meters[: endpoint.first]
        endpoint.first = 0
        count = 0
        for index, meter in enumerate(meters):
            if deadline is not None and self._clock.monotonic() >= deadline:
                endpoint.first = endpoint.meters.index(meter)
                for skipped in meters[index:]:
                    skipped.failures[SKIPPED] += 1
                break
            if meter.pause:
                meter.pause -= 1
                meter.failures[BACKED_OFF] += 1
                continue
            if not endpoint.link.is_open:
                try:
                    await endpoint.link.open()
                except LinkError as error:
                    self._unreachable(meters[index:], error)
                    break
            count += await self._poll_meter(endpoint.link, meter, time_ms)
        if deadline is None or self._clock.monotonic() < deadline - self._period_ms / 2000:
            count += await self._fill_a_gap(endpoint)
        if endpoint.clocks is not None:
            await endpoint.clocks.tell(endpoint.link)
        endpoint.cycles += 1
        endpoint.cycle_ms = round((self._clock.monotonic() - began) * 1000)
        return count

    def _unreachable(self, meters: Iterable[_Meter], error: LinkError) -> None:
        for meter in meters:
            if meter.pause:
                meter.pause -= 1
                meter.failures[BACKED_OFF] += 1
                continue
            meter.polls += 1
            self._failed(meter, CONNECTION, error)

    async def _poll_meter(self, link: MeterLink, meter: _Meter, time_ms: int | None) -> int:
        meter.polls += 1
        began = self._clock.monotonic()
        answers: list[Any] = []
        refusal: MeterError | None = None
        try:
            for question in meter.decoder.questions:
                try:
                    answers.append(await link.read(question))
                except MeterError as error:
                    refusal = refusal or error
                    answers.append(None)
        except LinkError as error:
            self._failed(meter, _kind_of(error), error)
        else:
            self._answered(meter)
            self._note_refusal(meter, refusal)
        elapsed_s = self._clock.monotonic() - began
        now_ms = self._clock.time_ms()
        if time_ms is None:
            time_ms = now_ms - round(elapsed_s * 500)
        readings: list[Reading] = []
        dropped = meter.drops.total()
        for index, answer in enumerate(answers):
            if answer is not None:
                readings += meter.decoder.decode(index, answer, time_ms, meter.drops)
        if meter.drops.total() > dropped:
            meter.failures[DECODE] += 1
        if readings:
            meter.gaps.read_at(time_ms)
            meter.last_ok_ms = time_ms
            meter.latency_ms = round(elapsed_s * 1000)
            self._sink.append(readings)
        return len(readings)

    def fill_gap(self, meter_id: str, after_ms: int, before_ms: int) -> bool | None:
        """Read what a meter froze between two instants [ms UTC] at the next polls.

        Returns whether the meter keeps freezes; None when this bus has no such meter.
        """
        for meter in self._meters:
            if meter.id == meter_id:
                return meter.gaps.want(after_ms, before_ms)
        return None

    async def _fill_a_gap(self, endpoint: _Endpoint) -> int:
        """Read one freeze of the first meter with a gap; returns the readings taken."""
        for meter in endpoint.meters:
            if meter.gaps.is_open and not meter.failed_running:
                try:
                    readings = await meter.gaps.step(endpoint.link)
                except LinkError as error:
                    self._failed(meter, _kind_of(error), error)
                    return 0
                if readings:
                    self._sink.append(readings)
                return len(readings)
        return 0

    def _failed(self, meter: _Meter, kind: str, error: LinkError) -> None:
        meter.failures[kind] += 1
        meter.failed_running += 1
        exponent = min(meter.failed_running - 1, 30)  # beyond, the longest pause holds anyway
        meter.pause = min(2**exponent, self._longest_pause) - 1
        if meter.failed_running == 1:
            meter.lost_since_ms = self._clock.time_ms()
            self._emit(MeterLost(meter.id, str(error)))

    def _answered(self, meter: _Meter) -> None:
        meter.answered = True
        if meter.failed_running:
            since_ms = meter.lost_since_ms or 0
            meter.failed_running = 0
            meter.lost_since_ms = None
            lost_s = max(0, self._clock.time_ms() - since_ms) / 1000
            self._emit(MeterBack(meter.id, lost_s))

    def _note_refusal(self, meter: _Meter, refusal: MeterError | None) -> None:
        if refusal is not None:
            meter.failures[EXCEPTION] += 1
            if not meter.refused:
                self._emit(MeterRefused(meter.id, str(refusal)))
        meter.refused = refusal is not None


def _kind_of(error: LinkError) -> str:
    if isinstance(error, LinkTimeoutError):
        return TIMEOUT
    return GARBLED if isinstance(error, LinkGarbledError) else CONNECTION


def build_pollers(
    buses: Iterable[BusConfig],
    poll: PollConfig,
    devices: Mapping[str, DeviceMap],
    link_factory: LinkFactory,
    clock: Clock,
    sink: Sink,
    emit: Emit,
    since: Since | None = None,
) -> tuple[BusPoller, ...]:
    """Return one poller per bus; see `BusPoller` for the arguments."""
    return tuple(
        BusPoller(bus, poll, devices, link_factory, clock, sink, emit, since) for bus in buses
    )
