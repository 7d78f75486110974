"""How many meters one machine carries: mosquitto, aggregator, store and a fleet side by side.

    make scale                                   1 k, 10 k and 100 k meters, short
    make scale ARGS='--measure-s 600'            the same, ten minutes each
    make scale ARGS='--figure ingest --store influx --measure-s 600'
    make scale ARGS='--figure ingest --climb'    ever faster, until it is not held

Figures, each one door of its own:

sizes      1 k, 10 k, 100 k meters at the same rate in batches of the same form: what the number of
           meters itself costs
ingest     20 k meters, 250 k readings/s (InfluxDB: 150 k), beside the store's own raw ingest
city       100 k meters read each minute
freshness  10 k meters read each 5 s, probed over the API

Readings count when they are acknowledged. The fleet is an open loop: what it offers does not wait
for anybody. Every run ends with truth = ledger of a seeded sample of sites. Exit code 1: that was
not so; 3: it was, and a rate was not held.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from simulators.fleet.plan import Plan, plan_fleet
from simulators.fleet.report import truth_line, write
from simulators.fleet.run import Report, Run, Settings
from simulators.fleet.screen import rows
from tests.benchmarks.ingest import PACE
from tests.benchmarks.load import Load
from tests.benchmarks.measure import machine
from tests.benchmarks.plant import Plant, Usage, running
from tests.benchmarks.raw_ingest import influx_ingest
from tests.benchmarks.scale_table import (
    DOCS,
    Outcome,
    chart,
    exit_code,
    most_held,
    put_into_docs,
    remarks,
    table,
)
from tests.benchmarks.stages import Profile, profile, raw_append

PER_EDGE = 20
SPARE_S = 5.0
"""After the last edge has sent for the first time, before anything is measured."""
PER_SITE_S = 0.03
"""Added to the warm-up of a long run: once a day an aggregator writes each site's names."""
SHORT_S, SHORT_ROLLUP_S = 60.0, 15.0
"""Shorter runs than this sum up more often than the product does, or they would hold none of it."""
BUSY = 0.9
CLIMB = 1.25
"""By how much each rate of a climb is above the one before."""
_RAW_EDGES, _RAW_BATCHES = 100, 24


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet to be run: so many meters at a rate [readings/s], or each read so often."""

    meters: int
    samples: int
    rate: float = 0.0
    poll_s: float = 0.0
    probes_per_s: float = 1.0
    raw: bool = False
    """Whether the store's own raw ingest is measured beside it."""

    def plan(self) -> Plan:
        return plan_fleet(
            meters=self.meters,
            meters_per_edge=PER_EDGE,
            start_ms=time.time_ns() // 1_000_000,
            rate=self.rate,
            poll_s=self.poll_s,
            samples=self.samples,
        )


def cases(figure: str, store: str, offered: float) -> Sequence[Case]:
    """What a figure runs; offered: another rate than its own [readings/s]."""
    if figure == "sizes":
        return [Case(n, 4, offered or 50_000) for n in (1_000, 10_000, 100_000)]
    if figure == "ingest":
        usual = 150_000 if store == "influx" else 250_000
        return [Case(20_000, 8, offered or usual, raw=True)]
    if figure == "city":
        return [Case(100_000, 1, poll_s=60.0, probes_per_s=0.2)]
    return [Case(10_000, 1, poll_s=5.0, probes_per_s=2.0)]


