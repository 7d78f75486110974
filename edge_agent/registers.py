"""Device maps: what a product keeps at which address, read from ``devices/<model>.toml``.

A map is data with a source, never code. Numbers are read as decimals, so that a scale of 0.01 is
one hundredth and not the double next to it. ``devices/README.md`` says what each key means and
which list a new file must pass.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from contract.channels import catalogue
from contract.meta import MetaChannel, MetaMeter
from contract.reading import is_id
from contract.units import MICRO
from edge_agent.config import MeterConfig
from edge_agent.errors import ConfigError, Problem

WORDS: Mapping[str, int] = {
    "uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "float32": 2,
    "uint64": 4, "int64": 4, "float64": 4,
}  # fmt: skip
"""Words of 16 bits per register type."""

PROTOCOL_SPAN = 125
"""Registers one Modbus read may ask for."""
DEFAULT_SPAN = 120
"""Default of it here: some devices and gateways stumble at the limit itself."""

WordOrder = Literal["big", "little"]
_ORDERS = ("big", "little")


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a product."""

    channel: str
    """Name in the channel catalogue."""
    address: int
    """Address as it stands in the protocol's request (Modbus: counted from 0)."""
    type: str
    """One of `WORDS`."""
    scale: Decimal
    """Register x scale = value in the catalogue unit."""
    word_order: WordOrder
    """"big" = high word first (ABCD), "little" = low word first (CDAB)."""
    cumulative: bool
    step: Decimal | None = None
    """Cumulative: what the display (or, for a float, the type) resolves [catalogue unit]."""
    modulus: Decimal | None = None
    """Cumulative: the count wraps to 0 here [catalogue unit]."""
    no_value: tuple[int, ...] = ()
    """Raw patterns, as unsigned integers, that mean "no value"."""
    low: Decimal | None = None
    """Instantaneous: a value below is marked `Quality.RANGE` [catalogue unit]."""
    high: Decimal | None = None
    """Instantaneous: a value above is marked `Quality.RANGE` [catalogue unit]."""

    @property
    def words(self) -> int:
        """Length in 16-bit words."""
        return WORDS[self.type]


@dataclass(frozen=True, slots=True)
class DeviceMap:
    """One product. The first cumulative register of the file is its main channel."""

    model: str
    maker: str
    product: str
    carrier: str
    source: str
    """Document and page, or public file, each fact here was taken from."""
    side: Literal["primary", "secondary"]
    """Whether values are before ("secondary") or after ("primary") CT x VT."""
    protocol: str
    function: int
    """Modbus function code of the reads: 3 or 4."""
    max_registers: int
    """Most registers in one read."""
    max_gap: int
    """Most unused registers read over to save a request; 0 = never touch an unlisted one."""
    registers: tuple[Register, ...]


def devices_folder() -> Path:
    """Return the folder of the maps that are part of the product."""
    return Path(__file__).resolve().parent / "devices"


def load_device_map(model: str, folder: Path | None = None) -> DeviceMap:
    """Load one map. ConfigError with all its problems, also when there is no such file."""
    path = (folder or devices_folder()) / f"{model}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        reason = f"there is no device map {model!r}; there are: {known}"
        raise ConfigError(str(path), [Problem("", reason)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [Problem("", f"cannot be read: {error}")]) from error
    return parse_device_map(text, path)


def load_device_maps(models: Iterable[str], folder: Path | None = None) -> dict[str, DeviceMap]:
    """Load the maps of `models` by model. ConfigError with the problems of all of them."""
    maps: dict[str, DeviceMap] = {}
    problems: list[Problem] = []
    for model in sorted(set(models)):
        try:
            maps[model] = _cached(model) if folder is None else load_device_map(model, folder)
        except ConfigError as error:
            problems += (Problem(f"{model}.toml {p.key}".strip(), p.reason) for p in error.problems)
    if problems:
        raise ConfigError(str(folder or devices_folder()), problems)
    return maps


@cache
def _cached(model: str) -> DeviceMap:
    return load_device_map(model)


def meta_meter(meter: MeterConfig, device: DeviceMap) -> MetaMeter:
    """Return what the wire's meta says of this meter.

    The configured rating is that of the main channel and holds for the channels of its unit.
    """
    main = next((r.channel for r in device.registers if r.cumulative), None)
    unit = catalogue()[main].unit if main is not None else None
    channels = tuple(
        MetaChannel(
            name=register.channel,
            unit=str(catalogue()[register.channel].unit),
            modulus=None if register.modulus is None else float(register.modulus),
            rating=meter.rating
            if register.cumulative and catalogue()[register.channel].unit == unit
            else None,
            step=None if register.step is None else float(register.step),
        )
        for register in device.registers
    )
    return MetaMeter(meter.id, meter.serial, meter.model, channels)


def parse_device_map(text: str, path: Path) -> DeviceMap:
    """Read a map from its text; `path` is for the messages and must be named like the model."""
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [Problem("", str(error))]) from error
    top = _Keys(table, "")
    model = top.text("model")
    if model and model != path.stem:
        top.wrong("model", f"{model!r} must be the name of the file, {path.stem!r}")
    if model and not is_id(model):
        top.wrong("model", f"{model!r} is not an id ([a-z0-9][a-z0-9-]{{0,62}})")
    device = {
        "model": model,
        **{key: top.text(key) for key in ("maker", "product", "carrier", "source")},
        "side": top.one_of("side", ("primary", "secondary")),
        "protocol": top.one_of("protocol", ("modbus",)),
        "function": top.whole("function", 3, 4),
        "max_registers": top.whole("max_registers", 4, PROTOCOL_SPAN, DEFAULT_SPAN),
        "max_gap": top.whole("max_gap", 0, PROTOCOL_SPAN, 0),
    }
    order = top.one_of("word_order", _ORDERS)
    rows = top.rows("register")
    registers = [_register(row, order) for row in rows]
    top.rest()
    problems = top.problems + [problem for row in rows for problem in row.problems]
    problems += _twice(registers)
    if not problems:  # else a missing address stands as 0 and would clash with another
        problems = _overlaps(registers)
    if problems:
        raise ConfigError(str(path), problems)
    return DeviceMap(**device, registers=tuple(registers))


