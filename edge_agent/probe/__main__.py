"""`nenghao edge probe`: its arguments, what it prints and writes."""

import argparse
import asyncio
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.config import BusConfig
from edge_agent.errors import ConfigError, EdgeError, Problem
from edge_agent.links.registry import make_link
from edge_agent.probe.place import EdgeFile, refuse_second_master
from edge_agent.probe.plan import SERIAL_PROTOCOLS, Stage, Wanted, stages
from edge_agent.probe.survey import Progress, Survey, survey
from edge_agent.probe.writing import buses, report
from edge_agent.registers import all_models, load_device_maps

ETHERNET_UNITS = (255,)
"""By which a meter with a network port of its own often goes."""
EXIT_NOTHING = 1
EXIT_CONFIG = 2
_NOTHING = """\
Nobody answered. Look at: power of the meters; A and B exchanged; termination; the address on the
plate (--address, --units 1-247); other settings (--baud, --parity); slow gateways (--timeout-s)."""


def main(argv: Sequence[str]) -> int:
    """Run `nenghao edge probe`; returns the exit code."""
    arguments = _parser().parse_args(list(argv))
    try:
        return run(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except EdgeError as error:
        print(f"nenghao edge probe: {error}", file=sys.stderr)
        return EXIT_NOTHING


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao edge probe",
        description="Try serial settings, protocols and addresses on a bus, read every meter found "
        "by every device map, weigh by physics which fits, say why, and write the buses: into "
        "--config, else to standard output. Reads only, and alone on the wire: stop the agent.",
        epilog="exit codes: 0 every meter found has a map; 1 not so, nobody answered, or the wire "
        "is in use; 2 wrong call or configuration.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--device", metavar="PATH", help="serial port, e.g. /dev/serial/by-id/...")
    place.add_argument(
        "--tcp", metavar="HOST:PORT", help="meter, Modbus TCP gateway or serial server"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the edge's configuration: the buses found are added to it, all else stays",
    )
    look = parser.add_argument_group("what to look for")
    look.add_argument(
        "--protocols",
        type=_one_of(("modbus-tcp", *SERIAL_PROTOCOLS)),
        metavar="LIST",
        help="of modbus-tcp, modbus, dlt645, cjt188, mbus (default: all)",
    )
    look.add_argument("--baud", type=_numbers(300, 115_200), metavar="LIST", help="e.g. 2400,9600")
    look.add_argument(
        "--parity", type=_one_of(("none", "even", "odd")), metavar="LIST", help="e.g. even"
    )
    look.add_argument(
        "--units",
        type=_numbers(0, 255),
        metavar="LIST",
        help="Modbus units and M-Bus primary addresses (default: 1-32, over TCP 255 too)",
    )
    look.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="DIGITS",
        help="address on a plate, 12 digits DL/T 645, 14 digits CJ/T 188: needed where several "
        "CJ/T 188 meters share the wire; may be repeated",
    )
    look.add_argument(
        "--every-setting", action="store_true", help="go on after a setting where a meter answers"
    )
    pace = parser.add_argument_group("pace")
    pace.add_argument(
        "--timeout-s", type=_seconds, default=0.5, metavar="S", help="for an answer (%(default)s)"
    )
    pace.add_argument(
        "--watch-s",
        type=_seconds,
        default=20.0,
        metavar="S",
        help="between two readings of each meter: long enough, and the gain of the counts tells "
        "(%(default)s)",
    )
    pace.add_argument(
        "--limit-s", type=_seconds, default=900.0, metavar="S", help="look no longer (%(default)s)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Look, say what was found, write it."""
    head = EdgeFile(arguments.config) if arguments.config is not None else None
    bus, kinds = _place(arguments)
    wanted = _wanted(arguments, kinds)
    if head is not None:
        head.refuse_known(bus)
    if bus.host:
        refuse_second_master(bus.host, bus.port)
    planned = stages(kinds, wanted)
    if not planned:
        raise ConfigError("nenghao edge probe", [Problem("--protocols", "none of them is here")])
    print(_estimate(planned, wanted), file=sys.stderr)
    own = head.devices_dir if head is not None else None
    devices = load_device_maps(all_models(own), own).values()
    done = asyncio.run(survey(bus, kinds, wanted, devices, make_link, _progress(planned)))
    print(file=sys.stderr)
    for line in (*report(done.verdicts), *(f"note: {note}" for note in done.notes)):
        print(line, file=sys.stderr)
    if not done.verdicts:
        print(_NOTHING, file=sys.stderr)
        return EXIT_NOTHING
    return _write(head, bus, done)


def _write(head: EdgeFile | None, bus: BusConfig, done: Survey) -> int:
    text = "\n".join(buses(bus, done.verdicts, head.ids if head is not None else ()))
    if head is None:
        print(text)
    else:
        head.add(text)
        print(f"{head.file}: added what was found; nenghao edge check-config", file=sys.stderr)
    return 0 if all(verdict.best is not None for verdict in done.verdicts) else EXIT_NOTHING


def _place(arguments: argparse.Namespace) -> tuple[BusConfig, list[str]]:
    if arguments.device is not None:
        return BusConfig("probe", device=arguments.device), ["serial"]
    host, _, port = arguments.tcp.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        reason = f"{arguments.tcp!r} is not HOST:PORT"
        raise ConfigError("nenghao edge probe", [Problem("--tcp", reason)])
    kinds = ["modbus-tcp", "tcp"]
    if arguments.protocols is not None:
        kinds = ["modbus-tcp"] * ("modbus-tcp" in arguments.protocols)
        kinds += ["tcp"] * bool(set(arguments.protocols) - {"modbus-tcp"})
    return BusConfig("probe", host=host.strip("[]"), port=int(port)), kinds


def _wanted(arguments: argparse.Namespace, kinds: list[str]) -> Wanted:
    protocols = arguments.protocols or SERIAL_PROTOCOLS
    if "modbus-tcp" in kinds and "modbus" not in protocols:
        protocols = (*protocols, "modbus")
    if "mbus" in protocols and importlib.util.find_spec("meterbus") is None:
        print('without M-Bus: pip install "nenghao[mbus]"', file=sys.stderr)
        protocols = tuple(p for p in protocols if p != "mbus")
    return Wanted(
        protocols=tuple(protocols),
        bauds=arguments.baud or (),
        parities=arguments.parity or (),
        units=arguments.units or Wanted().units + ETHERNET_UNITS * ("modbus-tcp" in kinds),
        addresses=tuple(arguments.address),
        every_setting=arguments.every_setting,
        timeout_s=arguments.timeout_s,
        watch_s=arguments.watch_s,
        limit_s=arguments.limit_s,
    )


def _estimate(planned: list[Stage], wanted: Wanted) -> str:
    questions = sum(stage.questions for stage in planned)
    seconds = sum(stage.seconds for stage in planned)
    settings = len({stage.setting for stage in planned})
    text = (
        f"{questions} questions at {settings} settings: at most {_minutes(seconds)} to look, then "
        f"{wanted.watch_s:g} s and some seconds for each meter found"
    )
    if seconds > wanted.limit_s:
        text += f"; stops looking after {_minutes(wanted.limit_s)} (--limit-s)"
    return text


def _progress(planned: list[Stage]) -> Progress:
    """A line that is written over on a terminal; elsewhere a line for each stage."""
    total_s = sum(stage.seconds for stage in planned)
    before = {
        stage: sum(earlier.seconds for earlier in planned[:at]) for at, stage in enumerate(planned)
    }
    begin, end = ("\r", "\x1b[K") if sys.stderr.isatty() else ("", "\n")
    started = time.monotonic()
    last: list[tuple[object, ...]] = []

    def show(stage: Stage, question: int, found: int) -> None:
        now = (stage, found)
        if end == "\n" and last == [now]:
            return
        last[:] = [now]
        gone_s = before.get(stage, 0.0) + stage.seconds * question / max(1, stage.questions)
        left = _minutes(max(0.0, total_s - gone_s))
        print(
            f"{begin}{_minutes(time.monotonic() - started)}, at most {left} left: {stage.setting}, "
            f"{stage.protocol}, question {question}; {found} found here",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    return show


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _one_of(names: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(text.split(",")))
        if not set(chosen) <= set(names):
            raise argparse.ArgumentTypeError(f"{text!r}: of {', '.join(names)}, with commas")
        return chosen

    return parse


def _numbers(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    def parse(text: str) -> tuple[int, ...]:
        chosen: dict[int, None] = {}
        for part in text.split(","):
            first, _, last = part.partition("-")
            if not first.isdecimal() or not (last or first).isdecimal():
                raise argparse.ArgumentTypeError(f"{text!r} is not like 1-10,20")
            span = range(int(first), int(last or first) + 1)
            if not span or span[0] < low or span[-1] > high:
                raise argparse.ArgumentTypeError(f"{part!r} is not within {low} to {high}")
            chosen.update(dict.fromkeys(span))
        return tuple(chosen)

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.05 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.05 to 86400 seconds")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