def measured(case: Case, store: str, times: argparse.Namespace) -> Outcome:
    """Run a case."""
    plan = case.plan()
    usual_s = PACE.rollup_s if times.measure_s >= SHORT_S else SHORT_ROLLUP_S
    rollup_s = times.rollup_s or usual_s
    warm_up_s = max(times.warm_up_s, plan.commit_ms / 1_000 + SPARE_S)
    if times.measure_s >= SHORT_S:
        warm_up_s += PER_SITE_S * plan.edges
    print(
        f"{plan.meters:,} meters at {plan.edges:,} sites, {plan.readings_per_s:,.0f} readings/s, "
        f"{store}: {warm_up_s:.0f} s warm-up, {times.measure_s:.0f} s measured",
        flush=True,
    )
    with running(plan, store, rollup_s) as plant:
        settings = Settings(
            broker=plant.broker,
            api=plant.api,
            connect_s=times.connect_s,
            warm_up_s=warm_up_s,
            settle_s=times.settle_s,
            measure_s=times.measure_s,
            probes_per_s=case.probes_per_s,
            checked_sites=times.check,
        )
        usage = Usage(plant)
        report = Run(plan, settings, lambda: time.time_ns() // 1_000_000).go(_watcher(usage))
        if times.out is not None:
            write(report, times.out / f"{times.figure}-{store}-{plan.meters}")
        raw = raw_ingest(plant) if case.raw else None
        return outcome(plan, plant, usage, report, store, rollup_s, raw)


def _watcher(usage: Usage) -> Any:
    said = ""

    def watch(run: Run) -> None:
        nonlocal said
        usage.watch(run)
        if run.phase != said:
            said = run.phase
            print(f"  {' | '.join(f'{name} {value}' for name, value in rows(run))}", flush=True)

    return watch


def raw_ingest(plant: Plant) -> float:
    """What the store itself takes of such readings [readings/s], the fleet being silent."""
    found = _commits()
    if plant.influx is not None:
        return influx_ingest(plant.influx, found)
    return found.readings / raw_append(found)


def _commits() -> Profile:
    """Commits as the pipeline makes them."""
    now_ms = time.time_ns() // 1_000_000
    start_ms = now_ms // 60_000 * 60_000 - 3_600_000
    load = Load(edges=_RAW_EDGES, meters=PER_EDGE, samples=8, start_ms=start_ms)
    return profile(load, _RAW_BATCHES, PACE)


def outcome(
    plan: Plan,
    plant: Plant,
    usage: Usage,
    report: Report,
    store: str,
    rollup_s: float,
    raw: float | None,
) -> Outcome:
    """Put together what was seen."""
    pace, acked = report.pace, sum(second.acked for second in report.seconds)
    million_per_s = max(pace.acked_per_s, 1) / 1e6
    cores = {name: round(cpu / usage.seconds, 3) for name, cpu in usage.cpu_s.items()}
    return Outcome(
        store=store,
        broker=plant.broker_name,
        meters=plan.meters,
        sites=plan.edges,
        poll_ms=plan.poll_ms,
        readings_per_batch=plan.readings_per_batch,
        seconds=round(usage.seconds, 1),
        rollup_s=rollup_s,
        offered_per_s=round(pace.offered_per_s),
        acked_per_s=round(pace.acked_per_s),
        sustained=pace.sustained,
        lag_first=round(pace.lag_first),
        lag_last=round(pace.lag_last),
        resent_batches=report.batches["resent_batches"],
        unsettled_batches=report.batches["unsettled_batches"],
        unsent_batches=report.batches["unsent_batches"],
        delays_ms={name: dict(delays) for name, delays in report.delays_ms.items()},
        probes=dict(report.probes),
        cores=cores,
        thread=round(usage.thread_s / usage.seconds, 3),
        other_cores=round(usage.other_cores, 2),
        cpu_s_per_million={name: round(used / million_per_s, 3) for name, used in cores.items()},
        peak_rss_mb={name: round(rss / 1e6) for name, rss in usage.rss.items()},
        store_mb=round(plant.store_bytes() / 1e6, 1),
        store_bytes_per_reading=round(usage.store_bytes / max(acked, 1), 1),
        start_s=round(plant.start_s, 1),
        raw_per_s=None if raw is None else round(raw),
        limit=limit(
            pace.sustained, cores, usage.thread_s / usage.seconds, usage.other_cores, _cores()
        ),
        truth=truth_line(report),
        complaints=len(plant.complaints()),
    )


def _cores() -> int:
    return psutil.cpu_count() or 1


def limit(
    sustained: bool, cores: dict[str, float], thread: float, others: float, machine_cores: int
) -> str:
    """Say what was saturated, or what is nearest to it."""
    ours = sum(cores.values())
    parts = ", ".join(f"{name} {used:.2f}" for name, used in sorted(cores.items()))
    taken = f"{ours + others:.2f} of {machine_cores} cores in use ({parts}; others {others:.2f})"
    if sustained:
        return f"none reached: {taken}, the pipeline's thread at {thread:.0%}"
    if thread >= BUSY:
        return f"the pipeline's thread, at {thread:.0%}; {taken}"
    if ours + others >= BUSY * machine_cores:
        return f"the machine: {taken}, the pipeline's thread at {thread:.0%}"
    return f"waiting, for the store or its disk: {taken}, the pipeline's thread at {thread:.0%}"


def climb(case: Case, run: Callable[[Case], Outcome]) -> Iterator[Outcome]:
    """Run a case at ever higher rates, up to and including the first that is not held."""
    while True:
        found = run(case)
        yield found
        if exit_code([found]):
            return
        case = replace(case, rate=case.rate * CLIMB, raw=False)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make scale ARGS=", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--figure", choices=("sizes", "ingest", "city", "freshness"), default="sizes"
    )
    parser.add_argument("--store", choices=("embedded", "influx"), default="embedded")
    parser.add_argument("--meters", type=int, action="append", help="of sizes: only these")
    parser.add_argument("--rate", type=float, default=0.0, help="readings/s, not the figure's own")
    parser.add_argument(
        "--climb",
        action="store_true",
        help=f"x {CLIMB:g} the rate after each run that was held, until one is not",
    )
    parser.add_argument("--measure-s", type=float, default=20.0, help="(%(default)s)")
    parser.add_argument(
        "--warm-up-s", type=float, default=10.0, help="at least; until all edges have sent once"
    )
    parser.add_argument(
        "--settle-s",
        type=float,
        default=300.0,
        help="more warm-up at most, until no lag is left",
    )
    parser.add_argument(
        "--rollup-s", type=float, default=0.0, help="default: the product's; in short runs 15"
    )
    parser.add_argument("--connect-s", type=float, default=300.0, help="at most (%(default)s)")
    parser.add_argument("--check", type=int, default=50, help="sites compared with the truth")
    parser.add_argument("--out", type=Path, default=Path("var/scale"), help="(%(default)s)")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md and chart")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then
    chosen = cases(arguments.figure, arguments.store, arguments.rate)
    chosen = [case for case in chosen if case.meters in (arguments.meters or [case.meters])]
    name = f"{arguments.figure}-{arguments.store}{'-climb' if arguments.climb else ''}"
    if not chosen:
        parser.error(f"--meters {arguments.meters}: the figure has no such case")
    if arguments.climb and (len(chosen) > 1 or not chosen[0].rate):
        parser.error("--climb: one fleet that has a rate: --figure ingest, or sizes with --meters")
    if arguments.docs:
        try:
            put_into_docs(name, None)
        except ValueError as error:
            parser.error(f"--docs: {error}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    where = f"{machine()}; `make scale{f' ARGS={shlex.quote(shlex.join(argv))}' if argv else ''}`"
    print(where, flush=True)
    run = partial(measured, store=arguments.store, times=arguments)
    found = list(climb(chosen[0], run)) if arguments.climb else [run(case) for case in chosen]
    broker = (
        f"Broker: {found[0].broker}; roll-ups each {found[0].rollup_s:g} s. Delays are of all that "
        "became due in the measured time; ≥: of some the end was not seen."
    )
    told = [f"- {remark}" for remark in remarks(found)]
    if arguments.climb:
        told.append(most_held(found))
    text = "\n".join([*table(found), "", f"{where}. {broker}", "", *told])
    print(f"\n{text}")
    document = {"machine": where, "outcomes": [asdict(one) for one in found]}
    (arguments.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (arguments.out / f"{name}.svg").write_text(chart(found), "utf-8")
    if arguments.docs:
        if arguments.figure == "sizes" and not arguments.climb:
            picture = DOCS / "images" / f"scale-{arguments.store}.svg"
            picture.write_text(chart(found), "utf-8")
            text += f"\n\n![CPU seconds per million readings](images/{picture.name})"
        put_into_docs(name, text)
    if arguments.climb and "DIFFER" not in found[-1].truth:
        found.pop()  # it is meant not to be held
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
