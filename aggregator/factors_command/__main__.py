"""`nenghao factors`: list, check and apply conversion factors and tariffs."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from aggregator.signature import add_signature, signed

if TYPE_CHECKING:
    from aggregator.factors_command.application import Total
    from aggregator.factors_command.tables import Tables

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong call or config."""
    arguments = _parser().parse_args(argv)
    return {"list": _list, "check": _check, "apply": _apply}[arguments.action](arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao factors",
        description="Conversion factors (standard coal, CO2) and tariffs: look at them, check "
        "them, and make stored figures anew under them.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|check|apply")

    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument(
        "--register", type=Path, metavar="DIR",
        help="a register folder: its factors/ and tariffs/ too",
    )  # fmt: skip

    shown = actions.add_parser("list", parents=[folders], help="show factor rows, or tariffs")
    shown.add_argument("--set", help="only the rows of this set")
    shown.add_argument("--carrier", help="electricity, natural_gas, raw_coal, ...")
    shown.add_argument("--measure", help="kgce_calorific, kgce_equivalent or co2_kg")
    shown.add_argument("--tariffs", action="store_true", help="show prices instead of factors")
    shown.add_argument("--tariff", help="only this tariff (with --tariffs)")
    shown.add_argument("--json", action="store_true", help="for programs; sources in full")

    actions.add_parser(
        "check", parents=[folders], help="name every gap, overlap, wrong unit or missing source"
    )

    applied = actions.add_parser(
        "apply",
        help="make stored standard coal, CO2 and cost anew",
        description="Says what would change in the stored measures of a range of days under the "
        "configured factor set and the sites' tariffs. Changes it with --yes, and leaves a "
        "restatement record for every settled day. No aggregator may run meanwhile.",
    )
    applied.add_argument("--config", type=Path, required=True, help="TOML file of the aggregator")
    applied.add_argument("--from", dest="from_day", type=_day, required=True, help="first day")
    applied.add_argument("--to", dest="to_day", type=_day, required=True, help="day after the last")
    applied.add_argument("--site", help="only this site")
    applied.add_argument("--set", help="what if this set were configured (not with --yes)")
    applied.add_argument("--yes", action="store_true", help="change the figures")
    add_signature(applied, "the reason that the records give")
    applied.add_argument("--json", action="store_true", help="one line per meter, day and measure")
    return parser


