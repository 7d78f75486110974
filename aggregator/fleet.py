"""History of edges and their buses, from the state messages: at most a point a minute per edge."""

from collections.abc import Iterable, Sequence
from typing import Any

from aggregator.points import Points, Tags
from contract.interval import MINUTE_MS, SECOND_MS
from contract.state import EdgeState
from contract.stored import BUS_HISTORY, EDGE_HISTORY
from contract.topics import Address

_LARGEST = 2**62
Row = tuple[Tags, int, dict[str, Any]]


class Fleet:
    """Gathers points until they are written; those that are due only."""

    def __init__(self) -> None:
        self._last: dict[Address, tuple[int, bool]] = {}
        """Per edge when a point was made of it [ms], and whether it was online."""
        self._edges: list[Row] = []
        self._buses: list[Row] = []

    def take(self, address: Address, state: EdgeState, now_ms: int) -> None:
        """Take a state that came now; of an edge gone offline with all it said before."""
        last_ms, online = self._last.get(address, (-MINUTE_MS, not state.online))
        if now_ms - last_ms < MINUTE_MS and online == state.online:
            return
        self._last[address] = now_ms, state.online
        tags = (address.region, address.site, address.edge)
        self._edges.append((tags, now_ms, _edge(state)))
        self._buses += [
            (
                (*tags, bus.id),
                now_ms,
                {
                    "cycles": bus.cycles,
                    "missed_cycles": bus.missed_cycles,
                    "cycle_ms": bus.cycle_ms,
                    "kind": bus.kind,
                },
            )
            for bus in state.buses
            if bus.id
        ]

    def points(self) -> Sequence[Points]:
        """Return what is to be written."""
        gathered = ((EDGE_HISTORY, self._edges), (BUS_HISTORY, self._buses))
        return [Points.of_rows(of, rows) for of, rows in gathered if rows]

    def written(self) -> None:
        """Forget what `points` gave."""
        self._edges.clear()
        self._buses.clear()


def _sum(counts: Iterable[int]) -> int:
    """Add up what edges say; a nonsense beyond int64 is cut off."""
    return max(-_LARGEST, min(sum(counts), _LARGEST))


def _edge(state: EdgeState) -> dict[str, Any]:
    outbox, uplink, clock = state.outbox, state.uplink, state.clock
    horizon_s = outbox.horizon_s
    return {
        "online": int(state.online),
        "started_ms": state.started_ms,
        "outbox_depth": outbox.depth_readings,
        "outbox_batches": outbox.depth_batches,
        "outbox_bytes": outbox.depth_bytes,
        "outbox_oldest_ms": (outbox.oldest_age_s or 0) * SECOND_MS,
        "outbox_held_bytes": outbox.held_bytes,
        "outbox_limit_bytes": outbox.limit_bytes,
        "dropped": outbox.dropped_readings,
        "horizon_ms": None if horizon_s is None else horizon_s * SECOND_MS,
        "clock_synchronised": int(clock.synchronised),
        "clock_offset_ms": clock.offset_ms,
        "certificate_expires_ms": state.certificate_expires_ms,
        "connects": uplink.connects,
        "sent": uplink.sent_batches,
        "acked": uplink.acked_batches,
        "resent": uplink.resent_batches,
        "quarantined": uplink.quarantined_batches,
        "meters": len(state.meters),
        "meters_ok": sum(meter.ok for meter in state.meters),
        "polls": _sum(meter.polls for meter in state.meters),
        "failures": _sum(sum(meter.failures.values()) for meter in state.meters),
        "timeouts": _sum(meter.failures.get("timeout", 0) for meter in state.meters),
        "version": state.versions.get("agent", ""),
        "clock_source": clock.source,
        "boot": state.boot,
    }
