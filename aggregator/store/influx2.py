"""InfluxDB 2.x and 3.x: influxdb-client hands over ready bytes; InfluxQL answers queries.

The client's batching writer is not used: it reports a lost write to a log, not to its caller.
Bytes, because building its Point objects costs 50 times the CPU.

The bucket must exist and be mapped to a database of the same name (a DBRP mapping, which 2.x
makes by itself for a bucket that InfluxQL asks for by its name).
"""

from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from aggregator.store.base import StoreRetriable
from aggregator.store.influx import TIMEOUT_S, InfluxStore, refusal_of


class Influx2Store(InfluxStore):
    """Writes to a bucket."""

    def __init__(self, url: str, bucket: str, grid_ms: int, *, org: str, token: str) -> None:
        super().__init__(
            url.rstrip("/"), bucket, grid_ms, {"Authorization": f"Token {token}"} if token else {}
        )
        self._org = org
        self._client: Any = InfluxDBClient(
            url=url.rstrip("/"), token=token, org=org, timeout=int(TIMEOUT_S * 1000), retries=False
        )
        self._writer: Any = self._client.write_api(write_options=SYNCHRONOUS)

    def _create(self) -> None:
        """Nothing: buckets, their retention and tokens are made by whoever runs the server."""

    def _write(self, body: bytes, precision: str) -> None:
        where = f"{self._query.url}/api/v2/write"
        try:
            self._writer.write(self._query.database, self._org, body, write_precision=precision)
        except ApiException as error:
            raise refusal_of(error.status or 0, str(error.body or error.reason), where) from error
        except HTTPError as error:
            raise StoreRetriable(f"{where}: {error!r}") from error

    def close(self) -> None:
        self._client.close()
        super().close()
