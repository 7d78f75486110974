"""`nenghao register`: check, import and export the register, and show who changed what."""

import argparse
import getpass
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregator.register.database import RegisterDatabase

TIMES = "2026-01-31 (from Beijing midnight) or an RFC 3339 time with its offset"


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 refused, 2 wrong call."""
    parser = _parser()
    arguments = parser.parse_args(argv)

    from sqlalchemy.exc import SQLAlchemyError

    from aggregator.config import ConfigError
    from aggregator.register.engine import DatabaseError
    from aggregator.register.problems import RegisterError

    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except RegisterError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"nenghao register: {len(error.problems)} problem(s)", file=sys.stderr)
        return 1
    except (DatabaseError, SQLAlchemyError, OSError) as error:
        print(f"nenghao register: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao register",
        description="The register says what is true about the city: sites, meters, production "
        "output, quotas, budgets, targets. It is kept in a database and edited as a folder of CSV "
        "and TOML files. docs/register.md lists files and columns.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser(
        "check",
        help="name every problem of a folder, and stop",
        description="Name every problem of a folder with file, line and column. No database.",
    )
    command.add_argument("folder", type=Path)
    command.set_defaults(run=_check)

    command = commands.add_parser(
        "import",
        help="make the database what a folder says",
        description="Make the database what a folder says, in one transaction, with an audit "
        "record for each changed row. A file that is there replaces its table; a table whose file "
        "is absent stays as it is. A running aggregator takes the change at its next start.",
    )
    command.add_argument("folder", type=Path)
    command.add_argument("--author", default="", help="who changes it (default: your user name)")
    command.add_argument("--note", default="", help="why, for the audit")
    command.add_argument(
        "--dry-run", action="store_true", help="only print what would change, and write nothing"
    )
    _add_database(command)
    command.set_defaults(run=_import)

    command = commands.add_parser(
        "export",
        help="write the database into a folder",
        description="Write the register into a folder in normal form, over what stands there.",
    )
    command.add_argument("folder", type=Path)
    _add_database(command)
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "log",
        help="show who changed what, and when",
        description="Print the audit, oldest record first.",
    )
    command.add_argument("--table", default="", help="only this table: sites, meters ...")
    command.add_argument("--since", default="", metavar="TIME", help=TIMES)
    command.add_argument("--limit", type=int, default=100, help="newest records (default: 100)")
    command.add_argument("--format", choices=("text", "json"), default="text")
    _add_database(command)
    command.set_defaults(run=_log)
    return parser


def _add_database(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file of the aggregator that uses it",
    )
    which.add_argument(
        "--database",
        metavar="URL",
        help="sqlite:///FILE or postgresql+psycopg://USER@HOST:PORT/DATABASE",
    )
    command.add_argument(
        "--password-file", default="", metavar="FILE", help="password for --database"
    )


def _check(arguments: argparse.Namespace) -> int:
    from aggregator.documents import Judge
    from aggregator.register.folder import load_folder

    register = load_folder(arguments.folder, Judge())
    print(f"{arguments.folder}: good: {len(register.sites)} sites, {len(register.rows)} meters")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from aggregator.register.database import summary

    with _open(arguments, make_folder=True) as database:
        changes = database.import_folder(
            arguments.folder,
            author=arguments.author or getpass.getuser(),
            now_ms=time.time_ns() // 1_000_000,
            note=arguments.note,
            write=not arguments.dry_run,
        )
    if arguments.dry_run:
        for change in changes:
            print(change)
    print(f"{'would change' if arguments.dry_run else 'changed'}: {summary(changes)}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    with _open(arguments) as database:
        database.export_folder(arguments.folder)
    return 0


def _log(arguments: argparse.Namespace) -> int:
    from aggregator.register.cells import VALID_FROM

    try:
        since_ms = VALID_FROM.read(arguments.since)
    except ValueError as error:
        print(f"nenghao register log: --since: {error}", file=sys.stderr)
        return 2
    with _open(arguments) as database:
        records = database.audit(
            table=arguments.table, since_ms=since_ms, limit=max(arguments.limit, 0)
        )
    for record in records:
        change = record.change
        if arguments.format == "text":
            why = f" ({record.note})" if record.note else ""
            print(f"{VALID_FROM.write(record.time_ms)} {record.author}{why}: {change}")
        else:
            document = {
                "time_ms": record.time_ms,
                "author": record.author,
                "note": record.note,
                "table": change.table,
                "key": change.key,
                "before": change.before,
                "after": change.after,
            }
            print(json.dumps(document, ensure_ascii=False))
    return 0


def _open(arguments: argparse.Namespace, *, make_folder: bool = False) -> "RegisterDatabase":
    from aggregator.config import load
    from aggregator.documents import Judge
    from aggregator.register.database import RegisterDatabase
    from aggregator.register.engine import database_url

    judge = Judge()

    if arguments.config is not None:
        settings = load(arguments.config).aggregator
        url = settings.database_url()
        judge = Judge(settings.factor_set, settings.grid_ms)
        if make_folder:
            Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    else:
        url = database_url(arguments.database, arguments.password_file)
    database = RegisterDatabase(url, judge)
    database.open()
    return database


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
