"""The state message: all that an edge says of itself, and nothing that costs it a disk access."""

import platform
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from contract import CONTRACT_VERSION
from contract.interval import DAY_MS
from contract.state import (
    BusState,
    ClockState,
    EdgeState,
    MeterState,
    OutboxState,
    UplinkState,
    encode_state,
)
from contract.wire import DecodeError
from edge_agent.certificate import expires_ms
from edge_agent.clock import Clock
from edge_agent.events import CertificateEnding, Emit
from edge_agent.outbox.base import Outbox

ENDS_SOON_MS = 30 * DAY_MS
"""A certificate that ends within is told of: time to have it signed again [ms]."""
SYNCHRONISED_MS = 2_000
"""Offset from the aggregator's clock up to which this clock counts as right [ms]."""


class Polled(Protocol):
    """What a poller tells of its bus."""

    def bus_state(self) -> BusState:
        """State of the bus."""
        ...

    def meter_states(self) -> tuple[MeterState, ...]:
        """States of its meters."""
        ...


class Heartbeat:
    """Puts the state together when one is due."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        pollers: Sequence[Polled],
        certificate: Path | None = None,
        source: Callable[[], str] = lambda: "rtc",
        emit: Emit = lambda _: None,
    ) -> None:
        """`certificate` is the client's, read once per connection: it may be renewed.

        `source` says where the time comes from, "none" when readings are held for want of it.
        """
        self._outbox = outbox
        self._clock = clock
        self._pollers = pollers
        self._source = source
        self._boot = secrets.token_hex(8)
        self._started_ms = clock.time_ms()
        self._versions = agent_versions()
        self._certificate = certificate
        self._expires_ms: int | None = None
        self._emit = emit
        self._told_end_ms: int | None = None
        self._read_at_connect = 0

    def payload(self, uplink: UplinkState, offset_ms: int | None) -> bytes:
        """The encoded state at this moment; meters that answer are left out if it is too large."""
        state = self.state(uplink, offset_ms)
        while True:
            try:
                return encode_state(state)
            except DecodeError:  # more meters or bytes than the contract takes
                if not state.meters:
                    raise
            troubled_first = sorted(state.meters, key=lambda meter: meter.ok)
            state = replace(state, meters=tuple(troubled_first[: len(state.meters) // 2]))

    def state(self, uplink: UplinkState, offset_ms: int | None) -> EdgeState:
        """The state at this moment; `offset_ms` = aggregator's clock minus this one."""
        now_ms = self._clock.time_ms()
        if self._certificate is not None and uplink.connects != self._read_at_connect:
            self._read_at_connect = uplink.connects
            self._expires_ms = expires_ms(self._certificate)
        self._warn(now_ms)
        source = self._source()
        meters = [meter for poller in self._pollers for meter in poller.meter_states()]
        return EdgeState(
            online=True,
            time_ms=now_ms,
            boot=self._boot,
            started_ms=self._started_ms,
            versions=self._versions,
            certificate_expires_ms=self._expires_ms,
            clock=ClockState(
                source=source,
                synchronised=source != "none" and abs(offset_ms or 0) <= SYNCHRONISED_MS,
                offset_ms=offset_ms,
            ),
            outbox=self._outbox_state(now_ms),
            uplink=uplink,
            buses=tuple(poller.bus_state() for poller in self._pollers),
            meters=tuple(meters),
        )

    def _warn(self, now_ms: int) -> None:
        """Tell of a certificate that ends soon, once for each."""
        end_ms = self._expires_ms
        if end_ms is None or end_ms == self._told_end_ms or end_ms - now_ms > ENDS_SOON_MS:
            return
        self._told_end_ms = end_ms
        self._emit(CertificateEnding((end_ms - now_ms) // DAY_MS))

    def _outbox_state(self, now_ms: int) -> OutboxState:
        stats = self._outbox.stats()
        age_ms = None if stats.oldest_ms is None else max(0, now_ms - stats.oldest_ms)
        return OutboxState(
            id=self._outbox.id,
            next_seq=stats.next_seq,
            upto=stats.upto,
            depth_batches=stats.depth_batches,
            depth_readings=stats.depth_readings,
            depth_bytes=stats.depth_bytes,
            oldest_age_s=None if age_ms is None else age_ms // 1000,
            held_bytes=stats.held_bytes,
            limit_bytes=stats.limit_bytes,
            horizon_s=stats.horizon_s,
            dropped_readings=stats.dropped_readings,
            thinned_readings=stats.thinned_readings,
            lost_batches=stats.lost_batches,
            timeless_readings=stats.timeless_readings,
            alarm_percent=stats.alarm_percent,
            durable=self._outbox.durable,
        )


def agent_versions() -> dict[str, str]:
    """Versions of the agent, Python and the contract."""
    return {
        "agent": version("nenghao"),
        "python": platform.python_version(),
        "contract": str(CONTRACT_VERSION),
    }
