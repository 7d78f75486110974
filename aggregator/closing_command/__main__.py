"""`nenghao close`: close a month of a region, or list the months that are closed."""

import argparse
import json
import sys
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregator.closing_command.application import Closed
    from aggregator.config import Config

EXIT_USAGE = 2
_SHOWN = 20


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 refused, 2 wrong call or config."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.action == "list":
        return _with_config(arguments)
    for name in ("region", "month", "author", "reason"):
        if not (getattr(arguments, name) or "").strip():
            parser.error(f"--{name} is needed to close a month")
    return _with_config(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao close",
        description="Freeze what is reported of a region's month. It can be closed once, and only "
        "when all its days are settled: from 06:00 of the next month's first day. What is found "
        "afterwards is a correction: now - reported. No aggregator may run meanwhile.",
    )
    parser.add_argument(
        "action", nargs="?", choices=["list"], help="show what is closed, and close nothing"
    )
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the aggregator")
    parser.add_argument("--region", help="GB/T 2260 code")
    parser.add_argument("--month", help="like 2026-10, Beijing time")
    parser.add_argument("--author", help="who closes it")
    parser.add_argument("--reason", help="why, for those who read it later")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _with_config(arguments: argparse.Namespace) -> int:
    from aggregator.closings import ClosingError
    from aggregator.config import load
    from aggregator.refusals import guarded

    def act() -> int:
        config = load(arguments.config)
        return (_list if arguments.action == "list" else _close)(config, arguments)

    return guarded("nenghao close", "close", act, ClosingError)


def _list(config: "Config", arguments: argparse.Namespace) -> int:
    from aggregator.closing_command.application import closings_of
    from aggregator.ledger.rows import date_of
    from aggregator.terminal import table

    with closings_of(config) as closings:
        found = closings.closings(arguments.region)
    names = ("region", "month", "closed_ms", "author", "reason", "factor_set")
    if arguments.json:
        for one in found:
            print(json.dumps({name: getattr(one, name) for name in names}, ensure_ascii=False))
    elif not found:
        print("No month is closed.")
    else:
        head = ["region", "month", "closed on", "by", "reason", "factor set"]
        rows = [
            [o.region, o.month, str(date_of(o.closed_ms)), o.author, o.reason, o.factor_set]
            for o in found
        ]
        print(table(head, rows))
    return 0


def _close(config: "Config", arguments: argparse.Namespace) -> int:
    from aggregator.app import wall_ms
    from aggregator.closing_command.application import close_month
    from aggregator.events import Events
    from aggregator.periods import month_of

    try:
        month_ms = month_of(arguments.month)
        if arguments.region not in config.aggregator.regions:
            own = ", ".join(config.aggregator.regions)
            raise ValueError(f"--region {arguments.region}: this aggregator keeps {own}")
    except ValueError as error:
        print(f"nenghao close: {error}", file=sys.stderr)
        return EXIT_USAGE
    closed = close_month(
        config,
        Events(wall_ms),
        region=arguments.region,
        month_ms=month_ms,
        author=arguments.author.strip(),
        reason=arguments.reason.strip(),
    )
    if arguments.json:
        print(json.dumps(_document(closed), ensure_ascii=False))
    else:
        print(_text(closed))
    return 0


def _document(closed: "Closed") -> dict[str, object]:
    from aggregator.ledger.rows import date_of

    closing = closed.closing
    return {
        "region": closing.region,
        "month": closing.month,
        "closed_ms": closing.closed_ms,
        "factor_set": closing.factor_set,
        "sites": closed.sites,
        "channels": closed.channels,
        "measured_s": closed.measured_ms / 1000,
        "estimated_s": closed.estimated_ms / 1000,
        "missing_s": closed.missing_ms / 1000,
        "open_channels": closed.open,
        "open_registers": {name: str(date_of(at)) for name, at in closed.estimated.items()},
        "meters_without_data": closed.silent,
    }


def _text(closed: "Closed") -> str:
    from aggregator.ledger.rows import date_of

    closing = closed.closing
    total_ms = max(1, closed.measured_ms + closed.estimated_ms + closed.missing_ms)
    shares = ", ".join(
        f"{part_ms / total_ms:.2%} {name}"
        for name, part_ms in (
            ("measured", closed.measured_ms),
            ("estimated", closed.estimated_ms),
            ("missing", closed.missing_ms),
        )
    )
    size = f"{closed.channels} channels of {closed.sites} sites"
    lines = [f"Closed {closing.region} {closing.month}: {size}; of their time {shares}."]
    if closed.estimated:
        oldest = sorted(closed.estimated.items(), key=itemgetter(1))
        since = [f"{name} (last read {date_of(time_ms)})" for name, time_ms in oldest]
        lines.append(f"Registers not read up to the end, estimated: {_some(since)}.")
    if closed.open:
        lines.append(f"Channels with missing time: {_some(closed.open)}.")
    if closed.silent:
        lines.append(f"Meters without any figure: {_some(closed.silent)}.")
    return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
