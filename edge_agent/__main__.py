"""`nenghao edge`: run the agent, check a configuration, look into an outbox."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.topics import Address
from edge_agent.config import EdgeConfig, EdgeIdentity, describe_keys, load_config, missing_files
from edge_agent.errors import ConfigError, EdgeError, Problem
from edge_agent.toml_lines import placed

if TYPE_CHECKING:
    from edge_agent.events import EventLog
    from edge_agent.stepping import Steps

EXIT_FAILED = 1
EXIT_CONFIG = 2

_EPILOG = """\
exit codes: 0 ended in order, 1 failed, 2 wrong call or configuration.
SIGTERM or Ctrl-C: polling stops, the outbox is committed, the uplink drains, state goes offline.
"""


def main(argv: Sequence[str]) -> int:
    """Run `nenghao edge` with `argv`; returns the exit code."""
    if argv and argv[0] == "handover":
        return _handover(argv[1:])
    if argv and argv[0] == "probe":  # its own parser: nothing of it is loaded by an agent
        from edge_agent.probe.__main__ import main as probe

        return probe(argv[1:])
    arguments = _parser().parse_args(list(argv))
    try:
        return int(arguments.function(arguments))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except EdgeError as error:
        print(f"nenghao edge: {error}", file=sys.stderr)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao edge",
        description="The edge agent: polls meters, buffers durably, forwards to the broker.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="poll, buffer and forward until told to stop",
        description="Poll, buffer and forward. Logs are JSON lines on stderr.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _config_argument(run)
    lockstep = run.add_argument_group(
        "lockstep with simulated meters",
        "All four together: instead of following the clock, step through a time range as fast as "
        "it goes, setting the meters' time before each poll. Everything is committed to the "
        "outbox, nothing is sent; the next normal run sends it.",
    )
    lockstep.add_argument("--step-from", type=_instant, metavar="TIME", help="ISO 8601 or ms UTC")
    lockstep.add_argument("--step-to", type=_instant, metavar="TIME", help="the same, inclusive")
    lockstep.add_argument("--step-s", type=_seconds, metavar="S", help="poll period [s]")
    lockstep.add_argument(
        "--steps-a-batch",
        type=int,
        default=1,
        metavar="N",
        help="commit so many steps at once, or more if the commit period holds more (default: 1)",
    )
    lockstep.add_argument(
        "--control", type=_endpoint, metavar="HOST:PORT", help="the simulator's control port"
    )
    run.set_defaults(function=_run)

    check = commands.add_parser(
        "check-config",
        help="say everything that is wrong with a configuration",
        description="Check a configuration, the device maps and files it names. Opens no port.",
    )
    _config_argument(check, required=False)
    check.add_argument("--keys", action="store_true", help="list all keys, bounds and defaults")
    check.set_defaults(function=_check_config)

    enrol = commands.add_parser(
        "enrol",
        help="make a key on this device and a request to sign it",
        description="Make key.pem (for nobody else to read, kept when it is there) and "
        "request.csr, to be signed by deploy/ca. The name in it is region/site/edge.",
    )
    enrol.add_argument("--config", type=Path, metavar="FILE", help="takes the names from it")
    for name in ("region", "site", "edge"):
        enrol.add_argument(f"--{name}", metavar="ID")
    enrol.add_argument("--folder", type=Path, required=True, help="where key and request go")
    enrol.set_defaults(function=_enrol)

    doctor = commands.add_parser(
        "doctor",
        help="poll all meters some times and say what is wrong with this gateway",
        description="Meters, cycle budget, wiring, clock, certificate, disk and outbox. Stores and "
        "sends nothing. Exit code 1 when something is wrong.",
    )
    _config_argument(doctor)
    doctor.add_argument("--rounds", type=int, default=3, metavar="N", help="polls (default: 3)")
    doctor.add_argument(
        "--watch-s",
        type=float,
        default=15.0,
        metavar="S",
        help="spread the polls over so many seconds, for counts to gain (default: 15)",
    )
    doctor.set_defaults(function=_doctor)

    commands.add_parser(
        "probe",
        help="find the meters on a bus and the device maps that fit them, write the configuration",
        add_help=False,
    )

    commands.add_parser(
        "handover",
        help="cut, kill, jump, swap and fill beside simulated meters, then prove the energy",
        description="The handover test: needs the demo's parts on this machine.",
        add_help=False,
    )

    show = commands.add_parser(
        "show-outbox",
        help="say what an outbox holds, also while the agent runs",
        description="Show id, counts, ranges and floor of an outbox. Changes nothing. Acks since "
        "the agent's last commit are not in the file yet.",
    )
    where = show.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE", help="the agent's configuration")
    where.add_argument("--file", type=Path, metavar="FILE", help="the outbox file itself")
    show.add_argument("--json", action="store_true", help="one JSON object instead of text")
    show.set_defaults(function=_show_outbox)
    return parser


def _config_argument(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--config", type=Path, required=required, metavar="FILE", help="TOML configuration"
    )


def _instant(text: str) -> int:
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither ISO 8601 nor ms UTC") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset: write +08:00 or Z")
    return round(moment.timestamp() * 1000)


def _seconds(text: str) -> int:
    try:
        value_ms = round(float(text) * 1000)
    except (ValueError, OverflowError):
        value_ms = 0
    if value_ms < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value_ms


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _checked_config(path: Path) -> EdgeConfig:
    """The configuration with all that it names; ConfigError with every problem."""
    from edge_agent.agent import build_meta, device_maps

    config = load_config(path)
    problems = missing_files(config)
    try:
        build_meta(config, device_maps(config))
    except ConfigError as error:
        problems += [
            Problem(f"{error.file}: {p.key}".strip(": "), p.reason) for p in error.problems
        ]
    if problems:
        raise ConfigError(str(path), placed(path.read_text("utf-8"), problems))
    return config


def _run(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import SystemClock
    from edge_agent.events import AgentFailed, EventLog

    steps = _steps(arguments)
    config = _checked_config(arguments.config)
    log = EventLog(SystemClock().time_ms)
    again = False
    try:
        again = asyncio.run(_run_until_signal(config, log, steps, arguments))
    except Exception as error:  # noqa: BLE001 - the last one to hear of it
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        log.emit(AgentFailed(f"{type(error).__name__}: {error}"))
        return EXIT_FAILED
    if again:  # as a new process in this one's place: nothing of the old one is left
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the very command that runs
    return 0


def _steps(arguments: argparse.Namespace) -> "Steps | None":
    from edge_agent.stepping import Steps

    given = [arguments.step_from, arguments.step_to, arguments.step_s, arguments.control]
    if all(value is None for value in given):
        return None
    if any(value is None for value in given):
        reason = "--step-from, --step-to, --step-s and --control go together"
    elif arguments.step_to < arguments.step_from:
        reason = "--step-to is before --step-from"
    else:
        return Steps(
            arguments.step_from, arguments.step_to, arguments.step_s, arguments.steps_a_batch
        )
    raise ConfigError("nenghao edge run", [Problem("", reason)])


async def _run_until_signal(
    config: EdgeConfig,
    log: "EventLog",
    steps: "Steps | None",
    arguments: argparse.Namespace,
) -> bool:
    from edge_agent.agent import run_agent
    from edge_agent.clock import LinuxMachine, SteadyClock, load_offset
    from edge_agent.events import TaskTrouble
    from edge_agent.stepping import run_steps
    from edge_agent.timekeeping import Timekeeper

    def trouble(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # aiomqtt leaves a future unread when a session ends before its broken connection is seen.
        log.emit(TaskTrouble(f"{context['message']}: {context.get('exception')!r}"))

    asyncio.get_running_loop().set_exception_handler(trouble)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if steps is not None:
        await run_steps(config, steps, arguments.control, log.emit, _print_step, stop)
        return False
    machine = LinuxMachine()
    saved = load_offset(config.edge.data_dir / "clock.json", machine.boot)
    keeper = Timekeeper(machine, rtc=config.edge.rtc, saved=saved)
    file = arguments.config.absolute()
    return await run_agent(config, SteadyClock(keeper), log.emit, stop, keeper, file)


def _print_step(time_ms: int) -> None:
    print(json.dumps({"event": "step", "time_ms": time_ms}), flush=True)


def _check_config(arguments: argparse.Namespace) -> int:
    if arguments.keys:
        for key, bounds, default, doc in describe_keys():
            print(f"{key:<28} {bounds:<26} {default:<12} {doc}")
        if arguments.config is None:
            return 0
    elif arguments.config is None:
        raise ConfigError("nenghao edge check-config", [Problem("", "give --config or --keys")])
    config = _checked_config(arguments.config)
    meters = sum(len(bus.meters) for bus in config.buses)
    place = f"{config.edge.region}/{config.edge.site}/{config.edge.id}"
    print(
        f"{arguments.config}: in order. {place}: {len(config.buses)} buses, {meters} meters, "
        f"every {config.poll.period_s:g} s, to {config.uplink.host}:{config.uplink.port}, "
        f"outbox {config.outbox_path}"
    )
    return 0


def _enrol(arguments: argparse.Namespace) -> int:
    from edge_agent.enrol import enrol

    if arguments.config is not None:
        identity = load_config(arguments.config).edge
    else:
        names = (arguments.region, arguments.site, arguments.edge)
        if None in names:
            raise ConfigError(
                "nenghao edge enrol", [Problem("", "give --config, or --region, --site and --edge")]
            )
        try:
            address = Address(*names)
        except ValueError as error:
            raise ConfigError("nenghao edge enrol", [Problem("", str(error))]) from error
        identity = EdgeIdentity(address.region, address.site, address.edge, Path())
    done = enrol(identity, arguments.folder)
    print(f"key      {done.key} ({'made' if done.made else 'kept'}; it stays on this device)")
    print(f"request  {done.request}, for {done.subject}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from edge_agent.examination import examine

    config = _checked_config(arguments.config)
    watch_s = min(max(0.0, arguments.watch_s), 3600.0)
    findings = asyncio.run(examine(config, max(2, arguments.rounds), watch_s))
    for finding in findings:
        hint = f"  -> {finding.hint}" if finding.hint else ""
        print(f"{'ok ' if finding.good else 'BAD'} {finding.where:<14} {finding.text}{hint}")
    bad = sum(not finding.good for finding in findings)
    print(f"{bad} of {len(findings)} findings need a person" if bad else "all is well")
    return EXIT_FAILED if bad else 0


def _handover(argv: Sequence[str]) -> int:
    """The conductor is no part of the edge: another process, of another package."""
    import importlib.util
    import subprocess

    if importlib.util.find_spec("simulators") is None:
        print("nenghao edge handover: needs pip install 'nenghao[demo]'", file=sys.stderr)
        return EXIT_CONFIG
    command = [sys.executable, "-m", "simulators.demo.handover", *argv]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - ours


def _show_outbox(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from edge_agent.outbox.inspection import inspect

    path = arguments.file or load_config(arguments.config).outbox_path
    found = inspect(path)
    if arguments.json:
        print(json.dumps(asdict(found)))
        return 0
    rows = {
        "outbox": found.id,
        "file": f"{path} ({found.used_bytes:,} bytes used)",
        "held": f"{found.held_batches:,} batches, {found.held_readings:,} readings, "
        f"floor {found.floor}, next {found.next_seq}",
        "unacked": f"{found.unacked_batches:,} batches, {found.unacked_readings:,} readings, "
        f"oldest reading {_moment(found.unacked_oldest_ms)}",
        "newest": f"reading {_moment(found.newest_ms)}",
        "acked": _ranges(found.acked),
        "void": f"{_ranges(found.void)}; {found.dropped_readings:,} readings given up in all",
        "thinned": f"{found.thinned_readings:,} readings; {found.lost_batches:,} batches lost to "
        "damage",
        "timeless": f"{found.timeless_readings:,} readings wait for the clock",
        "metas": str(found.metas),
    }
    for name, text in rows.items():
        print(f"{name:<8} {text}")
    return 0


def _moment(time_ms: int | None) -> str:
    if time_ms is None:
        return "none"
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def _ranges(ranges: Sequence[tuple[int, int]]) -> str:
    shown = ", ".join(f"{low}-{high}" if low < high else f"{low}" for low, high in ranges[:20])
    more = f" and {len(ranges) - 20} more ranges" if len(ranges) > 20 else ""
    return (shown or "none") + more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
