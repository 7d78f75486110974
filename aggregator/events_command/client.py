"""Asks the aggregator's API. Every refusal and every failure is one exception with one line."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_S = 60.0
"""An answer to a write may wait for the figures: longer than the server does."""


class Refused(Exception):  # noqa: N818 - says what the API did
    """The API did not do it; the message says why."""


class Client:
    """Of one aggregator; `token`: reading needs it too where any token was made."""

    def __init__(self, url: str, token: str | None) -> None:
        if token and not (token.isascii() and token.isprintable()):
            raise Refused("the token cannot be sent: one line of ASCII expected")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)
        except httpx.InvalidURL as error:
            raise Refused(f"{url} cannot be used: {error}") from None

    def get(self, path: str, **parameters: str | None) -> Any:
        """Return the answer's JSON; Refused."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._ask("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the answer's JSON; Refused."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            answer = self._http.request(method, f"/api/v1/{path}", **more)
            said = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refused(f"{self._http.base_url}: {str(error) or type(error).__name__}") from None
        except ValueError:
            raise Refused(f"{self._http.base_url}: no API of an aggregator answers") from None
        if answer.is_success:
            return said
        told = said.get("error", {}) if isinstance(said, dict) else {}
        named = f"{told['parameter']}: " if told.get("parameter") else ""
        raise Refused(f"{named}{told.get('reason', f'status {answer.status_code}')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()
