"""`nenghao profiles`: find how a meter's energy spreads over the day, for the gaps to come."""

import argparse
import csv
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregator.config import Config


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong call or config."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if bool(arguments.meter) == bool(arguments.carrier):
        parser.error("--meter or --carrier, not both")
    if arguments.keep and not (arguments.author.strip() and arguments.reason.strip()):
        parser.error("--keep needs --author and --reason")
    if arguments.from_day >= arguments.to_day:
        parser.error("--from is not before --to")

    from aggregator.config import load
    from aggregator.ledger.profile_fit import FitError
    from aggregator.refusals import guarded

    def act() -> int:
        return _fit(load(arguments.config), arguments)

    return guarded("nenghao profiles", "fit", act, FitError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao profiles",
        description="Find weights of a day's quarters in measured intervals of settled days, and "
        "print them as a row of profiles.csv. Gaps are then spread by them; totals do not change.",
    )
    parser.add_argument("action", choices=["fit"])
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the aggregator")
    parser.add_argument("--site", required=True)
    parser.add_argument("--meter", default="", help="of one meter")
    parser.add_argument("--carrier", default="", help="of all its meters at the site")
    for name in ("from", "to"):
        parser.add_argument(
            f"--{name}", dest=f"{name}_day", type=date.fromisoformat, required=True,
            help="Beijing day, 2026-03-01; --to is not included",
        )  # fmt: skip
    parser.add_argument("--valid-from", default="", help="as in profiles.csv; empty: since ever")
    parser.add_argument("--keep", action="store_true", help="put the row into the register")
    parser.add_argument("--author", default="", help="who keeps it")
    parser.add_argument("--reason", default="", help="why, for the audit")
    return parser


def _fit(config: "Config", arguments: argparse.Namespace) -> int:
    from aggregator.app import wall_ms
    from aggregator.events import Events
    from aggregator.ledger.profile_fit import FitError, text
    from aggregator.ledger.rows import day_ms
    from aggregator.offline import opened
    from aggregator.profiles_command.application import fitted
    from aggregator.register.database import RegisterDatabase
    from aggregator.register.tables import TABLES

    span = day_ms(arguments.from_day), day_ms(arguments.to_day)
    with opened(config, "nenghao profiles", Events(wall_ms), read_only=not arguments.keep) as parts:
        if arguments.site not in parts.register.sites:
            raise FitError(f"no site {arguments.site!r} in the register")
        found = fitted(parts.reader, arguments.site, arguments.meter, arguments.carrier, *span)
    row = {
        "site": arguments.site,
        "meter": arguments.meter,
        "carrier": arguments.carrier,
        "weekday": text(found.weekday),
        "weekend": text(found.weekend),
        "valid_from": arguments.valid_from,
        "source": f"fitted to {found.intervals} measured intervals of {found.days} days from "
        f"{arguments.from_day} to {arguments.to_day}",
    }
    names = [column.name for column in TABLES["profiles"].columns]
    out = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    out.writeheader()
    out.writerow(row)
    if arguments.keep:
        with RegisterDatabase(config.aggregator.database_url()) as database:
            database.open()
            author, reason = arguments.author.strip(), arguments.reason.strip()
            changes = database.put_row(
                "profiles", row, author=author, note=reason, now_ms=wall_ms()
            )
        for change in changes:
            print(change, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
