"""Command line: nenghao simulate meters | wire | fleet | list | run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from contract.interval import DAY_MS, day_start
from simulators.bench import build_bench, spoil
from simulators.district import (
    District,
    districts_folder,
    find_district,
    load_district,
)
from simulators.fleet.__main__ import add_arguments as add_fleet_arguments
from simulators.fleet.__main__ import run_fleet
from simulators.named_faults import DEFECTS, FAULTS
from simulators.scenario import find_scenario, load_scenario, scenarios_folder
from simulators.server import RECORD_COLUMNS, read_ports, serve_district
from simulators.wire import SimulatedWire
from simulators.workspace import Pace, write_edges, write_register

DEFAULT_DISTRICT = "zhangqiu-demo"
BACKLOG_DAYS = 2
LIVE_S = 5.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao simulate",
        description="Simulated meters that speak real protocols and know their true totals.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    meters = commands.add_parser(
        "meters",
        help="serve all meters of a district over TCP",
        description="Serve every meter of a district on a TCP port of its own with the map of a "
        "real product (Modbus TCP, or a serial protocol over TCP), and a control port (JSON "
        "lines) that sets the simulated time and tells what was served. Meters follow the wall "
        "clock until told otherwise. Ends on SIGINT or SIGTERM.",
    )
    meters.add_argument(
        "--district",
        default=DEFAULT_DISTRICT,
        metavar="NAME|FILE",
        help="district that comes with the product, or a file (default: %(default)s)",
    )
    meters.add_argument(
        "--scenario", metavar="NAME|FILE", help="its district and what happens there, instead"
    )
    meters.add_argument(
        "--ports-file",
        type=Path,
        required=True,
        metavar="OUT",
        help="where the ports are written (JSON) once everything listens",
    )
    meters.add_argument(
        "--control-port", type=int, default=0, metavar="N", help="control port; 0 = a free one"
    )
    meters.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    meters.add_argument(
        "--origin-ms",
        type=int,
        metavar="MS",
        help="UTC ms where the totals start, a whole minute (default: the Beijing midnight "
        f"{BACKLOG_DAYS} days ago)",
    )
    meters.add_argument(
        "--record",
        type=Path,
        metavar="OUT",
        help="a CSV that gets every counter that a meter answers: time, display, truth",
    )
    workspace = commands.add_parser(
        "workspace",
        help="write what edges and register of a district that is served need",
        description="Write OUT/edges/<edge>.toml for every edge, as a person would for the real "
        "plant, and OUT/register, the folder of its sites and meters. Prints `region site edge`.",
    )
    workspace.add_argument("--district", default=DEFAULT_DISTRICT, metavar="NAME|FILE")
    workspace.add_argument("--ports-file", type=Path, required=True, help="of `simulate meters`")
    workspace.add_argument("--broker", required=True, metavar="HOST:PORT")
    workspace.add_argument(
        "--tls", type=Path, help="folder of <edge>/ca.pem, cert.pem, key.pem; left out: no TLS"
    )
    workspace.add_argument("--out", type=Path, required=True, help="folder, made when absent")
    wire = commands.add_parser(
        "wire",
        help="serve some meters on one serial line or TCP port",
        description="Serve a meter of each model on one wire: a pseudo-terminal or a TCP port that "
        "passes bytes on. Prints the bus to put into an edge's configuration. Models of several "
        "protocols may share the wire. Ends on SIGINT or SIGTERM.",
    )
    wire.add_argument("models", nargs="+", metavar="MODEL", help="device map, see docs/devices.md")
    where = wire.add_mutually_exclusive_group()
    where.add_argument("--pty", type=Path, metavar="PATH", help="make a serial line at this path")
    where.add_argument("--port", type=int, default=0, metavar="N", help="TCP port; 0 = a free one")
    wire.add_argument(
        "--baud", type=int, default=0, metavar="N", help="keep the pace of so many bit/s"
    )
    wire.add_argument(
        "--echo", action="store_true", help="send every request back, as some adapters do"
    )
    wire.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NUMBER=KIND",
        help=f"what is wrong with meter NUMBER (from 1): {', '.join([*FAULTS, *DEFECTS])}; may be "
        "repeated; one of the first with a share of the answers in percent: 2=garbled:3",
    )
    add_fleet_arguments(
        commands.add_parser(
            "fleet",
            help="publish as thousands of edges whose truth is known, measure what becomes of it",
            description="Publish as thousands of edges straight to the broker at a set rate, with "
            "the real contract, acks and resends. Report delays, and whether truth = ledger.",
        )
    )
    commands.add_parser(
        "list",
        help="the districts that come with the product",
        description="List the districts that come with the product: sites, meters, carriers; "
        "and the scenarios that `run` plays.",
    )
    run = commands.add_parser(
        "run",
        help="play a scenario on real parts and see that what should be seen is seen",
        description="Play a scenario on the parts of `nenghao demo`, in the scenario's own time: "
        "meters, edges, broker, aggregator, API and console. Ends with what a person should see, "
        "asked of the API, and the proof; exit code 1 when either fails.",
    )
    run.add_argument("scenario", metavar="NAME|FILE", help="see `list`")
    run.add_argument(
        "--seconds",
        type=float,
        default=LIVE_S,
        metavar="N",
        help="how long it stays live, in the console too, before it looks (default: %(default)s)",
    )
    run.add_argument(
        "--store",
        choices=("embedded", "influx"),
        default="embedded",
        help="influx: Debian's influxd, started for the run, which Grafana can ask (default: "
        "%(default)s)",
    )
    run.add_argument(
        "--store-port",
        type=int,
        metavar="N",
        help="port of influxd (default: a free one, which is printed)",
    )
    run.add_argument("--work-dir", type=Path, default=Path("var/scenario"), metavar="D")
    run.add_argument("--keep", action="store_true", help="keep the work dir")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "list":
            return _list()
        if arguments.command == "fleet":
            return run_fleet(arguments)
        if arguments.command == "wire":
            return asyncio.run(_serve_wire(arguments))
        if arguments.command == "run":
            return _run(arguments)
        if arguments.command == "meters" and arguments.scenario:
            district = load_scenario(find_scenario(arguments.scenario)).district
        else:
            district = load_district(find_district(arguments.district))
        if arguments.command == "workspace":
            return _workspace(district, arguments)
        return asyncio.run(_serve(district, arguments))
    except (ValueError, OSError) as error:
        print(f"nenghao simulate: {error}", file=sys.stderr)
        return 2


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def _serve(district: District, arguments: argparse.Namespace) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, ended.set)
    origin_ms = arguments.origin_ms
    if origin_ms is None:
        origin_ms = day_start(_wall_ms()) - BACKLOG_DAYS * DAY_MS
    with contextlib.ExitStack() as files:
        record = None
        if arguments.record is not None:
            record = files.enter_context(arguments.record.open("w", encoding="utf-8", buffering=1))
            print(*RECORD_COLUMNS, sep=",", file=record)
        await serve_district(
            district,
            wall_ms=_wall_ms,
            origin_ms=origin_ms,
            ports_file=arguments.ports_file,
            control_port=arguments.control_port,
            host=arguments.host,
            stop=ended.wait,
            record=record,
        )
    return 0


def _workspace(district: District, arguments: argparse.Namespace) -> int:
    host, _, port = arguments.broker.rpartition(":")
    if not (host and port.isdecimal()):
        print(f"nenghao simulate: --broker {arguments.broker}: HOST:PORT expected", file=sys.stderr)
        return 2
    ports, out = read_ports(arguments.ports_file), arguments.out
    written = write_edges(
        district, ports.meters, (host, int(port)), out / "edges", Pace(), arguments.tls
    )
    write_register(district, out / "register")
    for one in written:
        print(district.region, one.site, one.edge)
    return 0


async def _serve_wire(arguments: argparse.Namespace) -> int:
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    origin_ms = day_start(_wall_ms()) - BACKLOG_DAYS * DAY_MS
    bench = build_bench(arguments.models, origin_ms, _wall_ms)
    for text in arguments.fault:
        number, _, kind = text.partition("=")
        spoil(bench, int(number) if number.isdigit() else 0, kind, _wall_ms())
    wire = SimulatedWire(bench.stations, arguments.baud, echo=arguments.echo)
    try:
        if arguments.pty is not None:
            wire.plug(arguments.pty)
            text = bench.edge_bus(device=arguments.pty.absolute(), baud=arguments.baud)
        else:
            text = bench.edge_bus(port=await wire.serve(port=arguments.port))
        print(text, flush=True)
        await ended.wait()
    finally:
        await wire.stop()
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from simulators.demo.__main__ import PLAIN_WIDTH, until_signal
    from simulators.demo.checks import check
    from simulators.demo.conductor import Options
    from simulators.demo.processes import free_port
    from simulators.demo.rehearsal import rehearse

    path = find_scenario(arguments.scenario)
    scenario = load_scenario(path)
    check(scenario)
    options = Options(
        district=scenario.district.id,
        seconds=arguments.seconds,
        broker=None,
        work_dir=arguments.work_dir,
        keep=arguments.keep,
        live_view=True,
        picture=None,
    )
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    port = (arguments.store_port or free_port()) if arguments.store == "influx" else None
    return asyncio.run(until_signal(rehearse(scenario, path.resolve(), options, console, port)))


def _list() -> int:
    for path in sorted(districts_folder().glob("*.toml")):
        district = load_district(path)
        print(f"{district.id}  {district.name_zh} {district.name_en}")
        for site in district.sites:
            carriers = sorted({meter.carrier for meter in site.meters})
            print(
                f"  {site.id:10} {site.name_zh} {site.name_en}: {len(site.meters)} meters, "
                f"{len(site.edges)} edges, {', '.join(carriers)}"
            )
    print("scenarios")
    for path in sorted(scenarios_folder().glob("*.toml")):
        scenario = load_scenario(path)
        print(f"  {scenario.id:20} {scenario.name_zh} {scenario.name_en}: {scenario.about}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
