"""Who may write: whoever knows the token that the configuration names."""

import hmac
from pathlib import Path
from typing import Annotated, Self

from fastapi import Header

from aggregator.api.errors import ApiError

MIN_TOKEN_LENGTH = 16
"""Shorter ones can be guessed."""


class TokenError(ValueError):
    """The token cannot be used; the message says why, without it."""


class Guard:
    """Lets a request pass that carries `Authorization: Bearer <token>`; None: nobody writes."""

    def __init__(self, token: str | None) -> None:
        if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii()):
            raise TokenError(f"a token of {MIN_TOKEN_LENGTH} or more ASCII characters expected")
        self._token = None if token is None else token.encode()

    @classmethod
    def of_file(cls, file: str) -> Self:
        """Read the token; "" names no file. TokenError and OSError name the file."""
        if not file:
            return cls(None)
        try:
            return cls(Path(file).read_text("utf-8").strip())
        except ValueError as error:
            raise TokenError(f"{file}: {error}") from None

    def __call__(self, authorization: Annotated[str | None, Header()] = None) -> None:
        """ApiError 403 when the API is read-only, 401 when the token is missing or another."""
        if self._token is None:
            raise ApiError(403, "", "the API is read-only: no [api] token_file is configured")
        scheme, _, given = (authorization or "").partition(" ")
        known = hmac.compare_digest(given.strip().encode(), self._token)
        if scheme.lower() != "bearer" or not known:
            raise ApiError(401, "authorization", "writing needs 'Bearer' and the API's token")
