import json

import pytest

from contract.state import MAX_LISTED, BusState, MeterState, UplinkState, decode_state
from contract.wire import MAX_STATE_BYTES
from edge_agent.clock import SystemClock
from edge_agent.heartbeat import Heartbeat
from edge_agent.outbox.base import MemoryOutbox

KINDS = ("timeout", "connection", "exception", "decode", "backed_off", "skipped")


class Bus:
    """A bus of meters with the longest ids; every hundredth does not answer."""

    def __init__(self, meters: int) -> None:
        self.meters = tuple(
            MeterState(
                id=f"em-{i:060}",
                ok=i % 100 != 99,
                polls=10**9,
                failures=dict.fromkeys(KINDS, 10**9),
                last_ok_ms=1_790_000_000_000,
                latency_ms=1000,
            )
            for i in range(meters)
        )

    def bus_state(self) -> BusState:
        return BusState("bus1", "modbus-tcp")

    def meter_states(self) -> tuple[MeterState, ...]:
        return self.meters


def payload_of(meters: int) -> bytes:
    heartbeat = Heartbeat(MemoryOutbox(1 << 20, 190), SystemClock(), [Bus(meters)])
    return heartbeat.payload(UplinkState(), None)


@pytest.mark.parametrize("meters", [MAX_LISTED, 3 * MAX_LISTED])
def test_a_state_too_large_leaves_out_meters_that_answer(meters):
    payload = payload_of(meters)
    assert MAX_STATE_BYTES // 3 < len(payload) <= MAX_STATE_BYTES
    listed = decode_state(payload).meters
    assert sum(not meter.ok for meter in listed) == meters // 100
    assert len(listed) > 100


def test_a_state_that_fits_lists_all_meters_in_order():
    listed = json.loads(payload_of(50))["meters"]
    assert [meter["id"] for meter in listed] == [meter.id for meter in Bus(50).meters]
