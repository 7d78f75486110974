"""Settings of the aggregator process: one TOML file, unknown keys are errors.

`load` names file, key and reason of every problem at once, before any I/O but reading the file.
Secrets are given as paths of files, never as values.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import URL

from aggregator.register.engine import DatabaseError, database_url, sqlite_file
from contract.interval import MINUTE_MS

Port = Annotated[int, Field(ge=0, le=65_535)]
Text = Annotated[str, Field(min_length=1)]


class ConfigError(Exception):
    """The configuration cannot be used; the message lists file, key and reason of each problem."""


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


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
    grid_min: Annotated[int, Field(ge=1, le=60)] = 15
    """Length of the base interval [min]; fixed when the store is created."""

    @field_validator("database")
    @classmethod
    def _is_address(cls, address: str) -> str:
        try:
            if address:
                database_url(address)
        except DatabaseError as error:
            raise ValueError(str(error)) from None
        return address

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


class BrokerSection(_Section):
    """The MQTT broker."""

    host: Text = "127.0.0.1"
    port: Port = 1883
    client_id: Text = "nenghao-aggregator"
    keepalive_s: Annotated[int, Field(ge=5, le=3_600)] = 30
    username: str = ""
    password_file: str = ""
    tls_ca: str = ""
    """CA certificates (PEM); empty = no TLS."""
    tls_certificate: str = ""
    tls_key: str = ""


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


class Config(_Section):
    """All settings of one aggregator."""

    aggregator: AggregatorSection
    broker: BrokerSection = BrokerSection()
    store: StoreSection = StoreSection()
    pace: PaceSection = PaceSection()
    api: ApiSection = ApiSection()


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
            f"{path}: {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise ConfigError("\n".join(problems)) from None
