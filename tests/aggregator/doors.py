"""Tokens for tests of the API, and a keeper that knows them."""

from pathlib import Path

from aggregator.access import TokenRole
from aggregator.api.guard import Doorkeeper
from aggregator.tokens import Tokens

NOW_MS = 1_800_000_000_000


def tokens_in(folder: Path) -> Tokens:
    tokens = Tokens(f"sqlite:///{folder / 'tokens.sqlite'}")
    tokens.open()
    return tokens


def keeper_of(tokens: Tokens, now_ms: int = NOW_MS, *, open_reading: bool = True) -> Doorkeeper:
    return Doorkeeper(tokens, open_reading, lambda: now_ms)


def engineer(tokens: Tokens, secret: str) -> None:
    """Give somebody everything there is."""
    tokens.add(
        secret, "the tests", TokenRole.ENGINEER, everything=True, author="the tests", now_ms=1
    )
