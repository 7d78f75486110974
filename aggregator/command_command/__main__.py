"""`nenghao command`: send a command to an edge and wait for its reply."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXIT_FAILED = 1
EXIT_USAGE = 2
ASK_AGAIN_S = 0.5

_EPILOG = """\
commands: poll-now [bus=B]; resend from_ms=N to_ms=N; read-freezes meter=M from_ms=N to_ms=N;
set-interval period_s=N; push-config toml=@FILE [trial_s=N]; restart. VALUE is JSON or plain text.
exit codes: 0 done, 1 refused or no reply in time, 2 wrong call.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)

    from aggregator.client import Client, Refused, token_in

    site, _, edge = arguments.edge.partition("/")
    try:
        args = dict(_argument(text) for text in arguments.args)
        with Client(arguments.url, token_in(arguments.token_file)) as client:
            body = {"name": arguments.name, "args": args, "expires_s": arguments.wait_s}
            sent = client.post(f"edges/{site}/{edge}/commands", body)
            # A pushed configuration is answered when its trial is over.
            ends = time.monotonic() + arguments.wait_s
            while sent["reply"] is None and time.monotonic() < ends:
                time.sleep(ASK_AGAIN_S)
                sent = client.get(f"commands/{sent['id']}")
    except _CallError as error:
        print(f"nenghao command: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (Refused, OSError, UnicodeDecodeError) as error:
        print(f"nenghao command: {error}", file=sys.stderr)
        return EXIT_FAILED
    reply = sent["reply"]
    if reply is None:
        print(f"{sent['id']}: no reply within {arguments.wait_s:g} s", file=sys.stderr)
        return EXIT_FAILED
    if not reply["ok"]:
        print(f"{arguments.edge} refuses: {reply['error']}", file=sys.stderr)
        return EXIT_FAILED
    print(json.dumps(reply["result"], ensure_ascii=False))
    return 0


class _CallError(Exception):
    """The command line cannot be meant."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao command",
        description="Send a command to an edge and show its reply.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("edge", metavar="SITE/EDGE")
    parser.add_argument("name", metavar="COMMAND")
    parser.add_argument("args", nargs="*", metavar="NAME=VALUE")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the aggregator's API (default: %(default)s)"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="F", help="file of the token that writing needs"
    )
    parser.add_argument(
        "--wait-s", type=float, default=60.0, metavar="S", help="for the reply (default: 60)"
    )
    return parser


def _argument(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise _CallError(f"{text!r} is not NAME=VALUE")
    if value.startswith("@"):
        return name, Path(value[1:]).read_text("utf-8")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
