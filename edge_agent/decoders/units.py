"""From the units meters send to those of the channel catalogue: exact decimal factors. Pure."""

from collections.abc import Mapping
from decimal import Decimal

_JOULES = {
    "J": "1", "kJ": "1e3", "MJ": "1e6", "GJ": "1e9", "Wh": "3.6e3", "kWh": "3.6e6", "MWh": "3.6e9",
}  # fmt: skip
_WATTS = {"W": "1", "kW": "1e3", "MW": "1e6"}
_PER_HOUR = {"J/h": "1", "kJ/h": "1e3", "MJ/h": "1e6", "GJ/h": "1e9"}


def _in(base: Mapping[str, str], unit_size: str) -> dict[str, Decimal]:
    return {unit: Decimal(size) / Decimal(unit_size) for unit, size in base.items()}


_FACTORS: Mapping[str, Mapping[str, Decimal]] = {
    "GJ": _in(_JOULES, "1e9"),
    "kWh": {unit: f for unit, f in _in(_JOULES, "3.6e6").items() if unit.endswith("Wh")},
    "kW": _in(_WATTS, "1e3"),
    "GJ/h": {
        **_in(_PER_HOUR, "1e9"),
        **{unit: Decimal(size) * Decimal("3.6e-6") for unit, size in _WATTS.items()},
    },
    "m3": {"L": Decimal("0.001"), "m3": Decimal(1)},
    "m3/h": {"L/h": Decimal("0.001"), "m3/h": Decimal(1)},
    "t": {"kg": Decimal("0.001"), "t": Decimal(1)},
    "t/h": {"kg/h": Decimal("0.001"), "t/h": Decimal(1)},
    "kPa": {"bar": Decimal(100), "kPa": Decimal(1)},
}


def factor(unit: str, catalogue_unit: str) -> Decimal | None:
    """What turns a number of `unit` into one of `catalogue_unit`; None when they do not fit."""
    if unit == catalogue_unit:
        return Decimal(1)
    return _FACTORS.get(catalogue_unit, {}).get(unit)
