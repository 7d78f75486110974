"""Settings of the aggregator process: one TOML file, unknown keys are errors.

`load` names file, key and reason of every problem at once, before any I/O but reading the file.
Secrets are given as paths of files, never as values.
"""

import ipaddress
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from sqlalchemy import URL

from aggregator.register.engine import DatabaseError, database_url, sqlite_file
from contract.interval import MINUTE_MS, check_grid

Port = Annotated[int, Field(ge=0, le=65_535)]
Text = Annotated[str, Field(min_length=1)]


class ConfigError(Exception):
    """The configuration cannot be used; the message lists file, key and reason of each problem."""


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _needs(value: str, info: ValidationInfo, other: str) -> str:
    """Refuse a key that does nothing without another one, which stands before it."""
    if value and info.data.get(other) == "":
        raise ValueError(f"does nothing without {other}")
    return value


class AggregatorSection(_Section):
    """Whose readings are kept, and where."""

    regions: Annotated[list[Annotated[str, Field(pattern=r"^[0-9]{6}$")]], Field(min_length=1)]
    """GB/T 2260 codes; one aggregator owns a region."""
    data_dir: Text
    """Folder of the embedded store and the register's file; made when absent."""
    register_dir: str = Field(default="", alias="register")
    """Folder of sites.csv and meters.csv, imported at each start; empty: the database's stands."""
    database: str = ""
    """Address of the register's database; empty: a file in data_dir."""
    database_password_file: str = ""
    factor_set: Text
    """Name of a set in aggregator/ledger/tables/sets.toml."""
    grid_min: int = 15
    """Length of the base interval [min]; divides the hour, fixed when the store is created."""

    @field_validator("grid_min")
    @classmethod
    def _check_grid(cls, grid_min: int) -> int:
        return check_grid(grid_min * MINUTE_MS) // MINUTE_MS

    @field_validator("database")
    @classmethod
    def _is_address(cls, address: str) -> str:
        try:
            if address:
                database_url(address)
        except DatabaseError as error:
            raise ValueError(str(error)) from None
        return address

    @field_validator("database_password_file")
    @classmethod
    def _check_needs(cls, value: str, info: ValidationInfo) -> str:
        return _needs(value, info, "database")

    @property
    def grid_ms(self) -> int:
        """Length of the base interval [ms]."""
        return self.grid_min * MINUTE_MS

    def database_url(self) -> URL:
        """Return the address of the register's database, password included.

        Raises:
            DatabaseError: it is no such address.
            OSError: the password's file cannot be read.
        """
        if self.database:
            return database_url(self.database, self.database_password_file)
        return sqlite_file(Path(self.data_dir) / "records.sqlite")


_NEEDED = {
    "password_file": "username",
    "tls_certificate": "tls_ca",
    "tls_key": "tls_certificate",
}


class BrokerSection(_Section):
    """The MQTT broker."""

    host: Text = "127.0.0.1"
    port: Port = 1883
    client_id: str = ""
    """Of two sessions with one id the broker ends the older. Empty = made from the regions."""
    keepalive_s: Annotated[int, Field(ge=5, le=3_600)] = 30
    username: str = ""
    password_file: str = ""
    tls_ca: str = ""
    """CA certificates (PEM); empty = no TLS."""
    tls_certificate: str = ""
    tls_key: str = ""

    @field_validator("password_file", "tls_certificate", "tls_key")
    @classmethod
    def _check_needs(cls, value: str, info: ValidationInfo) -> str:
        return _needs(value, info, _NEEDED[str(info.field_name)])


class StoreSection(_Section):
    """Where readings and intervals live."""

    kind: Literal["embedded", "influx1", "influx2"] = "embedded"
    memory_limit_mb: Annotated[int, Field(ge=128, le=1_048_576)] = 1_024
    """Embedded: what DuckDB may take [MB]."""
    url: str = "http://127.0.0.1:8086"
    database: Text = "nenghao"
    """InfluxDB: database (1.x) or bucket (2.x, with a DBRP mapping of the same name)."""
    org: str = ""
    username: str = ""
    password_file: str = ""
    token_file: str = ""

    @field_validator("password_file")
    @classmethod
    def _check_needs(cls, value: str, info: ValidationInfo) -> str:
        return _needs(value, info, "username")


class PaceSection(_Section):
    """How readings are grouped into commits."""

    commit_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    """A commit is begun this long after its first batch came [ms] ..."""
    commit_readings: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """... or when so many readings wait."""
    late_debounce_s: Annotated[float, Field(ge=0, le=300)] = 5.0
    """Late batches of a site are gathered at most this long [s] ..."""
    late_quiet_s: Annotated[float, Field(ge=0, le=300)] = 0.5
    """... or until none has come for this long [s]: edges that wait for acks send no more."""
    rollup_s: Annotated[float, Field(ge=0.1, le=3_600)] = 60.0
    """Hour, day and month figures follow at most this often [s]."""
    queue_mb: Annotated[int, Field(ge=1, le=4_096)] = 64
    """Payloads that may wait for the pipeline [MB]; more is dropped, and edges send it again."""


class ApiSection(_Section):
    """The HTTP API."""

    host: Text = "127.0.0.1"
    port: Port = 8_080
    """0 takes a free one; the log names it."""

    @property
    def local(self) -> bool:
        """Whether only this host can reach it: then all may read until a token is made."""
        return _is_loopback(self.host)


class Config(_Section):
    """All settings of one aggregator."""

    aggregator: AggregatorSection
    broker: BrokerSection = BrokerSection()
    store: StoreSection = StoreSection()
    pace: PaceSection = PaceSection()
    api: ApiSection = ApiSection()

    @property
    def client_id(self) -> str:
        """MQTT client id: regions have one aggregator each, so the least one names it."""
        return self.broker.client_id or f"aggregator-{min(self.aggregator.regions)}"

    def exposed(self) -> Iterator[tuple[str, str]]:
        """Yield (section, host) of each server that would be told a secret without TLS."""
        broker, store = self.broker, self.store
        if not self.api.local:  # to be read there at all, it wants a token
            yield "api", self.api.host
        if broker.password_file and not broker.tls_ca and not _is_loopback(broker.host):
            yield "broker", broker.host
        if store.kind != "embedded" and (store.password_file or store.token_file):
            url = urlsplit(store.url)
            host = url.hostname or ""
            if url.scheme != "https" and not _is_loopback(host):
                yield "store", host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load(path: Path) -> Config:
    """Read and check a configuration file; ConfigError names every problem."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        problems = [
            f"{path}: {'.'.join(str(part) for part in problem['loc'])}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        ]
        raise ConfigError("\n".join(problems)) from None
