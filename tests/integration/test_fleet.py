"""The fleet against a real mosquitto and a real aggregator, the broker killed in mid-run."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from simulators.fleet.edges import Patience
from simulators.fleet.plan import plan_fleet
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


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def test_truth_is_the_ledger_after_a_broker_was_killed(tmp_path: Path) -> None:
    plan = plan_fleet(meters=60, meters_per_edge=5, start_ms=wall_ms(), poll_s=0.25, samples=2)
    write_register(plan, tmp_path / "register")
    broker = Mosquitto(tmp_path)
    broker.start()
    config, log = tmp_path / "aggregator.toml", tmp_path / "aggregator.log"
    config.write_text(
        CONFIG.format(folder=tmp_path, region=plan.region, broker=broker.port, rollup_s=1)
        + EMBEDDED
    )
    try:
        with child("aggregator", ["--config", str(config)], log) as aggregator:
            api = wait_for_event(log, "aggregator_started", aggregator)["api"]
            wait_for_event(log, "broker_connected", aggregator)
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
                report = Run(plan, settings, wall_ms).go(watch)
            counted = counters(api)
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
    assert report.delays_ms["sent_to_interval"]["count"]
    assert not wrong.holds, "the comparison can fail"
    assert said
    write(report, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert page.count("<svg") == 5
    assert "<script" not in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["complete"]
    assert any("truth = ledger" in line for line in lines(report))


def test_without_a_broker_a_fleet_says_so(tmp_path: Path) -> None:
    plan = plan_fleet(meters=10, meters_per_edge=5, start_ms=wall_ms(), poll_s=1)
    broker = Mosquitto(tmp_path)  # never started: its port is free
    settings = Settings(broker=(broker.host, broker.port), connect_s=0.6)
    with pytest.raises(FleetError, match=r"0 of 2 .* ConnectionRefused"):
        Run(plan, settings, wall_ms).go(lambda _: None)
