"""InfluxDB 1.x: `/write` and `/query` over httpx."""

import base64
from collections.abc import Mapping
from contextlib import suppress

import httpx

from aggregator.store.base import StoreRetriable
from aggregator.store.influx import InfluxStore, NotAllowed, refusal_of


class Influx1Store(InfluxStore):
    """Writes to a database, which it creates when absent.

    Precisions: `ms` is ms in 1.x and 2.x. 1.x calls nanoseconds `n` and microseconds `u`, and
    takes any name it does not know for nanoseconds with a 204: `us`, 2.x's name for
    microseconds, would put every point into January 1970. Only ms and n are ever sent.
    """

    def __init__(
        self, url: str, database: str, grid_ms: int, *, user: str = "", password: str = ""
    ) -> None:
        super().__init__(url.rstrip("/"), database, grid_ms, _basic(user, password))

    def _create(self) -> None:
        # Only an administrator may: where it is there already, the next query goes well without.
        with suppress(NotAllowed):
            list(self._select(f'CREATE DATABASE "{self._query.database}"'))

    def _write(self, body: bytes, precision: str) -> None:
        where = f"{self._query.url}/write"
        params = {"db": self._query.database, "precision": {"ms": "ms", "ns": "n"}[precision]}
        try:
            response = self._query.client.post("/write", params=params, content=body)
        except httpx.HTTPError as error:
            raise StoreRetriable(f"{where}: {error!r}") from error
        if not response.is_success:
            raise refusal_of(response.status_code, response.text, where)


def _basic(user: str, password: str) -> Mapping[str, str]:
    if not user:
        return {}
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
