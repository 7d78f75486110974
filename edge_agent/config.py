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
from typing import Annotated, Any, Literal

from contract.reading import check_id
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from edge_agent.errors import ConfigError, Problem
from edge_agent.toml_lines import placed

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Rule:
    """Meaning and bounds of one field. Numbers: inclusive bounds. Text: allowed length."""

    doc: str
    low: float = 1
    high: float = 255
    form: str = ""
    """Extra form: "id", "region", "path" (made absolute) or "a|b" (one of; also of a number). An
    optional path has low = 0: the empty text reads as not set."""
    name: str = ""
    """Key in the file when it differs from the field's name."""


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """One meter on a bus."""

    id: Annotated[str, Rule("meter id, unique in the site", form="id")]
    model: Annotated[str, Rule("device map: name of a file, see docs/devices.md", form="id")]
    unit: Annotated[int, Rule("unit address on the bus (Modbus unit id)", 0, 255)] = 1
    address: Annotated[
        str,
        Rule(
            "address on the bus of a meter that has more than a unit, as printed on it: DL/T 645 "
            "12 digits, CJ/T 188 14 digits, M-Bus 0 to 250 or 8 or 16 hexadecimal digits, MQTT, "
            "OPC UA and BACnet what stands for {address} in topics, nodes or objects",
            0,
            63,
        ),
    ] = ""
    serial: Annotated[str, Rule("serial number on the meter's plate", 0, 64)] = ""
    rating: Annotated[
        float | None,
        Rule(
            "largest plausible rate of its cumulative channels, channel unit per hour, before "
            "CT x VT; needed to book a rollover without asking a person",
            1e-6,
            MAX_CUMULATIVE_MICRO // MICRO,
        ),
    ] = None
    host: Annotated[str | None, Rule("overrides the bus's host for this meter")] = None
    port: Annotated[int | None, Rule("overrides the bus's port for this meter", 1, 65535)] = None


