"""Register maps of real products, read from edge_agent/devices/*.toml as data.

This is the simulators' own reader. It shares the files with the edge agent and no code, so that a
mistake in the edge's reading of a map does not hide behind the same mistake here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
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
    no_value: raw patterns that mean "no value".
    """

    channel: str
    address: int
    type: str
    scale: float
    step: float | None
    modulus: float | None
    no_value: tuple[int, ...]
    word_order: str

    @property
    def words(self) -> int:
        """Length in 16-bit words."""
        return WORDS_OF_TYPE[self.type]


@dataclass(frozen=True, slots=True)
class Device:
    """One product's map.

    function: Modbus function code 3 or 4. max_gap: unmapped words between two registers that the
    product lets a request run across.
    """

    model: str
    maker: str
    product: str
    carrier: str
    side: str
    function: int
    max_gap: int
    registers: tuple[Register, ...]


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
        registers = tuple(_register(row, order) for row in table["register"])
        return Device(
            model=str(table["model"]),
            maker=str(table["maker"]),
            product=str(table["product"]),
            carrier=str(table["carrier"]),
            side=str(table["side"]),
            function=int(table["function"]),
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
