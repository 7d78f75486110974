"""What every device map holds, whatever the protocol, and how its keys are read.

A map is data with a source, never code. Numbers are read as decimals, so that a scale of 0.01 is
one hundredth and not the double next to it. ``devices/README.md`` says what each key means and
which list a new file must pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from contract.channels import catalogue
from contract.units import MICRO
from edge_agent.errors import Problem

Side = Literal["primary", "secondary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a product; where it is to be found says the protocol's own kind of point."""

    channel: str
    """Name in the channel catalogue."""
    type: str
    """How the raw number is kept; "float32" has seven digits, "float64" more, others are exact."""
    scale: Decimal
    """Raw number x scale = value in the catalogue unit."""
    cumulative: bool
    step: Decimal | None = None
    """Cumulative: what the display (or, for a float, the type) resolves [catalogue unit]."""
    modulus: Decimal | None = None
    """Cumulative: the count wraps to 0 here [catalogue unit]."""
    low: Decimal | None = None
    """Instantaneous: a value below is marked `Quality.RANGE` [catalogue unit]."""
    high: Decimal | None = None
    """Instantaneous: a value above is marked `Quality.RANGE` [catalogue unit]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMap:
    """One product. The first cumulative register of the file is its main channel."""

    model: str
    maker: str
    product: str
    carrier: str
    source: str
    """Document and page, or public file, each fact here was taken from."""
    side: Side
    """Whether values are before ("secondary") or after ("primary") CT x VT."""
    protocol: str
    registers: Sequence[Point]
    rating: Decimal | None = None
    """Largest plausible rate of the main channel by the product's data [its unit per hour], before
    CT x VT; a meter's own in the configuration goes before it."""


def header(top: "Keys", protocol: str) -> dict[str, Any]:
    """Take the keys every map has, as arguments of its class; `registers` are the protocol's."""
    rating = top.decimal("rating", optional=True)
    if rating is not None and rating <= 0:
        top.wrong("rating", f"{rating} must be positive")
    return {
        "model": top.text("model"),
        "rating": rating,
        **{key: top.text(key) for key in ("maker", "product", "carrier", "source")},
        "side": top.one_of("side", ("primary", "secondary")),
        "protocol": protocol,
    }


def point(keys: "Keys", kind: str, *, scale: Decimal | None = None) -> dict[str, Any]:
    """Take the keys every register has, as arguments of its class.

    Args:
        keys: the register's row.
        kind: what `Point.type` will be.
        scale: used when the row has none; None = the row must have one.
    """
    channel = keys.text("channel")
    entry = catalogue().get(channel)
    if channel and entry is None:
        keys.wrong("channel", f"{channel!r} is not in the channel catalogue")
    given = keys.decimal("scale", optional=scale is not None)
    if given == 0:
        keys.wrong("scale", "must not be 0")
    fields: dict[str, Any] = {
        "channel": channel,
        "type": kind,
        "scale": given or scale or Decimal(1),
        "cumulative": entry is not None and entry.cumulative,
        **{k: keys.decimal(k, optional=True) for k in ("step", "modulus", "low", "high")},
    }
    if entry is not None:
        _check_kind(keys, fields)
    return fields


def _check_kind(keys: "Keys", fields: Mapping[str, Any]) -> None:
    """Keys that only one of the two kinds of channel has, and what they must hold."""
    if fields["cumulative"]:
        for key in ("low", "high"):
            if fields[key] is not None:
                keys.wrong(key, "only for an instantaneous channel")
        if fields["step"] is None:
            keys.wrong("step", "is missing: what the display of a cumulative channel resolves")
        if fields["scale"] < 0:
            keys.wrong("scale", "a cumulative channel counts up: must be positive")
        for key in ("step", "modulus"):
            value = fields[key]
            if value is not None and (value <= 0 or value * MICRO != int(value * MICRO)):
                keys.wrong(key, f"{value} must be a positive whole number of 1e-6 units")
    else:
        for key in ("step", "modulus"):
            if fields[key] is not None:
                keys.wrong(key, "only for a cumulative channel")


def twice(registers: Sequence[Point]) -> list[Problem]:
    """Channels that stand in more than one register."""
    problems = []
    seen: dict[str, int] = {}
    for index, register in enumerate(registers):
        if register.channel and register.channel in seen:
            reason = f"{register.channel!r} stands already in register[{seen[register.channel]}]"
            problems.append(Problem(f"register[{index}].channel", reason))
        seen.setdefault(register.channel, index)
    return problems


class Keys:
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

    def text(self, key: str, *, optional: bool = False) -> str:
        value = self._table.pop(key, None)
        if isinstance(value, str) and value.strip():
            return value
        if value is None and optional:
            return ""
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

    def flag(self, key: str) -> bool:
        value = self._table.pop(key, False)
        if not isinstance(value, bool):
            self.wrong(key, f"{value!r} is not allowed: true or false")
        return bool(value)

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

    def rows(self, key: str) -> list["Keys"]:
        values = self._table.pop(key, None)
        if isinstance(values, list) and values and all(isinstance(v, dict) for v in values):
            return [Keys(value, f"{key}[{index}].") for index, value in enumerate(values)]
        self.wrong(key, f"at least one [[{key}]] is needed")
        return []
