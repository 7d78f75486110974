"""Who ran a command that changes settled figures, and why: together in the records it leaves."""

import argparse
import getpass
import re

MAX_AUTHOR = 100
_OF_COMMANDS = re.compile(r"factors .*|replay( of .* figures)?")


def add_signature(parser: argparse.ArgumentParser, why: str) -> None:
    """Let a command be told author and reason; why: what is said of the reason."""
    parser.add_argument("--why", default="", help=why)
    parser.add_argument(
        "--author", type=_author, default=_login(),
        help="who does it, for the same records (default: who is logged in, %(default)s)",
    )  # fmt: skip


def signed(arguments: argparse.Namespace) -> str:
    """Return what a restatement record gives as reason; "" when it cannot, for want of either."""
    author, why = arguments.author, arguments.why.strip()
    return f"{author}: {why}" if author and why else ""


def signer(cause: str, why: str) -> str:
    """Return who signed a record that a command left; "" for other causes."""
    author, colon, _ = why.partition(": ")
    return author if colon and _OF_COMMANDS.fullmatch(cause) else ""


def _author(text: str) -> str:
    author = text.strip()
    if not 0 < len(author) <= MAX_AUTHOR or ":" in author or not author.isprintable():
        raise argparse.ArgumentTypeError(f"1 to {MAX_AUTHOR} characters without colon expected")
    return author


def _login() -> str:
    try:
        return _author(getpass.getuser())
    except (KeyError, OSError, argparse.ArgumentTypeError):  # nobody by that number, as in a jail
        return ""
