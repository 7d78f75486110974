"""Asks the aggregator's API. Every refusal and every failure is one exception with one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_S = 60.0
"""An answer to a write may wait for the figures: longer than the server does."""


class Refused(Exception):  # noqa: N818 - says what the API did
    """The API did not do it; the message says why."""

    def __init__(self, reason: str, status: int = 0, parameter: str = "") -> None:
        super().__init__(f"{parameter}: {reason}" if parameter else reason)
        self.reason = reason
        self.status = status
        """0: nothing answered."""

    @property
    def wrong_call(self) -> bool:
        """What was asked for cannot be meant."""
        return self.status in (httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY)


def token_in(file: Path | None) -> str:
    """Return the token in a file, "" without one; OSError, UnicodeDecodeError."""
    return file.read_text("utf-8").strip() if file else ""


class Client:
    """Of one aggregator; `token`: reading needs it too where any token was made."""

    def __init__(self, url: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        if not (token.isascii() and token.isprintable()):
            raise Refused("the token cannot be sent: one line of ASCII expected")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise Refused(f"{url} cannot be used: {error}") from None

    def get(self, path: str, **parameters: str | None) -> Any:
        """Return the answer's JSON; Refused."""
        return json.loads(self.content(path, **parameters))

    def content(self, path: str, **parameters: str | None) -> bytes:
        """Return the answer as it came, which is JSON; Refused."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._ask("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the answer's JSON; Refused."""
        return json.loads(self._ask("POST", path, json=body))

    def _ask(self, method: str, path: str, **more: Any) -> bytes:
        try:
            answer = self._http.request(method, f"/api/v1/{path}", **more)
            said = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refused(f"{self._http.base_url}: {str(error) or type(error).__name__}") from None
        except ValueError:
            raise Refused(f"{self._http.base_url}: no API of an aggregator answers") from None
        if answer.is_success:
            return answer.content
        told = said.get("error", {}) if isinstance(said, dict) else {}
        reason = str(told.get("reason", f"status {answer.status_code}"))
        raise Refused(reason, answer.status_code, str(told.get("parameter") or ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()
