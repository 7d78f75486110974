"""The demo district: what the issue asks of it, and that every site balances exactly."""

import csv
import random
import tomllib
from pathlib import Path

import pytest

from simulators.devices import load_device
from simulators.district import (
    District,
    DistrictError,
    build_meters,
    find_district,
    load_district,
    plausible_rate,
    site_signals,
)
from simulators.workspace import Pace, write_edges, write_register
from tests.simulators.conftest import ORIGIN_MS

HOUR_MS = 3_600_000


def test_is_the_district_that_was_asked_for(district: District) -> None:
    meters = [meter for site in district.sites for meter in site.meters]
    assert district.region == "370114"
    assert {site.id for site in district.sites} == {"foundry", "chemical", "offices", "hospital"}
    assert len(meters) >= 40
    assert len({meter.carrier for meter in meters}) >= 5
    assert sum(len(site.edges) for site in district.sites) >= 4
    assert len({meter.model for meter in meters}) >= 8
    assert sum(meter.multiplier > 1 for meter in meters) >= 2
    chemical = next(site for site in district.sites if site.id == "chemical")
    carriers = {meter.carrier for meter in chemical.meters}
    assert carriers == {"electricity", "steam", "natural_gas", "raw_coal", "water"}
    assert {meter.role for meter in meters} >= {
        "boundary_in",
        "boundary_out",
        "own_generation",
        "conversion_in",
        "conversion_out",
        "sub",
        "check",
    }


def test_boundary_is_the_exact_sum_of_its_parts(district: District) -> None:
    """Whatever a site takes in and makes is what its loads use, at any millisecond."""
    rng = random.Random(4)
    built = {
        (meter.identity.site, meter.identity.id): meter._flows
        for meter in build_meters(district, ORIGIN_MS)
    }
    signs = {"boundary_in": 1, "boundary_out": -1, "own_generation": 1, "conversion_out": 1}
    for site in district.sites:
        loads = site_signals(district, site, ORIGIN_MS)
        for carrier in sorted({meter.carrier for meter in site.meters}):
            used = [
                loads[load.id]
                for load in site.loads
                if load.carrier == carrier and load.shape != "solar"
            ]
            terms = [
                (signs[meter.role], built[site.id, meter.id])
                for meter in site.meters
                if meter.carrier == carrier and meter.role in signs
            ]
            sold = [
                built[site.id, meter.id]
                for meter in site.meters
                if meter.carrier == carrier and meter.role == "boundary_out"
            ]
            if not terms or carrier == "heat":
                continue
            for _ in range(20):
                time_ms = rng.randrange(ORIGIN_MS, ORIGIN_MS + 48 * HOUR_MS)
                entered = sum(
                    sign
                    * (flows.forward.amount_pico(time_ms) - flows.backward.amount_pico(time_ms))
                    for sign, flows in terms
                )
                consumed = sum(signal.amount_pico(time_ms) for signal in used)
                left = sum(flows.forward.amount_pico(time_ms) for flows in sold)
                assert entered == consumed - left, (site.id, carrier, time_ms)


def test_sub_meters_are_parts_of_their_parent(district: District) -> None:
    for site in district.sites:
        by_id = {meter.id: meter for meter in site.meters}
        for meter in site.meters:
            if meter.parent:
                parent = by_id[meter.parent]
                assert set(meter.plus) <= set(parent.plus)
                assert meter.carrier == parent.carrier


def test_magnitudes_of_a_day(district: District) -> None:
    """A foundry of some MW, a works of some hundred GJ of steam: not toys, not power stations."""
    day = {}
    for meter in build_meters(district, ORIGIN_MS):
        key = meter.identity.site, meter.identity.id
        flows = meter._flows
        day[key] = flows.forward.amount_micro(ORIGIN_MS + 24 * HOUR_MS) / 1e6
        assert day[key] > 0, key
    assert 20_000 < day["foundry", "em-main-1"] < 80_000  # kWh
    assert 100 < day["chemical", "sm-boiler"] < 300  # t of steam
    assert 15 < day["chemical", "bs-boiler"] < 60  # t of coal, for about 170 t of steam
    assert 1_000 < day["chemical", "em-pv"] < 6_000  # 1.2 MW in November
    assert 2_000 < day["offices", "em-main"] < 12_000
    assert 10_000 < day["hospital", "em-main-1"] + day["hospital", "em-main-2"] < 30_000


