"""`nenghao simulate fleet`: its arguments, and what becomes of them."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from simulators.fleet.plan import Plan, plan_fleet

if TYPE_CHECKING:
    from simulators.fleet.run import Report

EXIT_DIFFERS, EXIT_NOT_HELD = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be asked for."""
    parser.add_argument("--meters", type=int, default=1_000, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--meters-per-edge", type=int, default=20, metavar="N", help="each edge is a site"
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=float, metavar="R", help="readings/s of the whole fleet, or …")
    pace.add_argument(
        "--poll-s", type=float, metavar="S", help="… how often a meter is read (default: 10)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="N",
        help="rows of readings in a batch (default: what comes in 5 s, at most 15)",
    )
    parser.add_argument("--region", default="370114", metavar="CODE", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--register",
        type=Path,
        metavar="OUT",
        help="write the register folder of the fleet for the aggregator, and end",
    )
    parser.add_argument("--broker", default="127.0.0.1:1883", metavar="HOST:PORT")
    parser.add_argument(
        "--connections", type=int, default=4, metavar="N", help="shared by all edges (%(default)s)"
    )
    parser.add_argument(
        "--api",
        default="",
        metavar="URL",
        help="the aggregator's address; without it neither freshness nor truth is asked for",
    )
    parser.add_argument(
        "--connect-s", type=float, default=120, metavar="S", help="at most (%(default)s)"
    )
    parser.add_argument("--warm-up-s", type=float, default=10, metavar="S", help="(%(default)s)")
    parser.add_argument(
        "--settle-s",
        type=float,
        default=120,
        metavar="S",
        help="so much more warm-up at most, until nothing is held up (%(default)s)",
    )
    parser.add_argument("--measure-s", type=float, default=60, metavar="S", help="(%(default)s)")
    parser.add_argument(
        "--drain-s",
        type=float,
        default=60,
        metavar="S",
        help="wait for the last acks (%(default)s)",
    )
    parser.add_argument(
        "--ack-timeout-s",
        type=float,
        default=30,
        metavar="S",
        help="after which a batch is sent again, doubling to ten times that (%(default)s)",
    )
    parser.add_argument(
        "--probes-per-s", type=float, default=1, metavar="N", help="freshness; 0: none"
    )
    parser.add_argument(
        "--check",
        type=int,
        default=50,
        metavar="SITES",
        help="compare so many sites with the truth in the end; 0: all (%(default)s)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="OUT", help="folder for report.json and report.html"
    )
    parser.add_argument(
        "--aligned",
        action="store_true",
        help="all edges read and send at once, on whole periods, instead of evenly spread",
    )
    parser.add_argument(
        "--outage",
        type=float,
        default=0.0,
        metavar="S",
        help="a share of the edges is silent so long, after the first third of the measured time, "
        "and then sends its backlog",
    )
    parser.add_argument(
        "--outage-share",
        type=float,
        default=0.1,
        metavar="X",
        help="of the edges, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="make the fleet, say what it is and the time and memory it takes, and end",
    )
    parser.add_argument(
        "--no-live-view", action="store_true", help="lines of text also on a terminal"
    )


def run_fleet(arguments: argparse.Namespace) -> int:
    """Run it. Exit code 1: truth and ledger differ, or acks are missing; 3: the lag grew."""
    began_s = time.monotonic()
    plan = plan_of(arguments, time.time_ns() // 1_000_000)
    if arguments.register is not None:
        from simulators.fleet.register import write_register

        write_register(plan, arguments.register)
        print(f"{plan.edges} sites, {plan.meters} meters: {arguments.register}")
        return 0
    if arguments.dry_run:
        return _stand(plan, began_s)
    host, _, port = arguments.broker.rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError(f"--broker {arguments.broker}: HOST:PORT expected")
    # paho, httpx and rich are needed only here.
    from simulators.fleet.edges import Patience
    from simulators.fleet.report import lines, write
    from simulators.fleet.run import FleetError, Run, Settings
    from simulators.fleet.screen import watching

    settings = Settings(
        broker=(host, int(port)),
        api=arguments.api,
        connections=arguments.connections,
        connect_s=arguments.connect_s,
        warm_up_s=arguments.warm_up_s,
        settle_s=arguments.settle_s,
        measure_s=arguments.measure_s,
        drain_s=arguments.drain_s,
        probes_per_s=arguments.probes_per_s,
        checked_sites=arguments.check,
        outage_s=arguments.outage,
        outage_share=arguments.outage_share,
        patience=Patience(1_000 * arguments.ack_timeout_s, 10_000 * arguments.ack_timeout_s),
    )
    try:
        run = Run(plan, settings, lambda: time.time_ns() // 1_000_000)
        live = sys.stdout.isatty() and not arguments.no_live_view
        with watching(None if live else partial(print, flush=True)) as watch:
            report = run.go(watch)
    except FleetError as error:
        print(f"nenghao simulate fleet: {error}", file=sys.stderr)
        return 2
    for line in lines(report):
        print(line)
    if arguments.report is not None:
        write(report, arguments.report)
        print(f"report: {arguments.report / 'report.html'}")
    return exit_code(report)


def exit_code(report: Report) -> int:
    """Of a load test: whether the ledger was right, and then whether the rate was held."""
    if not report.complete or not (report.truth is None or report.truth.holds):
        return EXIT_DIFFERS
    return 0 if report.pace.sustained else EXIT_NOT_HELD


def _stand(plan: Plan, began_s: float) -> int:
    from simulators.fleet.edges import Edges, Patience
    from simulators.fleet.messages import Messages
    from simulators.fleet.run import peak_rss_bytes

    before = peak_rss_bytes()
    Edges(plan, Messages(plan, "0" * 8), lambda *_: None, Patience())
    took_s, rss = time.monotonic() - began_s, peak_rss_bytes()
    print(
        f"{plan.edges:,} edges, {plan.meters:,} meters, {plan.readings_per_s:,.0f} readings/s in "
        f"batches of {plan.readings_per_batch:,}; made in {took_s:.1f} s, {rss / 1e6:.0f} MB, of "
        f"which {(rss - before) / 1e6:.0f} MB are the fleet's"
    )
    return 0


def plan_of(arguments: argparse.Namespace, now_ms: int) -> Plan:
    """The plan that is asked for; a run begins it anew when all edges are connected. PlanError."""
    return plan_fleet(
        meters=arguments.meters,
        meters_per_edge=arguments.meters_per_edge,
        start_ms=now_ms,
        rate=arguments.rate or 0.0,
        poll_s=arguments.poll_s or (0.0 if arguments.rate else 10.0),
        samples=arguments.samples,
        seed=arguments.seed,
        region=arguments.region,
        aligned=arguments.aligned,
    )
