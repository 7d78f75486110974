"""Register maps of real products, read from edge_agent/devices/*.toml as data.

This is the simulators' own reader. It shares the files with the edge agent and no code, so that a
mistake in the edge's reading of a map does not hide behind the same mistake here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

WORDS_OF_TYPE: Mapping[str, int] = {
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "float32": 2,
    "uint64": 4,
    "int64": 4,
    "float64": 4,
}


class DeviceError(ValueError):
    """A register map is missing or cannot be served."""


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a product: where it is and how it is written.

    scale: register x scale = catalogue unit. step and modulus: in the catalogue unit.
    no_value: raw patterns that mean "no value". place: the row of a protocol other than Modbus.
    """

    channel: str
    address: int
    type: str
    scale: float
    step: float | None
    modulus: float | None
    no_value: tuple[int, ...] = ()
    word_order: str = "big"
    place: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def words(self) -> int:
        """Length in 16-bit words."""
        return WORDS_OF_TYPE[self.type]


@dataclass(frozen=True, slots=True)
class Device:
    """One product's map.

    function: Modbus function code 3 or 4. max_gap: unmapped words between two registers that the
    product lets a request run across. settings: the whole file, for a protocol other than Modbus.
    """

    model: str
    maker: str
    product: str
    carrier: str
    side: str
    function: int
    max_gap: int
    registers: tuple[Register, ...]
    protocol: str = "modbus"
    settings: Mapping[str, object] = field(default_factory=dict, hash=False)


def devices_folder() -> Path:
    """Where the maps lie: beside this package, in edge_agent/devices."""
    return Path(__file__).resolve().parent.parent / "edge_agent" / "devices"


@cache
def load_device(model: str, folder: Path | None = None) -> Device:
    """The map of one product; DeviceError names what is wrong."""
    path = (folder or devices_folder()) / f"{model}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DeviceError(f"no register map {path.name} in {path.parent}") from error
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{path.name}: {error}") from error
    try:
        order = str(table.get("word_order", "big"))
        protocol = str(table["protocol"])
        if protocol == "modbus":
            registers = tuple(_register(row, order) for row in table["register"])
        else:
            if protocol not in _SCALES:
                raise ValueError(f"nothing speaks {protocol!r}")
            scale_of = _SCALES[protocol]
            registers = tuple(
                _other(row, number, scale_of) for number, row in enumerate(table["register"])
            )
        return Device(
            model=str(table["model"]),
            maker=str(table["maker"]),
            product=str(table["product"]),
            carrier=str(table["carrier"]),
            side=str(table["side"]),
            protocol=protocol,
            settings=table,
            function=int(table["function"]) if protocol == "modbus" else 0,
            max_gap=int(table.get("max_gap", 0)),
            registers=registers,
        )
    except KeyError as error:
        raise DeviceError(f"{path.name}: key {error} is missing") from error
    except ValueError as error:
        raise DeviceError(f"{path.name}: {error}") from error


def _register(row: Mapping[str, object], order: str) -> Register:
    kind = str(row["type"])
    if kind not in WORDS_OF_TYPE:
        raise ValueError(f"register {row['channel']}: unknown type {kind!r}")
    word_order = str(row.get("word_order", order))
    if word_order not in ("big", "little"):
        raise ValueError(f"register {row['channel']}: unknown word order {word_order!r}")
    patterns = row.get("no_value", [])
    if not isinstance(patterns, list):
        raise ValueError(f"register {row['channel']}: no_value must be a list")
    return Register(
        channel=str(row["channel"]),
        address=int(str(row["address"])),
        type=kind,
        scale=float(str(row.get("scale", 1.0))),
        step=float(str(row["step"])) if "step" in row else None,
        modulus=float(str(row["modulus"])) if "modulus" in row else None,
        no_value=tuple(int(pattern) for pattern in patterns),
        word_order=word_order,
    )


def _other(
    row: Mapping[str, object], number: int, scale_of: Callable[[Mapping[str, object]], float]
) -> Register:
    """A number of a protocol without registers; its address is its place in the file."""
    return Register(
        channel=str(row["channel"]),
        address=number,
        type="int64",
        scale=scale_of(row),
        step=float(str(row["step"])) if "step" in row else None,
        modulus=float(str(row["modulus"])) if "modulus" in row else None,
        place=row,
    )


def _dlt645_scale(row: Mapping[str, object]) -> float:
    _, _, decimals = str(row["format"]).partition(".")
    return float(f"1e-{len(decimals)}")


CJT188_UNITS: Mapping[str, tuple[int, float]] = {
    "heat": (0x08, 3.6), "heat_flow": (0x17, 0.0036), "volume": (0x2C, 1.0), "flow": (0x35, 1.0),
}  # fmt: skip
"""Channel -> unit byte a simulated meter sends (MWh, kW, m3, m3/h), in catalogue units."""


def _cjt188_scale(row: Mapping[str, object]) -> float:
    unit = CJT188_UNITS[str(row["channel"])][1] if row["unit"] != "none" else 1.0
    return round(unit * 10.0 ** -int(str(row["decimals"])), 9)


MBUS_VIFS: Mapping[tuple[str, str], tuple[str, float]] = {
    ("energy", "heat"): ("06", 0.0036),
    ("energy", "energy_import"): ("03", 0.001),
    ("power", "heat_flow"): ("2B", 0.0000036),
    ("power", "power"): ("2B", 0.001),
    ("volume", "volume"): ("13", 0.001),
    ("volume_flow", "flow"): ("3B", 0.001),
    ("flow_temperature", "temperature_supply"): ("5A", 0.1),
    ("return_temperature", "temperature_return"): ("5E", 0.1),
    ("voltage", "voltage"): ("FD48", 0.1),
    ("current", "current"): ("FD5B", 0.1),
}
"""(quantity, channel) -> unit code a simulated meter sends, in catalogue units."""


def _mbus_scale(row: Mapping[str, object]) -> float:
    return MBUS_VIFS[str(row["quantity"]), str(row["channel"])][1]


_SCALES: Mapping[str, Callable[[Mapping[str, object]], float]] = {
    "dlt645": _dlt645_scale,
    "cjt188": _cjt188_scale,
    "mbus": _mbus_scale,
}
