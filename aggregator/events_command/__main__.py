"""`nenghao events`: tell the aggregator what happened to meters, and see what it proposes."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregator.client import Client

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 refused or no answer, 2 wrong call."""
    arguments = _parser().parse_args(argv)

    from aggregator.client import Client, Refused, token_in

    try:
        with Client(arguments.url, token_in(arguments.token_file)) as client:
            act = {"list": _list, "add": _add, "undo": _undo, "proposals": _proposals}
            return act[arguments.action](client, arguments)
    except _CallError as error:
        print(f"nenghao events {arguments.action}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (Refused, OSError, UnicodeDecodeError) as error:
        print(f"nenghao events {arguments.action}: {error}", file=sys.stderr)
        return EXIT_FAILED


class _CallError(Exception):
    """The command line cannot be meant."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao events",
        description="What happened to meters and what people decided of readings: exchanges, "
        "resets, wrong units and clocks, held energy. docs/formats/events.md",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|add|undo|proposals")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the aggregator's API (default: %(default)s)"
    )
    common.add_argument(
        "--token-file", type=Path, metavar="F", help="file of a token: docs/security.md"
    )
    shown = argparse.ArgumentParser(add_help=False)
    shown.add_argument("--site", help="only this site")
    shown.add_argument("--json", action="store_true", help="the API's answer as it is")

    actions.add_parser("list", parents=[common, shown], help="show events, undone ones too")

    added = actions.add_parser(
        "add",
        parents=[common],
        help="say what happened",
        description="Example: nenghao events add --token-file F kind=exchange site=works "
        "meter=em-1 channel=energy_import at_ms=2026-03-02T09:00:00+08:00 final_kwh=503.25 "
        "start_kwh=0 author='...' reason='...'",
    )
    added.add_argument("fields", nargs="*", metavar="NAME=VALUE", help="fields as the API has them")
    added.add_argument(
        "--from-json", metavar="FILE", help="a proposal as it was shown (- = standard input); "
        "NAME=VALUE replaces its fields",
    )  # fmt: skip

    undone = actions.add_parser("undo", parents=[common], help="let an event stand no longer")
    undone.add_argument("id", type=int)
    undone.add_argument("--author", required=True)
    undone.add_argument("--reason", required=True)

    proposed = actions.add_parser(
        "proposals", parents=[common, shown], help="show held energy, evidence and proposals"
    )
    proposed.add_argument("--from", dest="from_", help="date, time or milliseconds")
    proposed.add_argument("--to", help="excluded")
    return parser


def _list(client: "Client", arguments: argparse.Namespace) -> int:
    from aggregator.events_command.text import events_text

    answer = client.get("events", site=arguments.site)
    print(_json(answer) if arguments.json else events_text(answer["events"]))
    return 0


def _add(client: "Client", arguments: argparse.Namespace) -> int:
    body: dict[str, Any] = {}
    if arguments.from_json is not None:
        file = arguments.from_json
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        try:
            body = json.loads(text)
        except ValueError as error:
            raise _CallError(f"{file}: {error}") from None
        if not isinstance(body, dict):
            raise _CallError(f"{file}: one event expected")
    for field in arguments.fields:
        name, sign, value = field.partition("=")
        if not sign:
            raise _CallError(f"{field!r} is not NAME=VALUE")
        try:
            body[name] = int(value) if name == "offset_ms" else value
        except ValueError:
            raise _CallError(f"{field!r}: a whole number expected") from None
    if not body:
        raise _CallError("nothing is said: NAME=VALUE or --from-json")
    return _said(client.post("events", body))


def _undo(client: "Client", arguments: argparse.Namespace) -> int:
    body = {"author": arguments.author, "reason": arguments.reason}
    return _said(client.post(f"events/{arguments.id}/undo", body))


def _said(answer: Mapping[str, Any]) -> int:
    event = answer["event"]
    if event["stands"]:
        now = "stands"
    else:
        now = f"is undone by {event['undone_by']}: {event['undone_why']}"
    print(f"event {event['id']} ({event['kind']} at {event['site']}) {now}")
    if answer["figures"] == "follow":
        print(f"{answer['intervals_changed']} intervals changed")
    else:
        print("the figures follow: that is still under way")
    return 0


def _proposals(client: "Client", arguments: argparse.Namespace) -> int:
    from aggregator.events_command.text import findings_text

    period = {"from": arguments.from_, "to": arguments.to}
    answer = client.get("proposals", site=arguments.site, **period)
    print(_json(answer) if arguments.json else findings_text(answer["findings"], answer["clocks"]))
    if not answer["complete"]:
        print("There is more: decide on these first.", file=sys.stderr)
    return 0


def _json(answer: object) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