@dataclass(frozen=True, slots=True)
class BusConfig:
    """One line of meters that are asked one after the other."""

    id: Annotated[str, Rule("bus id, unique in this file", form="id")]
    host: Annotated[str, Rule("host of the gateway or meter; not for a serial bus", 0)] = ""
    kind: Annotated[
        str,
        Rule(
            "modbus-tcp; tcp = bytes through a serial server or meter; serial = a port of this "
            "machine; mqtt = a broker devices publish to; opcua = a plant's server; bacnet = a "
            "device of a building (BACnet/IP); manual = a file of readings entered by hand. Which "
            "protocol a meter speaks says its device map",
            form="modbus-tcp|tcp|serial|mqtt|opcua|bacnet|manual",
        ),
    ] = "modbus-tcp"
    port: Annotated[int, Rule("TCP port", 1, 65535)] = 502
    device: Annotated[
        str, Rule("serial port, best by a name that stays: /dev/serial/by-id/...", 0)
    ] = ""
    file: Annotated[
        Path | None, Rule("manual: CSV with time, meter, channel, value", 0, form="path")
    ] = None
    baud: Annotated[
        int,
        Rule(
            "serial: bit/s",
            300,
            115_200,
            form="300|600|1200|2400|4800|9600|19200|38400|57600|115200",
        ),
    ] = 9600
    parity: Annotated[Literal["none", "even", "odd"], Rule("serial", form="none|even|odd")] = "none"
    stop_bits: Annotated[int, Rule("serial", 1, 2)] = 1
    clock_broadcast: Annotated[
        bool,
        Rule(
            "true = once a day, between 03:00 and 21:00, set the clocks of all DL/T 645 meters of "
            "the bus; the only thing an edge ever changes in a meter"
        ),
    ] = False
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
    password_file: Annotated[Path | None, Rule("file that holds the password", 0, form="path")] = (
        None
    )
    tls_ca: Annotated[
        Path | None, Rule("CA certificates (PEM); given = TLS is used", 0, form="path")
    ] = None
    tls_certificate: Annotated[
        Path | None, Rule("client certificate (PEM); needs tls_ca and tls_key", 0, form="path")
    ] = None
    tls_key: Annotated[Path | None, Rule("private key of tls_certificate", 0, form="path")] = None
    commit_period_s: Annotated[
        float,
        Rule(
            "readings are made durable, numbered and sent this often [s]: 30 spares an SD card, "
            "seconds where the gateway has a disk",
            0.1,
            900,
        ),
    ] = 30.0
    state_period_s: Annotated[float, Rule("period of the state message [s]", 1, 900)] = 30.0
    keepalive_s: Annotated[int, Rule("MQTT keep-alive [s]", 5, 3600)] = 30
    publish_timeout_s: Annotated[
        float,
        Rule(
            "wait for the broker to take one message [s], and 1 s more per 1000 bytes of it",
            0.5,
            60,
        ),
    ] = 5.0
    window: Annotated[int, Rule("batches in flight without the aggregator's ack", 1, 8)] = 8
    ack_timeout_s: Annotated[float, Rule("first wait for an ack [s]; doubles", 0.1, 300)] = 30.0
    ack_timeout_max_s: Annotated[float, Rule("longest wait for an ack [s]", 0.1, 3600)] = 300.0
    max_tries: Annotated[
        int, Rule("a batch unacked after so many tries while others pass is given up", 3, 1000)
    ] = 20
    reconnect_min_s: Annotated[
        float,
        Rule("shortest pause before reconnecting [s], about; the first is up to 8 x", 0.05, 60),
    ] = 1.0
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
    devices_dir: Annotated[
        Path | None,
        Rule("folder of device maps of your own; go before the product's", 0, form="path"),
    ] = None
    rtc: Annotated[
        bool,
        Rule(
            "whether the gateway has a battery-backed clock: its time then counts until a time "
            "server or the aggregator tells a better one"
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """The whole file."""

    edge: Annotated[EdgeIdentity, Rule("identity")]
    uplink: Annotated[UplinkConfig, Rule("broker")]
    poll: Annotated[PollConfig, Rule("polling")] = PollConfig()
    outbox: Annotated[OutboxConfig, Rule("buffer")] = OutboxConfig()
    buses: Annotated[
        tuple[BusConfig, ...], Rule("the buses, each a [[bus]]", 1, 64, name="bus")
    ] = ()

    @property
    def outbox_path(self) -> Path:
        """File of the durable outbox."""
        return self.edge.data_dir / "outbox.sqlite"


def load_config(path: Path) -> EdgeConfig:
    """Read and check the file. ConfigError with every problem found; nothing else is touched."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            str(path), [Problem("", f"cannot read the file: {error.strerror}")]
        ) from error
    return parse_config(raw, path)


def parse_config(raw: bytes, path: Path) -> EdgeConfig:
    """Check the bytes of a configuration file; `path` names it and anchors relative paths."""
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(str(path), [Problem("", f"larger than {MAX_FILE_BYTES} bytes")])
    try:
        text = raw.decode("utf-8")
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError included
        raise ConfigError(str(path), [Problem("", f"not valid TOML: {error}")]) from error
    reader = _Reader(path.absolute().parent)
    config: EdgeConfig | None = reader.build(EdgeConfig, table, "")
    problems = [*reader.problems, *(_cross_checks(config) if config is not None else ())]
    if problems or config is None:
        raise ConfigError(str(path), placed(text, problems))
    return config


def missing_files(config: EdgeConfig) -> list[Problem]:
    """Files the configuration names that cannot be read on this machine."""
    named = {
        "uplink.password_file": config.uplink.password_file,
        "uplink.tls_ca": config.uplink.tls_ca,
        "uplink.tls_certificate": config.uplink.tls_certificate,
        "uplink.tls_key": config.uplink.tls_key,
    }
    problems = []
    for key, path in named.items():
        if path is None:
            continue
        try:
            path.open("rb").close()
        except OSError as error:
            problems.append(Problem(key, f"cannot read {path}: {error.strerror}"))
    return problems


def describe_keys() -> Iterator[tuple[str, str, str, str]]:
    """Rows (key, bounds, default, meaning) of every key, in file order."""
    yield from _describe(EdgeConfig, "")


def _describe(cls: type[Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for field, kind, rule in _fields(cls):
        key = prefix + (rule.name or field.name)
        item = _item_type(kind)
        if item is not None:
            yield from _describe(item, f"{key}[]." if item is not kind else f"{key}.")
            continue
        default = "required" if field.default is dataclasses.MISSING else repr(field.default)
        yield key, _bounds(kind, rule), default.replace("None", "not set"), rule.doc


def _bounds(kind: Any, rule: Rule) -> str:
    if kind is bool:
        return "true or false"
    if rule.form == "path":
        return "path"
    if rule.form:
        return {"id": "[a-z0-9][a-z0-9-]{0,62}", "region": "6 digits"}.get(rule.form, rule.form)
    if _plain(kind) is bool:
        return "true or false"
    if _plain(kind) is str:
        return f"{rule.low:g} to {rule.high:g} characters"
    return f"{rule.low:g} to {rule.high:g}"


def _fields(cls: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Any, Rule]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        kind, rule = typing.get_args(hints[field.name])
        yield field, kind, rule


def _plain(kind: Any) -> Any:
    """T of `T | None`, else the type itself."""
    if isinstance(kind, types.UnionType):
        return next(arg for arg in typing.get_args(kind) if arg is not type(None))
    return kind


def _item_type(kind: Any) -> type[Any] | None:
    """The dataclass of a table or of an array of tables, None for a plain value."""
    if typing.get_origin(kind) is tuple:
        return typing.cast("type[Any]", typing.get_args(kind)[0])
    return kind if dataclasses.is_dataclass(kind) and isinstance(kind, type) else None


class _Reader:
    """Builds dataclasses from TOML tables and collects what is wrong instead of stopping."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self._folder = folder

    def build(self, cls: type[Any], table: Mapping[str, Any], prefix: str) -> Any:
        """An instance of `cls`, or None when a problem below `prefix` was found."""
        before = len(self.problems)
        rows = {rule.name or field.name: (field, kind, rule) for field, kind, rule in _fields(cls)}
        for key in table:
            if key not in rows:
                near = difflib.get_close_matches(key, rows, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(rows)}"
                self._problem(prefix + key, f"unknown key{hint}")
        values = {}
        for key, (field, kind, rule) in rows.items():
            if key in table:
                values[field.name] = self._value(table[key], kind, rule, prefix + key)
            elif field.default is dataclasses.MISSING:
                self._problem(prefix + key, f"missing: {rule.doc}")
            elif field.default == () and rule.low >= 1:
                self._problem(prefix + key, f"at least one is needed: {rule.doc}")
        return cls(**values) if len(self.problems) == before else None

    def _problem(self, key: str, reason: str) -> Any:
        self.problems.append(Problem(key, reason))

    def _value(self, value: Any, kind: Any, rule: Rule, key: str) -> Any:
        item = _item_type(kind)
        if item is not None and item is kind:
            if isinstance(value, dict):
                return self.build(item, value, key + ".")
            return self._problem(key, f"must be a table [{key}]")
        if item is not None:
            return self._tables(value, item, rule, key)
        plain = _plain(kind)
        if plain is bool:
            if isinstance(value, bool):
                return value
            return self._problem(key, f"must be true or false, not {_shown(value)}")
        if plain is int or plain is float:
            return self._number(value, plain, rule, key)
        if plain is bool:
            if isinstance(value, bool):
                return value
            return self._problem(key, f"must be true or false, not {_shown(value)}")
        return self._text(value, rule, key)

    def _tables(self, value: Any, item: type[Any], rule: Rule, key: str) -> Any:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            return self._problem(key, f"must be an array of tables [[{key}]]")
        if not rule.low <= len(value) <= rule.high:
            self._problem(key, f"{len(value)} given, {rule.low:g} to {rule.high:g} allowed")
        return tuple(self.build(item, entry, f"{key}[{i}].") for i, entry in enumerate(value))

    def _number(self, value: Any, kind: type, rule: Rule, key: str) -> Any:
        allowed = (int,) if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed):
            word = "a whole number" if kind is int else "a number"
            return self._problem(key, f"must be {word}, not {_shown(value)}")
        if not (rule.low <= value <= rule.high and math.isfinite(value)):
            return self._problem(
                key, f"{_shown(value)} is outside {rule.low:g} to {rule.high:g}: {rule.doc}"
            )
        if rule.form and str(value) not in rule.form.split("|"):
            return self._problem(
                key, f"{value} is not one of {', '.join(rule.form.split('|'))}: {rule.doc}"
            )
        return kind(value)

    def _text(self, value: Any, rule: Rule, key: str) -> Any:
        if not isinstance(value, str):
            return self._problem(key, f"must be a text, not {_shown(value)}")
        if rule.form == "path":
            if "\0" in value or len(value) < rule.low:
                return self._problem(key, f"must be a path: {rule.doc}")
            return (self._folder / value).absolute() if value else None
        if not rule.low <= len(value) <= rule.high:
            return self._problem(
                key, f"must have {rule.low:g} to {rule.high:g} characters: {rule.doc}"
            )
        if not value.isprintable():
            return self._problem(key, "must not contain control characters")
        return value if self._has_form(value, rule, key) else None

    def _has_form(self, value: str, rule: Rule, key: str) -> bool:
        reason = ""
        if rule.form == "id":
            try:
                check_id(value, key)
            except ValueError:
                reason = f"{value!r} is not an id: lower-case letters, digits, '-', at most 63"
        elif rule.form == "region":
            if not re.fullmatch("[0-9]{6}", value):
                reason = f"{value!r} is not a GB/T 2260 code of 6 digits"
        elif rule.form and value not in rule.form.split("|"):
            reason = f"{value!r} is not one of {', '.join(rule.form.split('|'))}"
        if reason:
            self._problem(key, reason)
        return not reason


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _cross_checks(config: EdgeConfig) -> Iterator[Problem]:
    """What no single field can say."""
    up = config.uplink
    if (up.tls_certificate is None) != (up.tls_key is None):
        yield Problem("uplink.tls_certificate", "tls_certificate and tls_key go together")
    if up.tls_certificate is not None and up.tls_ca is None:
        yield Problem("uplink.tls_ca", "a client certificate needs tls_ca")
    if up.password_file is not None and not up.username:
        yield Problem("uplink.username", "password_file is given without a username")
    if up.reconnect_min_s > up.reconnect_max_s:
        yield Problem("uplink.reconnect_min_s", "is larger than reconnect_max_s")
    if up.ack_timeout_s > up.ack_timeout_max_s:
        yield Problem("uplink.ack_timeout_s", "is larger than ack_timeout_max_s")
    yield from _bus_checks(config.buses)


def _bus_checks(buses: tuple[BusConfig, ...]) -> Iterator[Problem]:
    """Ids and places that stand twice, and what a kind of bus needs."""
    ids: set[str] = set()
    meters: dict[str, str] = {}
    places: dict[tuple[str, str], str] = {}
    devices: dict[str, str] = {}
    for i, bus in enumerate(buses):
        if bus.id in ids:
            yield Problem(f"bus[{i}].id", f"{bus.id!r} is used twice")
        ids.add(bus.id)
        needed = {"serial": "device", "manual": "file"}.get(bus.kind, "host")
        for key in ("host", "device", "file"):
            if key == needed and not getattr(bus, key):
                yield Problem(f"bus[{i}].{key}", f"missing: a {bus.kind} bus needs it")
            if key != needed and getattr(bus, key):
                yield Problem(f"bus[{i}].{key}", f"a {bus.kind} bus has none")
        if bus.clock_broadcast and bus.kind not in ("tcp", "serial"):
            reason = f"a {bus.kind} bus has no DL/T 645 meters to tell"
            yield Problem(f"bus[{i}].clock_broadcast", reason)
        if bus.device and bus.device in devices:
            yield Problem(f"bus[{i}].device", f"{bus.device} is already {devices[bus.device]}")
        devices.setdefault(bus.device, f"bus[{i}]")
        for j, meter in enumerate(bus.meters):
            key = f"bus[{i}].meter[{j}]"
            if meter.id in meters:
                yield Problem(f"{key}.id", f"{meter.id!r} is already used by {meters[meter.id]}")
            meters.setdefault(meter.id, key)
            if needed != "host" and (meter.host or meter.port):
                yield Problem(f"{key}.host", f"a meter on a {bus.kind} bus has no host or port")
            if bus.kind == "manual":
                continue
            endpoint = f"{meter.host or bus.host}:{meter.port or bus.port}"
            wire = bus.device if bus.kind == "serial" else endpoint
            place = (wire, meter.address or f"unit {meter.unit}")
            if place in places:
                where = f"{place[0]} {place[1]}"
                yield Problem(f"{key}.unit", f"{where} is already read by {places[place]}")
            places.setdefault(place, key)
