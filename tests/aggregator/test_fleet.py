"""History of edges: a point a minute, and one whenever an edge comes or goes."""

from dataclasses import replace

from aggregator.fleet import Fleet
from contract.interval import MINUTE_MS
from contract.state import BusState, ClockState, EdgeState, MeterState, OutboxState, UplinkState
from contract.stored import BUS_HISTORY, EDGE_HISTORY
from contract.topics import Address

EDGE = Address("370114", "foundry", "gw1")
OTHER = Address("370114", "foundry", "gw2")
T0 = 1_772_380_800_000
STATE = EdgeState(
    online=True,
    time_ms=5,
    boot="b1",
    started_ms=T0 - 1,
    versions={"agent": "0.1.0"},
    clock=ClockState("ntp", True, -20),
    outbox=OutboxState(depth_batches=3, depth_readings=210, oldest_age_s=90, horizon_s=86_400),
    uplink=UplinkState(2, 40, 37, 1, 0),
    buses=(BusState("bus1", "modbus-tcp", 60, 2, 900), BusState("bus2", "mbus")),
    meters=(
        MeterState("em-1", True, 60, {"timeout": 3, "decode": 1}),
        MeterState("em-2", False, 60, {"timeout": 2**53}),
    ),
)


def times(fleet: Fleet) -> list[tuple[tuple[str, ...], int, int]]:
    found = [
        (tags, (at - T0) // 1_000, row["online"])
        for points in fleet.points()
        if points.of is EDGE_HISTORY
        for tags, at, row in points.rows()
    ]
    fleet.written()
    return found


def test_an_edge_has_a_point_a_minute():
    fleet = Fleet()
    for second in range(0, 130, 10):
        fleet.take(EDGE, STATE, T0 + second * 1_000)
        fleet.take(OTHER, STATE, T0 + second * 1_000)
    one = ("370114", "foundry", "gw1")
    assert [at for tags, at, _ in times(fleet) if tags == one] == [0, 60, 120]
    assert times(fleet) == []


def test_one_that_comes_or_goes_is_told_at_once():
    fleet = Fleet()
    fleet.take(EDGE, STATE, T0)
    fleet.take(EDGE, replace(STATE, online=False), T0 + 1_000)
    fleet.take(EDGE, replace(STATE, online=False), T0 + 2_000)
    fleet.take(EDGE, STATE, T0 + 3_000)
    assert [(at, online) for _, at, online in times(fleet)] == [(0, 1), (1, 0), (3, 1)]


def test_all_that_the_fleet_screen_shows_is_there():
    fleet = Fleet()
    fleet.take(EDGE, STATE, T0)
    edges, buses = fleet.points()
    ((_, _, row),) = edges.rows()
    assert row["outbox_depth"] == 210
    assert (row["outbox_oldest_ms"], row["horizon_ms"]) == (90_000, 86_400_000)
    assert (row["clock_offset_ms"], row["clock_synchronised"], row["clock_source"]) == (
        -20, 1, "ntp",
    )  # fmt: skip
    assert row["certificate_expires_ms"] is None
    assert (row["meters"], row["meters_ok"], row["polls"]) == (2, 1, 120)
    assert (row["failures"], row["timeouts"]) == (2**53 + 4, 2**53 + 3)
    assert row["version"] == "0.1.0"
    assert buses.of is BUS_HISTORY
    assert [(tags[3], row["missed_cycles"], row["cycle_ms"]) for tags, _, row in buses.rows()] == [
        ("bus1", 2, 900), ("bus2", 0, None),
    ]  # fmt: skip


def test_nonsense_from_an_edge_fits_the_store():
    meters = tuple(MeterState(f"m{i}", True, 2**53) for i in range(1_024))
    fleet = Fleet()
    fleet.take(EDGE, replace(STATE, meters=meters), T0 + MINUTE_MS)
    ((_, _, row),) = fleet.points()[0].rows()
    assert row["polls"] == 2**62