def _day(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# ---------------------------------------------------------------------- list and check


def _tables(arguments: argparse.Namespace) -> "Tables | None":
    """Load the tables; None after saying that the folder is not there."""
    from aggregator.factors_command.tables import load_tables

    if arguments.register is not None and not arguments.register.is_dir():
        print(f"nenghao factors: {arguments.register}: no such folder", file=sys.stderr)
        return None
    return load_tables(arguments.register)


def _list(arguments: argparse.Namespace) -> int:
    from aggregator.factors_command.tables import factor_rows, price_rows
    from aggregator.ledger.rows import TableError

    tables = _tables(arguments)
    if tables is None:
        return EXIT_USAGE
    if tables.factors is None or tables.tariffs is None:
        return _refused(tables)
    try:
        if arguments.tariffs:
            rows = list(price_rows(tables.tariffs, arguments.tariff, arguments.carrier))
        else:
            rows = list(
                factor_rows(tables.factors, arguments.set, arguments.carrier, arguments.measure)
            )
    except TableError as error:
        print(f"nenghao factors: {error}", file=sys.stderr)
        return EXIT_USAGE
    if not rows:
        print("nenghao factors: no row is of that kind", file=sys.stderr)
        return EXIT_FAILED
    if arguments.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        print(_listed(rows, tariffs=arguments.tariffs))
    return 0


def _listed(rows: Sequence[dict[str, object]], *, tariffs: bool) -> str:
    from aggregator.terminal import table

    names = ["tariff", "carrier", "period"] if tariffs else ["sets", "carrier", "measure"]
    names += ["value", "unit", "region", "valid", "verified", "id", "source"]
    cells = []
    for row in rows:
        end = row["valid_to"] or "..."
        sets = row.get("sets")
        shown = {
            **row,
            "sets": ",".join(sets) if isinstance(sets, list) else "",
            "valid": f"{row['valid_from']} to {end}",
            "verified": "yes" if row["verified"] else "NO",
            "source": _short(str(row["source"])),
        }
        cells.append([str(shown[name]) for name in names])
    return table(names, cells, right=("value",))


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _check(arguments: argparse.Namespace) -> int:
    from aggregator.factors_command.tables import notes

    tables = _tables(arguments)
    if tables is None:
        return EXIT_USAGE
    if tables.factors is None or tables.tariffs is None:
        return _refused(tables)
    for note in notes(tables):
        print(f"note: {note}")
    print(
        f"good: {len(tables.factors.rows)} factor rows in {len(tables.factors.sets)} sets, "
        f"{len(tables.tariffs.tariffs)} tariffs"
    )
    return 0


def _refused(tables: "Tables") -> int:
    for problem in tables.problems:
        print(problem)
    print(f"nenghao factors: {len(tables.problems)} problems", file=sys.stderr)
    return EXIT_FAILED


# ---------------------------------------------------------------------- apply


def _apply(arguments: argparse.Namespace) -> int:
    from aggregator.refusals import guarded

    return guarded("nenghao factors apply", "apply", lambda: _applied(arguments))


def _applied(arguments: argparse.Namespace) -> int:
    from aggregator.config import load

    config = load(arguments.config)
    configured = config.aggregator.factor_set
    name = configured if arguments.set is None else arguments.set
    wrong = ""
    if arguments.from_day >= arguments.to_day:
        wrong = f"--from {arguments.from_day} is not before --to {arguments.to_day}"
    elif arguments.yes and name != configured:
        wrong = (
            f"the aggregator would go on under {configured}: "
            f'write factor_set = "{name}" into {arguments.config} first, then apply without --set'
        )
    elif arguments.yes and not signed(arguments):
        wrong = "--yes wants --why and --author: the restatement records give reason and author"
    if wrong:
        print(f"nenghao factors apply: {wrong}", file=sys.stderr)
        return EXIT_USAGE

    from aggregator.app import wall_ms
    from aggregator.events import Events
    from aggregator.factors_command.application import opened, totals
    from aggregator.ledger.rows import day_ms

    from_ms, to_ms = day_ms(arguments.from_day), day_ms(arguments.to_day)
    now_ms = wall_ms()
    with opened(config, name, Events(wall_ms), read_only=not arguments.yes) as application:
        if arguments.yes:
            done = application.apply(arguments.site, from_ms, to_ms, now_ms, signed(arguments))
        else:
            done = application.plan(arguments.site, from_ms, to_ms, now_ms)
        if arguments.json:
            for change in done:
                print(json.dumps(asdict(change), ensure_ascii=False))
            return 0
        found = totals(done)
    behind = sorted(application.behind)
    print(f"factor set {name}, {arguments.from_day} to {arguments.to_day} (excluded)")
    if behind:
        others = f" and {len(behind) - 1} more" if behind[1:] else ""
        print(f"On other days, measures of {behind[0]}{others} still differ from this set.")
    if not found:
        print("Nothing differs: the stored measures are those of this set.")
        return 0
    print(_totals_text(found))
    records = sum(total.settled for total in found.values())
    if arguments.yes:
        print(f"Changed. {records} restatement records of settled days name reason and author.")
    else:
        print(f"Nothing was changed. --yes --why '...' changes it and leaves {records} records.")
    return 0


def _totals_text(found: "dict[tuple[str, str], Total]") -> str:
    from aggregator.terminal import table

    head = ["site", "measure", "channels", "days", "intervals", "settled", "from", "to", "change"]
    rows = [
        [
            site,
            measure,
            str(len(total.channels)),
            str(len(total.days)),
            str(total.intervals),
            str(total.settled),
            _figure(total.before, total.undetermined_before),
            _figure(total.after, total.undetermined_after),
            "" if total.undetermined_before or total.undetermined_after
            else f"{total.after - total.before:+.3f}",
        ]
        for (site, measure), total in found.items()
    ]  # fmt: skip
    return table(head, rows, right=head[2:])


def _figure(known: float, undetermined: int) -> str:
    """Show what is known, and on how many days of channels nothing is."""
    return f"{known:.3f}" + (f" +{undetermined}x?" if undetermined else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
