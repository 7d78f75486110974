"""What a simulated meter keeps, as each protocol sends it: the bytes a station answers with.

Addresses follow from the meter's place: a number of its own for every meter of a district.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from simulators.cjt188_meter import Cjt188Station
from simulators.devices import CJT188_UNITS, MBUS_VIFS, Register
from simulators.dlt645_meter import Dlt645Station
from simulators.mbus_meter import MbusStation, Secondary, record
from simulators.meter import SimulatedMeter
from simulators.noise import derive_seed
from simulators.wire import Station

Now = Callable[[], int]
BEIJING = timezone(timedelta(hours=8))
DAY_MS = 86_400_000
MIDNIGHT_MS = 16 * 3_600_000
"""Midnight in Beijing after that in UTC [ms]."""
SETTLEMENT_DAY = b"\x00\x01"
"""The first of the month, 00 h: hour, day."""

_DLT645_TIMES = {"04000101": "0%w %d %m %y", "04000102": "%S %M %H"}


ADDRESS_DIGITS = {"dlt645": 12, "cjt188": 14, "mbus": 8}


def meter_address(protocol: str, site: str, meter: str) -> str:
    """The address of a meter on its wire; empty for a protocol that has units only."""
    digits = ADDRESS_DIGITS.get(protocol, 0)
    seed = derive_seed(0, f"address/{site}/{meter}")
    return f"{seed % 10**digits:0{digits}d}" if digits else ""


def station(meter: SimulatedMeter, now_ms: Now) -> Station:
    """A station of the meter's protocol; ValueError for a protocol without one."""
    made = _station(meter, now_ms)
    made.faults = meter.faults
    return made


def _station(meter: SimulatedMeter, now_ms: Now) -> Station:
    protocol = meter.device.protocol
    address = meter_address(protocol, meter.identity.site, meter.identity.id)
    match protocol:
        case "dlt645":
            return Dlt645Station(address, dlt645_image(meter, now_ms))
        case "cjt188":
            return _cjt188_station(meter, address, now_ms)
        case "mbus":
            medium = {"heat": 4, "natural_gas": 3, "electricity": 2}.get(meter.device.carrier, 7)
            secondary = Secondary(address, str(meter.device.settings.get("flag", "NEN")), 1, medium)
            return MbusStation(
                meter.identity.unit, secondary, lambda: [_mbus_records(meter, now_ms())]
            )
    raise ValueError(f"no station speaks {protocol}")


def bcd(number: int, length: int, *, signed: bool = False) -> bytes:
    """`number` as decimals, low byte first, cut to its last digits; the sign in the top bit."""
    digits = f"{abs(number) % 10 ** (2 * length):0{2 * length}d}"
    data = bytearray(bytes.fromhex(digits)[::-1])
    if signed and number < 0:
        data[-1] |= 0x80
    return bytes(data)


def dlt645_image(meter: SimulatedMeter, now_ms: Now) -> Callable[[str], bytes | None]:
    """Current data, freezes, settlements, date and time of a meter that keeps Beijing time."""
    current: dict[str, list[Register]] = {}
    daily: dict[str, list[Register]] = {}
    for register in meter.device.registers:
        current.setdefault(str(register.place["id"]), []).append(register)
        if "daily" in register.place:
            daily.setdefault(str(register.place["daily"]), []).append(register)
    kept = int(str(meter.device.settings.get("daily_freezes", 0)))
    settled = int(str(meter.device.settings.get("settlements", 0)))

    def image(id_: str) -> bytes | None:
        now = now_ms()
        if id_ in current:
            return _block(current[id_], lambda register: meter.number(register, now))
        if id_ in _DLT645_TIMES:
            moment = datetime.fromtimestamp(now / 1000, BEIJING)
            return bytes.fromhex(moment.strftime(_DLT645_TIMES[id_]))
        if id_ == "04000B01":
            return SETTLEMENT_DAY
        back = int(id_[6:], 16) if len(id_) == 8 else 0
        if id_.startswith("0506") and 1 <= back <= kept:
            midnight = (now - MIDNIGHT_MS) // DAY_MS * DAY_MS + MIDNIGHT_MS - (back - 1) * DAY_MS
            if id_[:6] == "050600":
                moment = datetime.fromtimestamp(midnight / 1000, BEIJING)
                return bytes.fromhex(moment.strftime("%M%H%d%m%y"))
            return _past(meter, daily.get(id_[:6], []), midnight)
        registers = current.get(f"{id_[:6]}00", []) if id_.startswith("00") else []
        if registers and 1 <= back <= settled:
            return _past(meter, registers, _month_begin_ms(now, back))
        return None

    return image


def _past(meter: SimulatedMeter, registers: list[Register], time_ms: int) -> bytes | None:
    if not registers:
        return None
    return _block(registers, lambda register: meter.number_frozen(register, time_ms))


def _month_begin_ms(now_ms: int, back: int) -> int:
    """Begin of the month `back` - 1 before the present one, in Beijing [ms UTC]."""
    now = datetime.fromtimestamp(now_ms / 1000, BEIJING)
    month = now.year * 12 + now.month - 1 - (back - 1)
    begin = datetime(month // 12, month % 12 + 1, 1, tzinfo=BEIJING)
    return round(begin.timestamp() * 1000)


def _block(registers: list[Register], number: Callable[[Register], int]) -> bytes:
    """The numbers at their offsets in one block."""
    data = b""
    for register in sorted(registers, key=_offset):
        length = str(register.place["format"]).count("X") // 2
        data = data.ljust(_offset(register), b"\x00")
        data += bcd(number(register), length, signed=bool(register.place.get("signed")))
    return data


def _offset(register: Register) -> int:
    return int(str(register.place.get("offset", 0)))


def _cjt188_station(meter: SimulatedMeter, address: str, now_ms: Now) -> Station:
    settings = meter.device.settings
    heat = meter.device.carrier == "heat"

    def image() -> bytes:
        data = bytearray(b"\x00" * (43 if heat else 19))
        for register in meter.device.registers:
            place = register.place
            length, at = int(str(place["length"])), int(str(place["offset"]))
            number = meter.number(register, now_ms())
            part = bcd(number, length, signed=bool(place.get("signed")))
            if place["unit"] != "none":
                unit = bytes((CJT188_UNITS[register.channel][0],))
                part = unit + part if place["unit"] == "before" else part + unit
            data[at : at + len(part)] = part
        return bytes(data)

    data_id = bytes.fromhex(str(settings["data_id"]))
    kind = int(str(settings["kind"]))
    return Cjt188Station(kind, address, data_id, image)


def _mbus_records(meter: SimulatedMeter, now_ms: int) -> bytes:
    data = b""
    for register in meter.device.registers:
        vif = MBUS_VIFS[str(register.place["quantity"]), register.channel][0]
        data += record(vif, meter.number(register, now_ms), dif=0x06)
    return data