def test_float32_registers_keep_their_resolution_for_months(district: District) -> None:
    for meter in build_meters(district, ORIGIN_MS):
        for counter in meter._counters.values():
            if counter.register.type == "float32":
                assert counter.start_micro < 2**22 * counter.step_micro
            if counter.modulus_micro:
                assert counter.start_micro < counter.modulus_micro // 2


def test_starting_registers_are_seeded(district: District) -> None:
    def starts(built: District) -> list[int]:
        meters = build_meters(built, ORIGIN_MS)
        return [c.start_micro for meter in meters for c in meter._counters.values()]

    assert starts(district) == starts(load_district(find_district("zhangqiu-demo")))
    assert len(set(starts(district))) > 100


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_files_of_an_installation(district: District, tmp_path: Path) -> None:
    ports = {
        (site.id, meter.id): 20_000 + number
        for site in district.sites
        for number, meter in enumerate(site.meters)
    }
    files = write_edges(district, ports, ("127.0.0.1", 1883), tmp_path / "edges", Pace())
    write_register(district, tmp_path / "register")
    rows = table(tmp_path / "register" / "meters.csv")
    assert [(row["site"], row["meter"]) for row in rows] == list(ports)
    sites = table(tmp_path / "register" / "sites.csv")
    assert [site["name_zh"] for site in sites] == [site.name_zh for site in district.sites]
    read = set()
    for file in files:
        live = tomllib.loads(file.config.read_text("utf-8"))
        backlog = tomllib.loads(file.backlog_config.read_text("utf-8"))
        assert live["edge"] == backlog["edge"]
        assert live["uplink"]["commit_period_s"] < backlog["uplink"]["commit_period_s"]
        for meter in live["bus"][0]["meter"]:
            read.add((file.site, meter["id"]))
            assert meter["port"] == ports[file.site, meter["id"]]
            assert meter["rating"] > 0
            load_device(meter["model"])
    assert read == set(ports)


def test_rating_is_above_what_ever_flows(district: District) -> None:
    built = {(m.identity.site, m.identity.id): m for m in build_meters(district, ORIGIN_MS)}
    for site in district.sites:
        for meter in site.meters:
            main = next(iter(built[site.id, meter.id]._counters.values())).signal
            highest = max(
                main.per_hour(ORIGIN_MS + minute * 60_000) for minute in range(0, 2880, 3)
            )
            assert highest / meter.multiplier < plausible_rate(site, meter), meter.id


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('role = "check"', 'role = "spare"', "hospital/em-check-2: unknown role 'spare'"),
        ('parent = "wm-main"', 'parent = "wm-none"', "chemical/wm-cooling: no parent 'wm-none'"),
        ('plus = ["pv"]', 'plus = ["sun"]', "no load 'sun'"),
        ('edge = "offices-gw1"', 'edge = "offices-gw9"', "'offices-gw9' is none"),
        ('plus = ["coal-belt"]', 'plus = ["pv"]', "load 'pv' is electricity"),
        ("multiplier = 40", "multiplier = 0", "multiplier 0"),
        ("headcount = 360", "", "headcount"),
        ("headcount = 360", "headcounts = 360", "headcounts"),
        ("format = 1", "format = 2", "format 2"),
        ("region = ", "area = ", "'region' is missing"),
        ('shape = "belt"', 'shape = "band"', "chemical/coal-belt: unknown shape"),
        ('model = "abb-b23"', 'model = "abb-b99"', "no register map abb-b99"),
        (
            'model = "abb-b23", carrier = "electricity", role = "sub"',
            'model = "abb-b23", multiplier = 2, carrier = "electricity", role = "sub"',
            "multiplier must be 1",
        ),
        (
            'model = "carlo-gavazzi-vmu-mc", carrier = "raw_coal"',
            'model = "abb-b23", carrier = "raw_coal"',
            "has no 'energy_import'",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = find_district("zhangqiu-demo").read_text("utf-8")
    assert old in text
    path = tmp_path / "district.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DistrictError, match=message):
        build_meters(load_district(path), ORIGIN_MS)
