"""`nenghao tokens`: say who may use the API, take it back, see who wrote what."""

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregator.tokens import Grant, Tokens

EXIT_FAILED = 1
EXIT_USAGE = 2
_DAY_MS = 86_400_000
ROLES = ("supervisor", "enterprise", "engineer", "machine")


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 wrong call or config."""
    arguments = _parser().parse_args(argv)

    from aggregator.access import AccessError
    from aggregator.config import ConfigError, load
    from aggregator.register.engine import DatabaseError
    from aggregator.store.base import StoreError
    from aggregator.tokens import Tokens

    try:
        settings = load(arguments.config).aggregator
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
        tokens = Tokens(settings.database_url())
        try:
            tokens.open()
            act = {"add": _add, "list": _list, "revoke": _revoke, "log": _log}
            return act[arguments.action](tokens, arguments)
        finally:
            tokens.close()
    except (ConfigError, AccessError) as error:
        print(f"nenghao tokens: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (DatabaseError, StoreError, OSError) as error:
        print(f"nenghao tokens: {error}", file=sys.stderr)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nenghao tokens",
        description="Who may use the aggregator's API, and what they wrote. Changes hold at once, "
        "for a running aggregator too. From the first token on nobody reads without one. "
        "docs/security.md",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|revoke|log")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, required=True, help="TOML file of the aggregator")

    added = actions.add_parser(
        "add",
        parents=[common],
        help="make a token",
        description="Make a token. It is shown once, or written into a new file that only you can "
        "read; the database keeps its hash alone.",
    )
    added.add_argument("--name", required=True, help="to whom it is given")
    added.add_argument("--role", required=True, choices=ROLES)
    added.add_argument(
        "--region", action="append", default=[], help="GB/T 2260 code; 370100 covers 370114"
    )
    added.add_argument("--site", action="append", default=[])
    added.add_argument("--everything", action="store_true", help="all sites of all regions")
    added.add_argument("--days", type=int, help="holds so long (default: until it is revoked)")
    added.add_argument("--file", type=Path, help="where the token is written, instead of shown")
    added.add_argument("--author", default="", help="who gives it (default: your user name)")

    listed = actions.add_parser("list", parents=[common], help="show all tokens, revoked ones too")
    listed.add_argument("--json", action="store_true", help="for programs")

    revoked = actions.add_parser("revoke", parents=[common], help="let a token hold no longer")
    revoked.add_argument("id", type=int)
    revoked.add_argument("--author", default="", help="who takes it back (default: your user name)")

    log = actions.add_parser("log", parents=[common], help="show who wrote what, oldest first")
    log.add_argument("--limit", type=int, default=100, help="newest notes (default: 100)")
    log.add_argument("--json", action="store_true", help="for programs, bodies as they came")
    return parser


def _add(tokens: "Tokens", arguments: argparse.Namespace) -> int:
    from aggregator.access import AccessError, TokenRole, granted
    from aggregator.tokens import new_secret

    role, now_ms = TokenRole(arguments.role), _now_ms()
    scope = {"regions": tuple(arguments.region), "sites": tuple(arguments.site)}
    granted(role, **scope, everything=arguments.everything)
    if not arguments.name.strip():
        raise AccessError("--name: to whom is it given?")
    if arguments.days is not None and arguments.days < 1:
        raise AccessError("--days: at least 1")
    secret = new_secret()
    if arguments.file is not None:  # before the row: a token that is nowhere is of no use
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(arguments.file, flags, 0o600), "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
    grant = tokens.add(
        secret,
        arguments.name.strip(),
        role,
        **scope,
        everything=arguments.everything,
        author=arguments.author or _user(),
        now_ms=now_ms,
        expires_ms=None if arguments.days is None else now_ms + arguments.days * _DAY_MS,
    )
    print(f"token {grant.id} of {grant.name}: {grant.role} of {_scope(grant)}", file=sys.stderr)
    print(secret if arguments.file is None else arguments.file)
    return 0


def _list(tokens: "Tokens", arguments: argparse.Namespace) -> int:
    from aggregator.events_command.text import beijing
    from aggregator.terminal import table

    grants = tokens.grants()
    if arguments.json:
        for one in grants:
            print(json.dumps(_document(one), ensure_ascii=False))
        return 0
    if not grants:
        print("No token was made: who is on the aggregator's host reads, and nobody writes.")
        return 0
    head = ["id", "name", "role", "of", "made", "by", "until", "revoked"]
    rows = [
        [
            str(one.id),
            one.name,
            str(one.role),
            _scope(one),
            beijing(one.made_ms),
            one.made_by,
            "" if one.expires_ms is None else beijing(one.expires_ms),
            "" if one.revoked_ms is None else f"{beijing(one.revoked_ms)} by {one.revoked_by}",
        ]
        for one in grants
    ]
    print(table(head, rows))
    return 0


def _revoke(tokens: "Tokens", arguments: argparse.Namespace) -> int:
    grant = tokens.revoke(arguments.id, arguments.author or _user(), _now_ms())
    if grant is None:
        print(f"nenghao tokens: there is no token {arguments.id}", file=sys.stderr)
        return EXIT_FAILED
    print(f"token {grant.id} of {grant.name} is revoked, by {grant.revoked_by}")
    return 0


def _log(tokens: "Tokens", arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from aggregator.events_command.text import beijing

    for one in tokens.written(max(arguments.limit, 0)):
        if arguments.json:
            print(json.dumps(asdict(one), ensure_ascii=False))
            continue
        status = "not answered" if one.status is None else str(one.status)
        body = " ".join(one.body.split())
        who = f"{one.name} ({one.role}, token {one.token})"
        print(f"{beijing(one.time_ms)} {who}: {one.method} {one.path} {status} {body}")
    return 0


def _scope(grant: "Grant") -> str:
    access = grant.access
    return "everything" if access.everything else " ".join((*access.regions, *access.sites))


def _document(grant: "Grant") -> dict[str, object]:
    return {
        "id": grant.id,
        "name": grant.name,
        "role": str(grant.role),
        "regions": grant.access.regions,
        "sites": grant.access.sites,
        "everything": grant.access.everything,
        "made_ms": grant.made_ms,
        "made_by": grant.made_by,
        "expires_ms": grant.expires_ms,
        "revoked_ms": grant.revoked_ms,
        "revoked_by": grant.revoked_by,
    }


def _user() -> str:
    """Return who sits there, also behind sudo."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
