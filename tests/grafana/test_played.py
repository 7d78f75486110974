"""A scenario played on real parts, and what the networks' dashboard says of it: the truth."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from contract.interval import DAY_MS, HOUR_MS
from simulators import photovoltaics
from simulators.demo.processes import free_port
from simulators.district import build_meters, context_of
from simulators.scenario import Scenario, find_scenario, load_scenario
from simulators.shapes import modules
from tests.grafana.asking import Database, Shown, shown
from tests.influx import find_influxd

pytestmark = [pytest.mark.influxdb, pytest.mark.timeout(240)]
SITES = ["heating", "water", "solar", "storage", "datacentre"]
STORED_S = 60.0
DISPLAY = 2e-3
"""Registers are shown in steps."""
STEP = {"least flow": 1.0}
"""One of the plant's display [m3], beside which an hour is short."""
PICO = 1e12
PLAUSIBLE = {
    "heat lost": (0.07, 0.1),
    "leakage": (0.06, 0.078),
    "PUE": (1.24, 1.28),
    "efficiency": (0.82, 0.86),
    "performance": (0.8, 0.9),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scenario, Database]]:
    """A December day of five sites, live, with its store; ended as by Ctrl-C."""
    find_influxd()
    folder = tmp_path_factory.mktemp("played")
    head, _, _ = find_scenario("day").read_text("utf-8").partition("[[expect]]")
    path = folder / "plants.toml"
    path.write_text(f"{head}sites = {SITES}\nexpect = []\n", "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "simulators", "run", str(path), "--seconds", "600"]
    command += ["--store", "influx", "--store-port", str(port), "--work-dir", str(folder / "w")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("live |"):
                break
        else:
            pytest.fail("".join(said))
        assert f"http://127.0.0.1:{port} database scenario" in "".join(said)
        scenario = load_scenario(path)
        day_ends_ms = scenario.begin_ms + DAY_MS - 1
        yield scenario, Database(f"http://127.0.0.1:{port}", "scenario", day_ends_ms)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/ping", trust_env=False)


def test_the_dashboard_shows_what_the_simulators_know(
    played: tuple[Scenario, Database],
) -> None:
    scenario, database = played
    known = truth(scenario)
    assert all(low < known[name] < high for name, (low, high) in PLAUSIBLE.items()), known
    expected = {
        name: pytest.approx(value, rel=DISPLAY, abs=STEP.get(name)) for name, value in known.items()
    }
    found: dict[str, float] = {}
    deadline = time.monotonic() + STORED_S  # roll-ups follow the acks by seconds
    while found != expected and time.monotonic() < deadline:
        time.sleep(0.5)
        with contextlib.suppress(AssertionError, ValueError):  # of series that are not there yet
            found = told(shown(database, "networks", scenario.begin_ms))
    assert found == expected


def truth(scenario: Scenario) -> dict[str, float]:
    """What went through the meters on the first day, from their signals."""
    begin = scenario.begin_ms
    flows = {
        (one.identity.site, one.identity.id): one._flows.forward
        for one in build_meters(scenario.district, begin)
    }

    def gain(site: str, *meters: str, hours: tuple[int, int] = (0, 24)) -> float:
        first, last = (begin + hour * HOUR_MS for hour in hours)
        return sum(
            flows[site, meter].amount_pico(last) - flows[site, meter].amount_pico(first)
            for meter in meters
        )

    least = min(gain("water", "wm-plant", hours=(hour, hour + 1)) for hour in range(24))
    stations = gain("heating", "hm-north", "hm-south", "hm-public")
    zones = gain("water", "wm-east", "wm-west", "wm-centre")
    return {
        "heat lost": 1 - stations / gain("heating", "hm-plant"),
        "leakage": 1 - zones / gain("water", "wm-plant"),
        "least flow": least / PICO,
        "PUE": gain("datacentre", "em-main") / gain("datacentre", "em-it"),
        "efficiency": gain("storage", "em-out") / gain("storage", "em-in"),
        "performance": gain("solar", "em-array-1", "em-array-2") / PICO / light_kwh(scenario),
        "measured": 1.0,
    }


def light_kwh(scenario: Scenario) -> float:
    """What 10.08 MW of modules would have given at their rating under the day's light."""
    (site,) = scenario.district.only(["solar"]).sites
    plant = modules(context_of(scenario.district, site, site.loads[0]), tilt=28)
    first = scenario.begin_ms // DAY_MS  # the UTC day in which the Beijing day begins, at 16:00
    light = [w for day in (first, first + 1) for w in photovoltaics.output(plant, day).light_w]
    return 10.080 * sum(light[16 * 60 : 40 * 60]) / 60


def told(board: Shown) -> dict[str, float]:
    """What the dashboard shows, its queries put together as Grafana does."""
    given, kept = board.number("efficiency", "B"), board.number("efficiency")
    return {
        "heat lost": board.number("heat_loss"),
        "leakage": board.number("leakage"),
        "least flow": board.number("night_flow"),
        "PUE": board.number("pue") / board.number("pue", "B"),
        "efficiency": given / (given + kept),
        "performance": board.number("performance") / board.number("performance", "B"),
        "measured": board.number("measured"),
    }
