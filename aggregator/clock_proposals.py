"""What a person might say of a gateway whose batches name times that cannot be: its clock is wrong.

A batch that comes while the gateway is connected ends with readings of just now: how far ahead of
its arrival they lie is how far the clock is ahead, less what the batch was under way. So the batch
that lies furthest ahead tells most. Pure: batches in quarantine, in; docs/formats/events.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from aggregator.ledger.meter_events import MAX_OFFSET_MS, EventKind, MeterEvent
from aggregator.proposals import AUTHOR, CONFIRMING
from contract.interval import MINUTE_MS, SECOND_MS
from contract.topics import Address

_APART_MS = 30 * MINUTE_MS
"""Refused batches further apart than this, by the gateway's clock, may be of another fault ..."""
_ALIKE_MS = 2 * MINUTE_MS
"""... unless they lie as far ahead."""


@dataclass(frozen=True, slots=True)
class Misdated:
    """A batch of which the door refused readings."""

    address: Address
    arrived_ms: int
    """By the aggregator's clock."""
    first_ms: int
    """Of the refused readings, by the gateway's clock."""
    last_ms: int
    readings: int
    """Refused ones."""

    @property
    def ahead_ms(self) -> int:
        """How far its last reading lies ahead of its arrival."""
        return self.last_ms - self.arrived_ms


@dataclass(frozen=True, slots=True)
class ClockFinding:
    """A gateway's clock that seems to be wrong, and the event that would put it right."""

    address: Address
    from_ms: int
    """First refused reading, by the gateway's clock."""
    to_ms: int
    """Last refused reading."""
    waits_for: int
    """Batches that must still confirm it."""
    proposals: Sequence[MeterEvent]
    evidence: Sequence[Misdated]

    @property
    def ahead_ms(self) -> int:
        """How far the clock is ahead at least; negative: behind."""
        return max(batch.ahead_ms for batch in self.evidence)


def clock_findings(batches: Iterable[Misdated]) -> Iterator[ClockFinding]:
    """Yield one finding per gateway and fault, ascending in time."""
    faults: dict[Address, list[list[Misdated]]] = {}
    for batch in sorted(batches, key=lambda one: (one.address, one.first_ms, one.last_ms)):
        of_edge = faults.setdefault(batch.address, [])
        if not (of_edge and _goes_on(of_edge[-1], batch)):
            of_edge.append([])
        of_edge[-1].append(batch)
    for of_edge in faults.values():
        yield from map(_finding, of_edge)


def _goes_on(fault: Sequence[Misdated], batch: Misdated) -> bool:
    near = batch.first_ms - max(one.last_ms for one in fault) <= _APART_MS
    return near or abs(batch.ahead_ms - fault[-1].ahead_ms) <= _ALIKE_MS


def _finding(fault: Sequence[Misdated]) -> ClockFinding:
    address = fault[0].address
    from_ms, to_ms = fault[0].first_ms, max(batch.last_ms for batch in fault)
    ahead_ms = max(batch.ahead_ms for batch in fault)
    # Under way a batch only loses; clocks that are set wrongly are wrong by whole minutes.
    offset_ms = -(-(-ahead_ms // MINUTE_MS) * MINUTE_MS)
    waits_for = max(0, CONFIRMING - len(fault))
    proposals = []
    if not waits_for and abs(offset_ms) <= MAX_OFFSET_MS:
        why = f"{len(fault)} batches end up to {ahead_ms // SECOND_MS} s ahead of their arrival"
        proposals.append(
            MeterEvent(
                EventKind.CLOCK, address.region, address.site, from_ms, AUTHOR, why,
                edge=address.edge, until_ms=to_ms + 1, offset_ms=offset_ms,
            )
        )  # fmt: skip
    return ClockFinding(address, from_ms, to_ms, waits_for, proposals, fault)
