"""`nenghao prove-chaos`: every kind of fault on real processes, a few seeds, and what a run that
fails leaves behind.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from simulators.chaos.faults import Fault, kinds, read_script
from simulators.chaos.servers import find_program
from simulators.chaos.world import Setting, World, targets_of

HERE = Path(__file__).parent
RUN = [sys.executable, "-m", "simulators.chaos"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
WITHIN_S = 400


def prove(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*RUN, *map(str, arguments)],
        capture_output=True, text=True, timeout=WITHIN_S, env=ENVIRONMENT,
    )  # fmt: skip


def processes_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def proved(folder: Path, *arguments: str | Path) -> list[str]:
    """What a run says that must be good and leave nothing in the folder."""
    done = prove(*arguments, "--folder", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, counts, verdict = done.stdout.splitlines()
    words = counts.replace(",", "").replace(";", "").split()
    stored, counters = int(words[2]), int(words[words.index("counters") - 1])
    intervals, estimated = int(words[-4]), int(words[-2])
    assert stored > 2000
    assert counters == 23
    assert 100 < estimated < intervals
    assert "truth = ledger, no interval wrong, nothing lost or doubled" in verdict
    assert list(folder.iterdir()) == [], "a good run leaves nothing"
    return done.stdout.splitlines()


def script_of(store: str) -> tuple[Fault, ...]:
    """What `make test` does to an installation: ten seconds, with the dice of a fixed seed."""
    setting = Setting(HERE, "mosquitto", store, 404)
    targets = targets_of(setting, World(setting).edges)
    text = (HERE / f"{store}.csv").read_text("utf-8")
    return read_script(text, setting.abilities, targets)


def test_the_scripts_of_both_stores_have_every_kind():
    faults = [*script_of("embedded"), *script_of("influx")]
    assert {fault.kind for fault in faults} == kinds().keys()
    assert max(fault.end_s for fault in faults) <= 10


@pytest.mark.mosquitto
@pytest.mark.parametrize("store", ["embedded", pytest.param("influx", marks=pytest.mark.influxdb)])
@pytest.mark.timeout(WITHIN_S + 10)
def test_truth_is_ledger_after_every_kind_of_fault(tmp_path, store):
    said = proved(tmp_path, "--seed", "404", "--script", HERE / f"{store}.csv", "--store", store)
    for fault in script_of(store):
        (over,) = (line for line in said if f"{fault.kind} {fault.target} is over" in line)
        counts = kinds()[fault.kind].counts
        if counts:
            hit = over.split(" is over: ")[1].removesuffix(f" {counts}")
            assert int(hit) > 0, f"{fault} touched nothing"


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.parametrize("store", ["embedded", "influx"])
@pytest.mark.parametrize("seed", [20, 21, 22])
@pytest.mark.timeout(WITHIN_S + 10)
def test_truth_is_ledger_after_the_faults_of_a_seed(tmp_path, store, seed):
    proved(tmp_path, "--seed", f"{seed}", "--minutes", "1", "--store", store)


@pytest.mark.timeout(WITHIN_S + 10)
def test_a_run_that_fails_says_how_to_repeat_it_and_keeps_logs_and_outboxes(tmp_path):
    """On the embedded broker: somebody kills an aggregator that should run."""
    script = tmp_path / "one fault.csv"
    script.write_text("at_s,kind,target,for_s,amount\n0,network-duplicate,works-gw1,30,50\n")
    command = [*RUN, "--script", str(script), "--folder", str(tmp_path), "--broker", "embedded"]
    with subprocess.Popen(
        [*command, "--seed", "9"], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as run:
        assert run.stdout is not None
        said = []
        for line in run.stdout:
            said.append(line)
            if "network-duplicate works-gw1 50 % for 30 s" in line:
                (aggregator,) = (
                    process
                    for process in processes_of(tmp_path / "seed-9")
                    if "aggregator.toml" in process.cmdline()[-1]
                )
                aggregator.kill()
        assert run.wait(WITHIN_S) == 1
    folder = tmp_path / "seed-9"
    assert "aggregator ended with -9" in "".join(said)
    assert said[-2].rstrip().endswith(f"NOT proved; logs, outboxes and store: {folder}")
    assert said[-1].split("again: ")[1].rstrip() == (
        f"nenghao prove-chaos --seed 9 --script '{script}' --store embedded --broker embedded"
    )
    for edge in ("works-gw1", "works-gw2", "hall-gw1"):
        assert (folder / "edges" / edge / "outbox.sqlite").stat().st_size > 0
        assert (folder / "logs" / f"{edge}.log").stat().st_size > 0
    for name in ("chaos.log", "faults.csv", "served.csv", "problems.txt", "store/ledger.duckdb"):
        assert (folder / name).stat().st_size > 0
    (row,) = (folder / "times.csv").read_text("utf-8").splitlines()[1:]
    assert re.fullmatch(r"network-duplicate,works-gw1,0.000,0\.\d+,30.000,,,,messages", row)
    assert processes_of(folder) == []


def test_an_error_that_nobody_foresaw_ends_in_the_recipe_too(tmp_path):
    """Somebody writes into a file of the run, which then is no JSON."""
    command = [*RUN, "--seed", "9", "--broker", "embedded", "--folder", str(tmp_path)]
    folder = tmp_path / "seed-9"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        said = [run.stdout.readline()]
        (folder / "ports.json").write_text("{")  # the meters write theirs a second later
        said += run.stdout
        assert run.wait(WITHIN_S) == 1
        assert run.stderr.read() == ""
    reason = "JSONDecodeError: Expecting property name enclosed in double quotes"
    assert reason in said[-3]
    assert said[-1].split("again: ")[1].rstrip() == (
        "nenghao prove-chaos --seed 9 --minutes 1 --store embedded --broker embedded"
    )
    problems = (folder / "problems.txt").read_text("utf-8")
    assert problems.startswith(reason)
    assert "in read_ports" in problems, "where it happened"
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--minutes", "0"], "'0' is not a number of minutes above 0"),
        (["--rounds", "-1"], "'-1' is not a number of seeds"),
        (["--script", "/nowhere.csv"], "/nowhere.csv"),
        (["--folder", "{folder}"], "holds other things than a run of prove-chaos"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_starts(tmp_path, arguments, reason):
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "mine").touch()
    done = prove(*(one.format(folder=tmp_path) for one in arguments), "--broker", "embedded")
    assert done.returncode == 2
    assert reason in done.stderr
    assert (tmp_path / "seed-1" / "mine").exists()


def test_a_server_that_is_not_installed_is_named(monkeypatch, tmp_path):
    from simulators.chaos import __main__, servers, world

    monkeypatch.setattr(world, "find_program", lambda _name: None)
    assert __main__.main(["--store", "influx", "--folder", str(tmp_path)]) == 2
    assert find_program("sh") == servers.find_program("sh")


def test_a_seed_says_its_script_and_the_kinds_are_listed():
    first = prove("--seed", "5", "--minutes", "0.5", "--broker", "embedded", "--print-script")
    assert first.stdout.startswith("at_s,kind,target,for_s,amount\n")
    again = prove("--seed", "5", "--minutes", "0.5", "--broker", "embedded", "--print-script")
    assert first.stdout == again.stdout
    assert "broker-queue-limit" not in first.stdout
    assert "edge-power-cut" in prove("--kinds").stdout
