"""`nenghao replay`: make stored figures anew from raw readings."""

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from aggregator.signature import add_signature, signed

if TYPE_CHECKING:
    from aggregator.config import Config
    from aggregator.offline import Parts

EXIT_USAGE = 2


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong call or config."""
    arguments = _parser().parse_args(argv)
    if arguments.from_day and arguments.to_day and arguments.from_day >= arguments.to_day:
        print(
            f"nenghao replay: --from {arguments.from_day} is not before --to {arguments.to_day}",
            file=sys.stderr,
        )
        return EXIT_USAGE
    if not signed(arguments) and _may_change_settled(arguments.from_day):
        print(
            "nenghao replay: --why and --author are needed: settled days may change, and their "
            "records give reason and author",
            file=sys.stderr,
        )
        return EXIT_USAGE

    from aggregator.app import wall_ms
    from aggregator.config import load
    from aggregator.events import Events
    from aggregator.offline import opened
    from aggregator.refusals import guarded

    def act() -> int:
        config = load(arguments.config)
        with opened(config, "nenghao replay", Events(wall_ms)) as parts:
            return _replay(config, parts, arguments)

    try:
        return guarded("nenghao replay", "replay", act)
    except KeyboardInterrupt:
        print("nenghao replay: interrupted; the same call goes on", file=sys.stderr)
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao replay",
        description="Makes intervals, hours, days, months and what is made of them for nodes, "
        "regions and balances anew from raw readings, under the register, events, factors and "
        "tariffs of today. What is right already is not written. Changed figures of settled days "
        "leave restatement records. No aggregator may run meanwhile. An interrupted run is "
        "continued by the same call.",
    )
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the aggregator")
    parser.add_argument("--site", help="only this site")
    parser.add_argument(
        "--from", dest="from_day", metavar="DAY", type=_day,
        help="first Beijing day (default: that of the first reading)",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="to_day", metavar="DAY", type=_day,
        help="Beijing day after the last (default: that after the last reading)",
    )  # fmt: skip
    add_signature(parser, "the reason that restatement records give; may lack for open days only")
    parser.add_argument(
        "--restart", action="store_true", help="begin anew where an interrupted run would go on"
    )
    return parser


def _day(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _may_change_settled(from_day: date | None) -> bool:
    from aggregator.app import wall_ms
    from aggregator.ledger.rows import day_ms
    from aggregator.restatements import is_settled

    return from_day is None or is_settled(day_ms(from_day), wall_ms())


def _replay(config: "Config", opened: "Parts", arguments: argparse.Namespace) -> int:
    from aggregator.ledger.rows import day_ms
    from aggregator.periods import month_text
    from aggregator.replay import Made
    from aggregator.replay_command.progress import Bar, Progress

    from_ms = arguments.from_day and day_ms(arguments.from_day)
    to_ms = arguments.to_day and day_ms(arguments.to_day)
    replayer = opened.replayer(signed(arguments))
    sites = opened.sites(arguments.site)
    due = replayer.catch_up(sites)
    if due:
        print(f"First did what the aggregator would do at its next start: {due} intervals.")
    parts = list(replayer.parts(sites, from_ms, to_ms))
    bar = Bar(sys.stderr, len(parts))
    asked = {"site": arguments.site, "from_ms": from_ms, "to_ms": to_ms}
    file = Path(config.aggregator.data_dir) / "replay.jsonl"
    with Progress(file, asked, restart=arguments.restart) as progress:
        earlier = sum(part in progress.done for part in parts)
        if earlier:
            print(f"Going on: {earlier} of {len(parts)} months of sites and regions are done.")
        try:
            for i, part in enumerate(parts):
                bar.show(i, f"{part.name} {month_text(part.from_ms)}")
                if part not in progress.done:
                    progress.add(part, replayer.replay(part))
        finally:
            bar.clear()
        done = [(part, progress.done[part]) for part in parts]
    total = sum((made for _, made in done), Made())
    for part, made in done:
        if made != Made():
            print(
                f"{part.name} {month_text(part.from_ms)}: {made.intervals} intervals, "
                f"{made.rollups} hours, days and months, {made.nodes} figures of nodes changed, "
                f"{made.records} restatement records"
            )
    if total == Made() and due:
        print(f"{len(parts)} months of sites and regions: all other figures were right.")
    elif total == Made():
        print(
            f"{len(parts)} months of sites and regions: all figures were right; "
            "nothing was changed."
        )
    else:
        print(
            f"{len(parts)} months of sites and regions: {total.intervals} intervals, "
            f"{total.rollups} hours, days and months and {total.nodes} figures of nodes were "
            f"changed; {total.records} restatement records."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
