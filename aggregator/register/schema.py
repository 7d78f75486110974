"""The database's tables: the register's rows, their audit, and the small records beside them.

A change here needs a step in `migrations/versions/`; a test holds the two equal.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import TypeEngine

from aggregator.register.cells import Stored
from aggregator.register.tables import TABLES
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS

METADATA = MetaData()

_TYPES: Mapping[Stored, type[TypeEngine[Any]]] = {
    Stored.TEXT: String,
    Stored.INTEGER: Integer,
    Stored.FLOAT: Double,
    Stored.BOOLEAN: Boolean,
    Stored.TIME: BigInteger,
}


ROWS: Mapping[str, Table] = MappingProxyType(
    {
        table.name: Table(
            table.name,
            METADATA,
            *(
                Column(
                    column.stored_as,
                    _TYPES[column.cell.stored](),
                    primary_key=column.name in table.key,
                    nullable=column.cell.optional and column.cell.stored is not Stored.TEXT,
                )
                for column in table.columns
            ),
        )
        for table in TABLES.values()
    }
)
"""The register's tables by name."""

DOCUMENTS = Table(
    "documents",
    METADATA,
    Column("path", String, primary_key=True),
    Column("text", String, nullable=False),
)
"""TOML files of the register's folder, as they are."""

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("author", String, nullable=False),
    Column("note", String, nullable=False),
    Column("table_name", String, nullable=False),
    Column("row_key", JSON, nullable=False),
    Column("before", JSON(none_as_null=True), nullable=True),
    Column("after", JSON(none_as_null=True), nullable=True),
)
"""One row per changed row of the register; null before = added, null after = removed."""

REVISION = Table(
    "revision",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
"""One row, id 1: counts the imports that changed something, and is what importers lock."""

META = Table(
    "meta",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("hash", String(64), nullable=False),
    Column("region", String(63), nullable=False),
    Column("site", String(63), nullable=False),
    Column("edge", String(63), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    UniqueConstraint("hash", "region", "site", "edge"),
)
QUARANTINE = Table(
    "quarantine",
    METADATA,
    Column("hash", String(64), primary_key=True),
    Column("topic", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("seen", Integer, nullable=False),
    # Size and eviction are answered from this alone: payloads would be read through otherwise.
    Index("quarantine_age", "first_seen_ms", "hash", "size"),
)
EDGE_STATE = Table(
    "edge_state",
    METADATA,
    Column("region", String(63), primary_key=True),
    Column("site", String(63), primary_key=True),
    Column("edge", String(63), primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
)

RESTATEMENT = Table(
    "restatement",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("region", String(63), nullable=False),
    Column("site", String(63), nullable=False),
    Column("meter", String(63), nullable=False),
    Column("channel", String(63), nullable=False),
    Column("day_ms", BigInteger, nullable=False),
    Column("measure", String(63), nullable=False),
    Column("from_value", Double, nullable=True),
    Column("to_value", Double, nullable=True),
    Column("cause", String, nullable=False),
    Column("why", String, nullable=False),
    Column("details", String, nullable=False, server_default=""),
    Column("found_ms", BigInteger, nullable=False),
    Index("restatement_of_day", "region", "site", "day_ms"),
)

METER_EVENT = Table(
    "meter_event",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(20), nullable=False),
    Column("region", String(63), nullable=False),
    Column("site", String(63), nullable=False),
    Column("meter", String(63), nullable=False),
    Column("channel", String(63), nullable=False),
    Column("edge", String(63), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=True),
    Column("final_micro", BigInteger, nullable=True),
    Column("start_micro", BigInteger, nullable=True),
    Column("value_micro", BigInteger, nullable=True),
    Column("factor", String(63), nullable=True),
    Column("offset_ms", BigInteger, nullable=True),
    Column("author", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("told_ms", BigInteger, nullable=False),
    Column("undone_ms", BigInteger, nullable=True),
    Column("undone_by", String, nullable=False),
    Column("undone_why", String, nullable=False),
    Column("followed", Boolean, nullable=False, server_default=false()),
    Index("meter_event_of_site", "region", "site", "at_ms"),
)
"""What happened to meters and what people decided; rows are only ever added or undone.

`followed`: the stored figures count the event; they are behind it where it stands and is not.
"""

APPLIED = Table(
    "applied",
    METADATA,
    Column("region", String(63), primary_key=True),
    Column("site", String(63), primary_key=True),
    Column("meter", String(63), primary_key=True),
    Column("channel", String(63), primary_key=True),
    Column("registers", String, nullable=False),
)
"""What was declared of each channel when its stored figures were made."""

BASIS = Table(
    "basis",
    METADATA,
    Column("site", String(63), primary_key=True),
    Column("factor_set", String(63), nullable=False),
    Column("digest", String(64), nullable=False),
)
"""What the stored measures of each site were made with, as far as anybody applied it."""

CLOSING = Table(
    "closing",
    METADATA,
    Column("region", String(63), primary_key=True),
    Column("month_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("author", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("closed_ms", BigInteger, nullable=False),
    Column("factor_set", String(63), nullable=False),
    Column("restatements_upto", BigInteger, nullable=False),
)
"""A region's month that was reported; restatements with a higher id came afterwards."""

REPORTED = Table(
    "reported",
    METADATA,
    Column("region", String(63), primary_key=True),
    Column("month_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("site", String(63), primary_key=True),
    Column("meter", String(63), primary_key=True),
    Column("channel", String(63), primary_key=True),
    Column("from_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("carrier", String(63), nullable=False),
    Column("role", String(63), nullable=False),
    Column("counted", Boolean, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in INTEGER_FIELDS),
    *(Column(name, Double, nullable=True) for name in MEASURE_FIELDS),
    Column("open_amount", BigInteger, nullable=False, server_default="0"),
    Column("open_ms", BigInteger, nullable=False, server_default="0"),
)
"""The figures of a closed month as they were when it was closed; never changed."""

TOKEN = Table(
    "token",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False),
    Column("role", String(20), nullable=False),
    Column("regions", String, nullable=False),
    Column("sites", String, nullable=False),
    Column("everything", Boolean, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("made_ms", BigInteger, nullable=False),
    Column("made_by", String, nullable=False),
    Column("expires_ms", BigInteger, nullable=True),
    Column("revoked_ms", BigInteger, nullable=True),
    Column("revoked_by", String, nullable=False),
)
"""Who may use the API; rows are only ever added or revoked. The token itself is not kept."""

WRITTEN = Table(
    "written",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("token", Integer, nullable=False),
    Column("method", String(10), nullable=False),
    Column("path", String, nullable=False),
    Column("body", String, nullable=False),
    Column("status", Integer, nullable=True),
)
"""What came over the API to be written, with which token; null status: its answer is not known."""
