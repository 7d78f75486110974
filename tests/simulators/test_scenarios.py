"""Scenarios: what a file may say, what becomes part of the truth, and whole runs on real parts."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulators.demo.checks import CHECKS, check
from simulators.district import District, build_meters
from simulators.scenario import (
    Scenario,
    ScenarioError,
    find_scenario,
    load_scenario,
    scenarios_folder,
    time_ms,
)
from simulators.signal import MINUTE_MS
from simulators.workspace import write_register

HOUR_MS = 60 * MINUTE_MS
NAMES = sorted(path.stem for path in scenarios_folder().glob("*.toml"))
IN_CI = "leak-at-night"


def scenario(name: str) -> Scenario:
    return load_scenario(find_scenario(name))


def test_the_scenarios_that_were_asked_for_are_there_and_say_what_is_seen() -> None:
    assert NAMES == [
        "budget-exceeded", "day", "gateway-stolen", "heating-season", "leak-at-night",
        "month-end-gaps",
    ]  # fmt: skip
    used = set()
    for name in NAMES:
        one = scenario(name)
        check(one)
        assert one.expect
        used |= {str(row["check"]) for row in one.expect}
    assert used == set(CHECKS)


def test_list_names_districts_and_scenarios() -> None:
    command = [sys.executable, "-m", "simulators", "list"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert all(f"\n  {name} " in shown for name in NAMES)
    assert "zhangqiu-city" in shown


def test_a_leak_is_part_of_the_truth_of_the_meters_that_see_it(tmp_path: Path) -> None:
    burst = scenario("leak-at-night")
    (site,) = burst.district.sites
    assert {m.id for m in site.meters if "burst" in m.plus} == {"wm-plant"}
    quiet = without_events(burst, tmp_path)

    def counted(district: District, meter: str, hour: int) -> float:
        (one,) = [m for m in build_meters(district, burst.begin_ms) if m.identity.id == meter]
        flow = one._flows.forward
        night = time_ms(burst.expect[0]["night"]) + hour * HOUR_MS
        return (flow.amount_pico(night + HOUR_MS) - flow.amount_pico(night)) / 1e12

    for meter, rise in (("wm-plant", 35.0), ("wm-east", 0.0)):
        found = counted(burst.district, meter, 1) - counted(quiet, meter, 1)
        assert found == pytest.approx(rise, abs=0.7)
        assert counted(burst.district, meter, -20) == counted(quiet, meter, -20)


def without_events(burst: Scenario, folder: Path) -> District:
    head, _, rest = find_scenario(burst.id).read_text("utf-8").partition("[[event]]")
    _, _, expected = rest.partition("[[expect]]")
    (folder / "quiet.toml").write_text(f"{head}[[expect]]{expected}", "utf-8")
    return load_scenario(folder / "quiet.toml").district


def test_absences_cut_the_time_an_edge_reads_in() -> None:
    gaps, stolen = scenario("month-end-gaps"), scenario("gateway-stolen")
    first, second = gaps.spans("school-gw1")
    assert (first[0], second[1]) == (gaps.begin_ms, gaps.end_ms)
    assert second[0] - first[1] == 15 * HOUR_MS
    assert gaps.spans("hotel-gw1") == [(gaps.begin_ms, gaps.end_ms)]
    assert stolen.spans("water-gw2") == [(stolen.begin_ms, stolen.lost["water-gw2"])]
    assert (gaps.lost, list(stolen.lost)) == ({}, ["water-gw2"])


def test_rows_of_the_register_are_those_of_the_sites_played(tmp_path: Path) -> None:
    write_register(scenario("budget-exceeded").district, tmp_path)
    assert "cement,,tce_equivalent" in (tmp_path / "budgets.csv").read_text("utf-8")
    assert not (tmp_path / "targets.csv").exists()  # the heating network's
    write_register(scenario("heating-season").district, tmp_path)
    assert "site,heating,balance,%" in (tmp_path / "targets.csv").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"water"]', '"wine"]', "has no site 'wine'"),
        ("step_s = 900", "step_s = 7000", "whole number of steps"),
        ("begin = 2025-10-14T00:00:00+08:00", 'begin = "now"', "not a time"),
        ('kind = "flow"', 'kind = "flood"', "unknown event 'flood'"),
        ('"wm-plant"]', '"wm-none"]', "no meter 'wm-none' for 'burst'"),
        ("rated = 35", "rates = 35", "rates"),
        ("format = 1", "format = 1\nweather = 2", "weather"),
        ("about = ", "above = ", "above|about"),
        ('check = "lost"', 'check = "last"', "no check 'last'; known: amount"),
        ("rise = ", "fall = ", "check night_flow: .*fall|rise"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = find_scenario("leak-at-night").read_text("utf-8")
    assert old in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ScenarioError, match=message):
        check(load_scenario(path))


def test_an_unknown_scenario_is_told_with_those_that_are_known() -> None:
    command = [sys.executable, "-m", "simulators", "run", "flood"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "known: budget-exceeded, day" in done.stderr) == (2, True)


def play(name: str, work_dir: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulators", "run", name, "--seconds", "0.1"]
    return subprocess.run(
        [*command, "--work-dir", str(work_dir)],
        capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_a_leak_at_night_is_seen(tmp_path: Path) -> None:
    done = play(IN_CI, tmp_path / "w", 290)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == len(scenario(IN_CI).expect) + 2  # and the proof's two lines
    assert "limit 7.8 %: ALARM" in done.stdout
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in NAMES if name != IN_CI])
def test_what_should_be_seen_is_seen(name: str, tmp_path: Path) -> None:
    done = play(name, tmp_path / "w", 890)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_not_seen_fails_the_run_and_keeps_its_files(tmp_path: Path) -> None:
    path = tmp_path / "dry.toml"
    text = find_scenario(IN_CI).read_text("utf-8")
    path.write_text(text.replace("rise = [33, 37]", "rise = [70, 74]"))
    done = play(str(path), tmp_path / "w", 290)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("✗") == 1
    assert (tmp_path / "w" / "logs").is_dir()
