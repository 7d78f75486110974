"""The records of an M-Bus telegram by pyMeterBus, and the only file that knows it.

Its numbers come as binary fractions of what the meter sent; fifteen digits bring the meter's own
decimal back, which never has more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_UNITS = {
    "WH": "Wh", "J": "J", "M3": "m3", "KG": "kg", "W": "W", "J_H": "J/h", "M3_H": "m3/h",
    "KG_H": "kg/h", "C": "degC", "BAR": "bar", "V": "V", "A": "A", "HZ": "Hz",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One number of a telegram."""

    quantity: str
    """pyMeterBus's name, e.g. ENERGY_WH."""
    unit: str
    """In the way of `decoders.units`."""
    value: Decimal
    function: str
    """INSTANTANEOUS_VALUE, MAXIMUM_VALUE, MINIMUM_VALUE, ERROR_STATE_VALUE."""
    storage: int
    tariff: int
    subunit: int
    extended: bool
    """Whether a further unit code (VIFE) changes the meaning."""


def records(frame: bytes) -> list[Record]:
    """The numbers in one long frame, in order. ValueError when its records cannot be read."""
    import meterbus  # noqa: PLC0415 - of an extra, which gateways without M-Bus do not install

    try:
        telegram = meterbus.load(frame)
        return [record for found in telegram.records for record in _record(found.interpreted)]
    except Exception as error:
        raise ValueError(f"records cannot be read: {error!r}") from error


def _record(found: dict[str, Any]) -> Iterator[Record]:
    value = found["value"]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return
    if isinstance(value, Decimal) and not value.is_finite():
        return
    unit = str(found["unit"]).rpartition(".")[2]
    yield Record(
        quantity=str(found["type"]).rpartition(".")[2],
        unit=_UNITS.get(unit, unit),
        value=Decimal(f"{value:.15g}"),
        function=str(found["function"]).rpartition(".")[2],
        storage=int(found.get("storage_number") or 0),
        tariff=int(found.get("tariff") or 0),
        subunit=int(found.get("device") or 0),
        extended="unit_enh" in found,
    )
