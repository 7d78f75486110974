"""The edge agent's configuration: one TOML file, read once, checked whole, before any other I/O.

Each field below carries its own meaning and bounds (`Annotated`), and one generic reader enforces
them; so the table that `nenghao edge check-config --keys` prints is the table that is enforced.
Unknown keys are errors. All problems are reported at once, each with file, key and reason.
Passwords are only ever paths of files. Relative paths are relative to the configuration file.
"""

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from contract.reading import check_id
from edge_agent.errors import ConfigError, Problem

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Rule:
    """Meaning and bounds of one field. Numbers: inclusive bounds. Text: allowed length."""

    doc: str
    low: float = 1
    high: float = 255
    form: str = ""
    """Extra form of a text: "id", "region", "path" (made absolute) or "a|b" (one of)."""
    name: str = ""
    """Key in the file when it differs from the field's name."""


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """One meter on a bus."""

    id: Annotated[str, Rule("meter id, unique in the site", form="id")]
    model: Annotated[str, Rule("device map: stem of a file in edge_agent/devices", form="id")]
    unit: Annotated[int, Rule("unit address on the bus (Modbus unit id)", 0, 255)] = 1
    serial: Annotated[str, Rule("serial number on the meter's plate", 0, 64)] = ""
    rating: Annotated[
        float | None,
        Rule(
            "largest plausible rate of its cumulative channels, channel unit per hour, before "
            "CT x VT; needed to book a rollover without asking a person",
            1e-6,
            1e12,
        ),
    ] = None
    host: Annotated[str | None, Rule("overrides the bus's host for this meter")] = None
    port: Annotated[int | None, Rule("overrides the bus's port for this meter", 1, 65535)] = None


@dataclass(frozen=True, slots=True)
class BusConfig:
    """One line of meters that are asked one after the other."""

    id: Annotated[str, Rule("bus id, unique in this file", form="id")]
    host: Annotated[str, Rule("host of the gateway or meter")]
    kind: Annotated[str, Rule("link protocol", form="modbus-tcp")] = "modbus-tcp"
    port: Annotated[int, Rule("TCP port", 1, 65535)] = 502
    timeout_s: Annotated[float, Rule("wait for one answer [s]", 0.05, 60)] = 1.0
    meters: Annotated[
        tuple[MeterConfig, ...], Rule("the meters, each a [[bus.meter]]", 1, 1000, name="meter")
    ] = ()


@dataclass(frozen=True, slots=True)
class PollConfig:
    """When meters are read."""

    period_s: Annotated[float, Rule("poll period, on a grid from the epoch [s]", 0.1, 3600)] = 15.0
    backoff_max_s: Annotated[
        float, Rule("longest pause before a dead meter is tried again [s]", 1, 3600)
    ] = 300.0

    @property
    def period_ms(self) -> int:
        """Poll period in milliseconds."""
        return round(self.period_s * 1000)


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """How much is kept on the gateway."""

    max_bytes: Annotated[int, Rule("largest outbox file [bytes]", 1 << 20, 1 << 40)] = 1 << 30
    max_days: Annotated[float, Rule("acked batches older than this are let go [days]", 1, 3660)] = (
        190.0
    )


@dataclass(frozen=True, slots=True)
class UplinkConfig:
    """The broker and the pace of sending."""

    host: Annotated[str, Rule("broker host name or address")]
    port: Annotated[int, Rule("broker port", 1, 65535)] = 1883
    username: Annotated[str, Rule("broker user; empty = anonymous", 0)] = ""
    password_file: Annotated[Path | None, Rule("file that holds the password", form="path")] = None
    tls_ca: Annotated[
        Path | None, Rule("CA certificates (PEM); given = TLS is used", form="path")
    ] = None
    tls_certificate: Annotated[
        Path | None, Rule("client certificate (PEM); needs tls_ca and tls_key", form="path")
    ] = None
    tls_key: Annotated[Path | None, Rule("private key of tls_certificate", form="path")] = None
    commit_period_s: Annotated[
        float,
        Rule("readings are made durable, numbered and sent this often [s]: 30 spares an SD card, "
             "seconds where the gateway has a disk", 0.1, 900),
    ] = 30.0
    state_period_s: Annotated[float, Rule("period of the state message [s]", 1, 900)] = 30.0
    keepalive_s: Annotated[int, Rule("MQTT keep-alive [s]", 5, 3600)] = 30
    publish_timeout_s: Annotated[
        float, Rule("wait for the broker to take one message [s]", 0.5, 60)
    ] = 5.0
    window: Annotated[int, Rule("batches in flight without the aggregator's ack", 1, 8)] = 8
    ack_timeout_s: Annotated[float, Rule("first wait for an ack [s]; doubles", 0.1, 300)] = 30.0
    ack_timeout_max_s: Annotated[float, Rule("longest wait for an ack [s]", 0.1, 3600)] = 300.0
    max_tries: Annotated[
        int, Rule("a batch unacked after so many tries while others pass is given up", 3, 1000)
    ] = 20
    reconnect_min_s: Annotated[float, Rule("first pause before reconnecting [s]", 0.05, 60)] = 1.0
    reconnect_max_s: Annotated[float, Rule("longest pause before reconnecting [s]", 0.05, 3600)] = (
        60.0
    )
    drain_s: Annotated[float, Rule("at the end, wait so long for last acks [s]", 0, 300)] = 10.0


@dataclass(frozen=True, slots=True)
class EdgeIdentity:
    """Who this edge is and where its files are."""

    region: Annotated[str, Rule("GB/T 2260 code of the region, 6 digits", form="region")]
    site: Annotated[str, Rule("site id", form="id")]
    id: Annotated[str, Rule("edge id, unique in the site", form="id")]
    data_dir: Annotated[Path, Rule("folder of outbox.sqlite; made when missing", form="path")]


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """The whole file."""

    edge: Annotated[EdgeIdentity, Rule("identity")]
    uplink: Annotated[UplinkConfig, Rule("broker")]
    poll: Annotated[PollConfig, Rule("polling")] = PollConfig()
    outbox: Annotated[OutboxConfig, Rule("buffer")] = OutboxConfig()
    buses: Annotated[tuple[BusConfig, ...], Rule("the buses, each a [[bus]]", 1, 64, name="bus")] = ()

    @property
    def outbox_path(self) -> Path:
        """File of the durable outbox."""
        return self.edge.data_dir / "outbox.sqlite"
