"""Command line: nenghao prove-chaos."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

EXIT_INTERRUPTED = 130
EPILOG = """\
exit codes: 0 all is proved, 1 it is not (the last line says how to repeat it), 2 wrong call,
130 ended by Ctrl-C.
"""


def main(argv: Sequence[str]) -> int:
    """Run one seed after the other; returns the exit code."""
    arguments = _parser().parse_args(list(argv))
    from simulators.chaos.faults import kinds_table, write_script
    from simulators.chaos.rounds import UsageError, faults_of, prove_seeds, setting_of

    if arguments.kinds:
        print(kinds_table())
        return 0
    try:
        if arguments.print_script:
            print(write_script(faults_of(arguments, setting_of(arguments, arguments.seed))), end="")
            return 0
        return asyncio.run(_until_signal(prove_seeds(arguments)))
    except UsageError as error:
        print(f"nenghao prove-chaos: {error}", file=sys.stderr)
        return 2


async def _until_signal(work: Coroutine[None, None, int]) -> int:
    """Await the work; the first SIGINT, SIGTERM or SIGHUP cancels it, which cleans up."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    print("nenghao prove-chaos: ended, nothing is left running", file=sys.stderr)
    return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao prove-chaos",
        description="Edges, broker, aggregator and store as real processes beside simulated "
        "meters, under faults that a seed draws or a script names; then everything is healed, and "
        "the ledger must be the truth: per counter, per interval, nothing lost, nothing doubled.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument(
        "--minutes", type=_minutes, default="1", metavar="M", help="of faults (default: 1)"
    )
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="a table of faults instead of a seed's"
    )
    parser.add_argument("--store", choices=("embedded", "influx"), default="embedded")
    parser.add_argument(
        "--broker",
        choices=("mosquitto", "embedded"),
        help="(default: mosquitto where it is installed)",
    )
    parser.add_argument(
        "--rounds",
        type=_rounds,
        default="1",
        metavar="N",
        help="so many seeds from --seed on, until one fails; 0 = for ever (default: 1)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("var/chaos"),
        metavar="D",
        help="logs, outboxes and stores, a folder a seed (default: %(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of a good run too")
    parser.add_argument("--kinds", action="store_true", help="list the kinds of faults and end")
    parser.add_argument(
        "--print-script", action="store_true", help="print the faults as a script and end"
    )
    return parser


def _rounds(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seeds, 0 or more")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return value


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main(sys.argv[1:]))
