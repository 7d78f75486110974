"""`nenghao prove`: does every register close with the ledger, to the micro-unit?"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregator.config import Config
    from aggregator.prove_command.sources import Asked, Source

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)

    from pydantic import TypeAdapter, ValidationError

    from aggregator.api.shapes import TimeMs
    from aggregator.client import Refused, token_in
    from aggregator.config import load
    from aggregator.prove_command.sources import Asked, CallError, SourceError
    from aggregator.refusals import guarded

    times: list[int | None] = []
    for name, text in (("--from", arguments.from_), ("--to", arguments.to)):
        try:
            times.append(None if text is None else TypeAdapter(TimeMs).validate_python(text))
        except ValidationError as error:
            return _usage(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}")
    from_ms, to_ms = times
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        return _usage(f"--from {arguments.from_} is not before --to {arguments.to}")
    if arguments.by != "all" and (from_ms is None or to_ms is None):
        return _usage(f"--by {arguments.by} wants --from and --to")
    if arguments.meter is not None and arguments.site is None:
        return _usage("--meter wants --site: a meter's id is unique within its site only")
    asked = Asked(arguments.site, arguments.meter, from_ms, to_ms, arguments.by)

    def act() -> int:
        config = None if arguments.config is None else load(arguments.config)
        token = token_in(arguments.token_file)
        with _source(arguments.url, config, asked, token) as source:
            return _prove(source, as_json=arguments.json)

    try:
        return guarded("nenghao prove", "prove", act, SourceError, UnicodeDecodeError)
    except CallError as error:
        return _usage(str(error))
    except Refused as error:
        if error.wrong_call:
            return _usage(str(error))
        print(f"nenghao prove: {error}", file=sys.stderr)
        return EXIT_FAILED


def _usage(problem: str) -> int:
    print(f"nenghao prove: {problem}", file=sys.stderr)
    return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao prove",
        description="Proves, per meter and period, that register end - start, times the "
        "multiplier, and events are what the ledger has booked and held: from raw readings, with "
        "code of its own, to a millionth of the unit.",
        epilog="exit codes: 0 all close; 1 one does not, there is nothing to prove, or it cannot "
        "be read; 2 wrong call or configuration. Times are dates (Beijing midnight), RFC 3339 "
        "with an offset, or UTC milliseconds, at borders of intervals.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="address of a running aggregator's API")
    where.add_argument(
        "--config", type=Path, metavar="FILE",
        help="TOML file of the aggregator: it is asked when it runs, else its store is opened",
    )  # fmt: skip
    parser.add_argument(
        "--token-file", type=Path, metavar="F", help="file of a token for the API: docs/security.md"
    )
    parser.add_argument("--site", help="only this site")
    parser.add_argument("--meter", help="only this meter (with --site)")
    parser.add_argument(
        "--from", dest="from_", metavar="TIME", help="included; default: the first reading"
    )
    parser.add_argument("--to", metavar="TIME", help="excluded; default: the last reading")
    parser.add_argument(
        "--by", choices=("all", "month", "day"), default="all",
        help="one line for the whole period, or one per Beijing month or day",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    return parser


@contextmanager
def _source(
    url: str | None, config: "Config | None", asked: "Asked", token: str
) -> "Iterator[Source]":
    from aggregator.app import wall_ms
    from aggregator.client import Client
    from aggregator.events import Events
    from aggregator.offline import address_of, opened
    from aggregator.prove_command.sources import TIMEOUT_S, Api, OpenedStore
    from aggregator.store.base import StoreOwned

    if config is None:
        with Client(url or "", token, TIMEOUT_S) as client:
            yield Api(client, asked)
        return
    with ExitStack() as stack:
        try:
            parts = stack.enter_context(
                opened(config, "nenghao prove", Events(wall_ms), read_only=True)
            )
        except StoreOwned as error:
            address = address_of(error.owner)
            if address is None:
                raise
            yield Api(stack.enter_context(Client(address, token, TIMEOUT_S)), asked)
        else:
            yield OpenedStore(parts.reader, asked)


def _prove(source: "Source", *, as_json: bool) -> int:
    from aggregator.prove_command.table import proof_table

    proved = failed = 0
    for site in source.sites():
        rows = source.rows(site)
        if as_json:
            for row in rows:
                print(row.model_dump_json())
                proved, failed = proved + 1, failed + (not row.closes)
            continue
        listed = list(rows)
        if listed:
            print(f"{site}\n{proof_table(listed)}\n")
        proved += len(listed)
        failed += sum(not row.closes for row in listed)
    if not proved:
        print("nenghao prove: no registered meter has readings: nothing to prove", file=sys.stderr)
        return EXIT_FAILED
    if not as_json:
        print(f"{proved - failed} of {proved} close." if failed else f"All {proved} close.")
    return EXIT_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
