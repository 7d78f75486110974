"""The fleet against a real mosquitto and a real aggregator, the broker killed in mid-run."""

import json
import os
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from simulators.fleet.__main__ import exit_code
from simulators.fleet.edges import WINDOW, Patience
from simulators.fleet.freshness import Probe, Prober
from simulators.fleet.plan import Plan, plan_fleet
from simulators.fleet.register import write_register
from simulators.fleet.report import lines, write
from simulators.fleet.run import FleetError, Run, Settings
from simulators.fleet.screen import watching
from simulators.fleet.truth import check_truth
from tests.benchmarks.plant import CONFIG, EMBEDDED
from tests.benchmarks.processes import child, counters, wait_for_event
from tests.brokers import Mosquitto

pytestmark = pytest.mark.mosquitto
KILLED_S, BACK_S = 4.0, 5.0
ROOT = Path(__file__).parents[2]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def aggregator_of(plan: Plan, broker: Mosquitto, folder: Path) -> Iterator[str]:
    """An aggregator that knows the fleet; its API's address."""
    write_register(plan, folder / "register")
    config, log = folder / "aggregator.toml", folder / "aggregator.log"
    config.write_text(
        CONFIG.format(folder=folder, region=plan.region, broker=broker.port, rollup_s=1) + EMBEDDED
    )
    with child("aggregator", ["--config", str(config)], log) as aggregator:
        api = wait_for_event(log, "aggregator_started", aggregator)["api"]
        wait_for_event(log, "broker_connected", aggregator)
        yield api


def test_truth_is_the_ledger_after_a_broker_was_killed(tmp_path: Path) -> None:
    plan = plan_fleet(meters=60, meters_per_edge=5, start_ms=wall_ms(), poll_s=0.25, samples=2)
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        with aggregator_of(plan, broker, tmp_path) as api:
            settings = Settings(
                broker=(broker.host, broker.port),
                api=api,
                connections=3,
                connect_s=20,
                warm_up_s=2,
                settle_s=0,
                measure_s=6,
                drain_s=20,
                probes_per_s=5,
                checked_sites=0,
                patience=Patience(first_ms=1_500, most_ms=3_000),
            )
            down = False

            def watch(run: Run) -> None:
                nonlocal down
                tell(run)
                if not down and KILLED_S <= run.since_s < BACK_S and run.total.acked_batches:
                    down = True
                    broker.kill()
                elif down and run.since_s >= BACK_S and run.connections[0].connects == 1:
                    broker.start()
                    down = run.connections[0].connects == 1

            said: list[str] = []
            with watching(said.append) as tell:
                run = Run(plan, settings, wall_ms)
                report = run.go(watch)
            counted = counters(api)
            prober = Prober(api, report.plan, run.edges, run.now_ms, 1)
            newest = run.edges.made()[7]
            held = [
                prober.holds(Probe(7, seq, 2, report.plan.due_ms(7, seq), measured=True))
                for seq in (1, newest, newest + 1)
            ]
            prober.close()
            other = replace(report.plan, seed=plan.seed + 1)
            made = [report.batches["due_batches"] // plan.edges] * plan.edges
            wrong = check_truth(api, other, made, 2)
    finally:
        broker.kill()

    assert report.complete
    assert report.truth is not None
    assert report.truth.holds, report.truth.problems[:3]
    assert (report.truth.sites, report.truth.registers) == (12, 120)
    assert report.truth.true_micro == report.truth.booked_micro > 0
    assert report.batches["connects"] == 6, "each of three connections was made anew"
    assert report.batches["resent_batches"] > 0
    assert report.batches["acked_batches"] == report.batches["due_batches"]
    sent = report.batches["due_batches"] * plan.readings_per_batch
    assert counted["committed_readings"] == sent, "none is lost, none is there twice"
    probes = report.probes
    assert probes["taken"] == probes["seen"] == report.delays_ms["sent_to_interval"]["count"]
    assert probes["seen"]
    assert report.delays_ms["reading_to_interval"]["count"] == 2 * probes["seen"]
    measured = {report.delays_ms[name]["count"] for name in ("lateness", "sent_to_ack")}
    assert len(measured) == 1, "what was due in the measured time, whenever its ack came"
    assert not wrong.holds, "the comparison can fail"
    assert held == [True, True, False], "a probe sees what is there and nothing else"
    assert said
    write(report, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert page.count("<svg") == 5
    assert "<script" not in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["complete"]
    assert any("truth = ledger" in line for line in lines(report))


def test_edges_in_step_and_an_outage_leave_the_ledger_true(tmp_path: Path) -> None:
    plan = plan_fleet(
        meters=40, meters_per_edge=5, start_ms=wall_ms(), poll_s=0.2, samples=2, aligned=True
    )
    broker = Mosquitto(tmp_path)
    broker.start()
    console = Console(file=StringIO(), force_terminal=True, width=72, height=30)
    try:
        with aggregator_of(plan, broker, tmp_path) as api:
            settings = Settings(
                broker=(broker.host, broker.port),
                api=api,
                connect_s=20,
                warm_up_s=1.5,
                settle_s=10,
                measure_s=9,
                drain_s=20,
                probes_per_s=4,
                checked_sites=0,
                outage_s=3,
                outage_share=0.25,
            )
            with watching(None, console) as show:
                report = Run(plan, settings, wall_ms).go(show)
    finally:
        broker.kill()

    assert exit_code(report) == (0 if report.pace.sustained else 3), "as busy as the machine is"
    assert report.truth is not None
    assert report.truth.holds, report.truth.problems[:3]
    assert report.truth.registers == 80
    assert report.outage == {"seconds": 3, "edges": 2}
    backlog = report.delays_ms["outage_to_ack"]["count"]
    assert backlog is not None
    assert 2 * 6 <= backlog <= 2 * (9 + WINDOW), "three seconds, and what was on the way"
    probes = report.probes
    assert probes["taken"] == probes["seen"] + probes["held_up"] > 0
    told = "\n".join(lines(report))
    assert "all edges at once" in told
    assert "2 edges silent for 3 s" in told
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    frame = shown.rpartition("╭")[2]
    assert "comparing with the truth" in frame
    assert "probes seen" in frame
    assert "2 edges are silent" in shown
    assert all(len(line) <= 72 for line in frame.splitlines()[:-1]), "it fits the terminal"
    assert shown.endswith("\x1b[?25h"), "the cursor is given back"


def test_on_a_terminal_a_run_is_shown_live(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)  # never started
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, 72))
    arguments = f"simulate fleet --meters 20 --connect-s 0.6 --broker 127.0.0.1:{broker.port}"
    try:
        run = subprocess.run(
            [sys.executable, str(ROOT / "nenghao.py"), *arguments.split()],
            stdout=follower,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(follower)
        shown = os.read(leader, 65_536).decode()
    finally:
        os.close(leader)
    assert run.returncode == 2
    assert b"0 of 1 connections stand" in run.stderr
    assert "╭" in shown
    assert "connecting" in shown
    assert "1 edges, 20 meters over 0 connections" in shown
    assert shown.endswith("\x1b[?25h")


def test_without_a_broker_a_fleet_says_so(tmp_path: Path) -> None:
    plan = plan_fleet(meters=10, meters_per_edge=5, start_ms=wall_ms(), poll_s=1)
    broker = Mosquitto(tmp_path)  # never started: its port is free
    settings = Settings(broker=(broker.host, broker.port), connect_s=0.6)
    with pytest.raises(FleetError, match=r"0 of 2 .* ConnectionRefused"):
        Run(plan, settings, wall_ms).go(lambda _: None)
