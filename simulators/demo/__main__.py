"""Command line: nenghao demo."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

DEFAULT_SECONDS = 60.0
DEFAULT_WORK_DIR = Path("var/demo")
EXIT_INTERRUPTED = 130
PLAIN_WIDTH = 118

EPILOG = """\
environment: DEMO_SECONDS and BROKER give the defaults of --seconds and --broker.
exit codes: 0 the proof holds, 1 it does not or a part failed, 130 ended by Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """Run the demo; returns the exit code."""
    arguments = _parser().parse_args(list(argv))
    from rich.console import Console

    from simulators.demo.conductor import Options, conduct
    from simulators.district import DistrictError

    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    options = Options(
        district=arguments.district,
        seconds=arguments.seconds,
        broker=arguments.broker,
        work_dir=arguments.work_dir,
        keep=arguments.keep,
        live_view=not arguments.no_live_view,
        picture=arguments.save_picture,
    )
    try:
        return asyncio.run(until_signal(conduct(options, console)))
    except DistrictError as error:
        print(f"nenghao demo: {error}", file=sys.stderr)
        return 2


async def until_signal(work: Coroutine[None, None, int]) -> int:
    """Await the work; the first SIGINT, SIGTERM or SIGHUP cancels it, which cleans up."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    print("nenghao: ended, nothing is left running", file=sys.stderr)
    return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao demo",
        description="A simulated district end to end on real parts: Modbus TCP meters, edge agents "
        "that return from a day without network, an MQTT broker, the aggregator and its store; "
        "then the proof that no energy was lost and none counted twice.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=os.environ.get("DEMO_SECONDS") or str(DEFAULT_SECONDS),
        metavar="N",
        help="seconds of live data before the proof; 0 = until Ctrl-C (default: 60)",
    )
    parser.add_argument(
        "--broker",
        type=_broker,
        default=os.environ.get("BROKER") or None,
        metavar="HOST:PORT",
        help="another MQTT broker than the embedded one",
    )
    parser.add_argument(
        "--district",
        default="zhangqiu-demo",
        metavar="NAME|FILE",
        help="district to simulate (default: %(default)s)",
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=DEFAULT_WORK_DIR,
        metavar="D",
        help="outboxes, store and logs; emptied at the start (default: %(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the work dir after a good proof")
    parser.add_argument(
        "--no-live-view", action="store_true", help="lines of text instead of the live screen"
    )
    parser.add_argument(
        "--save-picture", type=Path, metavar="F", help="save the last screen as an SVG file"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def _broker(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
