import json
import shutil
import ssl
import subprocess

import pytest

from contract.interval import DAY_MS
from contract.state import MAX_LISTED, BusState, MeterState, UplinkState, decode_state
from contract.wire import MAX_STATE_BYTES
from edge_agent.certificate import expires_ms
from edge_agent.clock import SteppingClock, SystemClock
from edge_agent.events import CertificateEnding, Event
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


def made_certificate(folder, days: int):
    """A certificate of a client (no authority) from openssl, and its end as openssl tells it."""
    name = folder / "client.pem"
    request = (
        "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=gw1"
        f" -addext basicConstraints=critical,CA:FALSE -days {days} -keyout key.pem -out {name.name}"
    )
    subprocess.run(request.split(), cwd=folder, check=True, capture_output=True)
    end = subprocess.run(
        ["openssl", "x509", "-in", name, "-noout", "-enddate"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return name, ssl.cert_time_to_seconds(end.strip().removeprefix("notAfter=")) * 1000


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
def test_a_certificate_is_told_of_thirty_days_before_its_end_once_until_it_is_renewed(tmp_path):
    path, end_ms = made_certificate(tmp_path, 90)
    clock = SteppingClock(end_ms - 31 * DAY_MS)
    events: list[Event] = []
    heartbeat = Heartbeat(MemoryOutbox(1 << 20, 190), clock, [], path, emit=events.append)
    heartbeat.state(UplinkState(connects=1), None)
    assert events == []
    clock.advance(end_ms - 30 * DAY_MS)
    for _ in range(3):
        heartbeat.state(UplinkState(connects=1), None)
    assert events == [CertificateEnding(30)]
    _, renewed_ms = made_certificate(tmp_path, 120)
    heartbeat.state(UplinkState(connects=2), None)
    clock.advance(renewed_ms + DAY_MS)
    heartbeat.state(UplinkState(connects=2), None)
    assert events == [CertificateEnding(30), CertificateEnding(-1)]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
def test_the_end_of_the_client_certificate_is_told_and_read_again_at_each_connection(tmp_path):
    path, end_ms = made_certificate(tmp_path, 90)
    path.write_text("subject=CN = gw1\n" + path.read_text())
    heartbeat = Heartbeat(MemoryOutbox(1 << 20, 190), SystemClock(), [], path)

    def told(connects: int) -> int | None:
        payload = heartbeat.payload(UplinkState(connects=connects), None)
        return decode_state(payload).certificate_expires_ms

    assert told(1) == end_ms
    _, renewed_ms = made_certificate(tmp_path, 36_500)  # beyond 2050: written another way
    assert told(1) == end_ms
    assert told(2) == renewed_ms > end_ms
    for garbage in (b"", b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----", b"\xff"):
        path.write_bytes(garbage)
        assert expires_ms(path) is None
    path.unlink()
    assert told(3) is None
    assert json.loads(payload_of(1))["certificate_expires_ms"] is None