def _register(keys: "_Keys", order: Any) -> Register:
    channel = keys.text("channel")
    entry = catalogue().get(channel)
    if channel and entry is None:
        keys.wrong("channel", f"{channel!r} is not in the channel catalogue")
    cumulative = entry is not None and entry.cumulative
    kind = keys.one_of("type", tuple(WORDS))
    scale = keys.decimal("scale")
    register = Register(
        channel=channel,
        address=keys.whole("address", 0, 0xFFFF),
        type=kind,
        scale=Decimal(1) if scale is None else scale,
        word_order=keys.one_of("word_order", _ORDERS, order),
        cumulative=cumulative,
        step=keys.decimal("step", optional=True),
        modulus=keys.decimal("modulus", optional=True),
        no_value=keys.patterns("no_value", 16 * WORDS.get(kind, 4)),
        low=keys.decimal("low", optional=True),
        high=keys.decimal("high", optional=True),
    )
    if kind in WORDS and register.address + register.words > 0x10000:
        keys.wrong("address", "the value reaches beyond address 0xFFFF")
    if register.scale == 0:
        keys.wrong("scale", "must not be 0")
    _check_kind(keys, register, known=entry is not None)
    keys.rest()
    return register


def _check_kind(keys: "_Keys", register: Register, *, known: bool) -> None:
    """Keys that only one of the two kinds of channel has, and what they must hold."""
    if not known:
        return
    if register.cumulative:
        for key in ("low", "high"):
            if getattr(register, key) is not None:
                keys.wrong(key, "only for an instantaneous channel")
        if register.step is None:
            keys.wrong("step", "is missing: what the display of a cumulative channel resolves")
        if register.scale < 0:
            keys.wrong("scale", "a cumulative channel counts up: must be positive")
        for key in ("step", "modulus"):
            value = getattr(register, key)
            if value is not None and (value <= 0 or value * MICRO != int(value * MICRO)):
                keys.wrong(key, f"{value} must be a positive whole number of 1e-6 units")
    else:
        for key in ("step", "modulus"):
            if getattr(register, key) is not None:
                keys.wrong(key, "only for a cumulative channel")


def _twice(registers: list[Register]) -> list[Problem]:
    problems = []
    seen: dict[str, int] = {}
    for index, register in enumerate(registers):
        if register.channel and register.channel in seen:
            reason = f"{register.channel!r} stands already in register[{seen[register.channel]}]"
            problems.append(Problem(f"register[{index}].channel", reason))
        seen.setdefault(register.channel, index)
    return problems


def _overlaps(registers: list[Register]) -> list[Problem]:
    problems = []
    ordered = sorted(enumerate(registers), key=lambda item: item[1].address)
    for (_, before), (index, after) in pairwise(ordered):
        if before.address + before.words > after.address:
            reason = f"overlaps with {before.channel!r} at address {before.address:#06x}"
            problems.append(Problem(f"register[{index}].address", reason))
    return problems


class _Keys:
    """Takes typed values out of one TOML table and remembers everything that is wrong with it."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = dict(table)
        self._where = where
        self.problems: list[Problem] = []

    def wrong(self, key: str, reason: str) -> None:
        self.problems.append(Problem(f"{self._where}{key}", reason))

    def rest(self) -> None:
        """Whatever was not taken is not known."""
        for key in self._table:
            self.wrong(key, "unknown key")

    def text(self, key: str) -> str:
        value = self._table.pop(key, None)
        if isinstance(value, str) and value.strip():
            return value
        self.wrong(key, "is missing: a text" if value is None else f"{value!r} is not a text")
        return ""

    def one_of(self, key: str, allowed: tuple[str, ...], default: Any = None) -> Any:
        value = self._table.pop(key, default)
        if value not in allowed:
            what = "is missing" if value is None else f"{value!r} is not allowed"
            self.wrong(key, f"{what}: one of {', '.join(allowed)}")
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._table.pop(key, default)
        if type(value) is int and low <= value <= high:
            return value
        what = "is missing" if value is None else f"{value} is not allowed"
        self.wrong(key, f"{what}: a whole number from {low} to {high}")
        return low

    def decimal(self, key: str, *, optional: bool = False) -> Decimal | None:
        value = self._table.pop(key, None)
        if isinstance(value, Decimal) and value.is_finite():
            return value
        if type(value) is int:
            return Decimal(value)
        if value is not None or not optional:
            what = "is missing" if value is None else f"{value} is not allowed"
            self.wrong(key, f"{what}: a number")
        return None

    def patterns(self, key: str, bits: int) -> tuple[int, ...]:
        values = self._table.pop(key, [])
        if isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << bits for v in values):
            return tuple(values)
        self.wrong(key, f"a list of raw patterns of at most {bits} bits")
        return ()

    def rows(self, key: str) -> list["_Keys"]:
        values = self._table.pop(key, None)
        if isinstance(values, list) and values and all(isinstance(v, dict) for v in values):
            return [_Keys(value, f"{key}[{index}].") for index, value in enumerate(values)]
        self.wrong(key, f"at least one [[{key}]] is needed")
        return []
