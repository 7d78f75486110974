"""`nenghao dashboards`: render dashboards and rules, put them into a Grafana, compare."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

RENDERED = Path(__file__).parent / "rendered"
EXIT_DIFFERS = 1
EXIT_REFUSED = 3
DOCS = "docs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action; 1: it differs; 3: Grafana refused or did not answer."""
    parser = argparse.ArgumentParser(prog="nenghao dashboards", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="render what differs into a folder")
    build.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    build.add_argument("--folder", type=Path, default=RENDERED)
    build.add_argument("--docs", default=DOCS, help="address of docs/, for links to the runbook")
    for name, text in (("push", "write into a running Grafana"), ("diff", "compare with it")):
        action = actions.add_parser(name, help=text)
        action.add_argument("--url", required=True, help="address of Grafana")
        action.add_argument(
            "--token-file", type=Path, required=True, help="file with a service account's token"
        )
        action.add_argument("--language", choices=("zh", "en"), default="zh")
        action.add_argument("--folder", type=Path, default=RENDERED)
        action.add_argument("--docs", default=DOCS, help="address of docs/")
    options = parser.parse_args(argv)
    return _build(options) if options.action == "build" else _remote(options)


def _build(options: argparse.Namespace) -> int:
    from grafana.build import stale, write

    if options.check:
        found = stale(options.folder, options.docs)
        for name in found:
            print(f"{name}: stale")
        return EXIT_DIFFERS if found else 0
    for name in write(options.folder, options.docs):
        print(name)
    return 0


def _remote(options: argparse.Namespace) -> int:
    from grafana.remote import Remote, RemoteError

    try:
        token = options.token_file.read_text(encoding="utf-8").strip()
        remote = Remote(options.url, token, options.folder, options.language, options.docs)
        lines = list(remote.push() if options.action == "push" else remote.diff())
    except (RemoteError, OSError) as error:
        print(f"nenghao dashboards: {error}", file=sys.stderr)
        return EXIT_REFUSED
    for line in lines:
        print(line)
    return EXIT_DIFFERS if options.action == "diff" and lines else 0


if __name__ == "__main__":
    sys.exit(main())
