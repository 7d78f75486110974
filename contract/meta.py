"""``meta``: what an edge reads. Retained; named by the SHA-256 of its payload.

The publisher writes canonical JSON; a reader hashes the bytes it got, so that nobody ever has to
serialise a foreign document again. Data name the meta they were read under by this hash.

::

    {"v":1,"meters":[{"id":"em-01","serial":"SN-1","model":"eastron-sdm630","channels":[
        {"name":"energy_import","unit":"kWh","modulus":1000000.0,"rating":1500.0,
         "step":0.01}]}]}
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract import wire
from contract.channels import catalogue
from contract.reading import check_id
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from contract.wire import DecodeError

MAX_METERS = 1_024
MAX_CHANNELS = 256


@dataclass(frozen=True, slots=True)
class MetaChannel:
    """One channel as the meter counts it, before CT x VT.

    ``modulus`` [unit]: where the register wraps to zero, None when unknown. ``rating``
    [unit per hour]: largest rate that is physically plausible, None when unknown. ``step``
    [unit]: what the display resolves, None when unknown.
    """

    name: str
    unit: str
    modulus: float | None = None
    rating: float | None = None
    step: float | None = None


@dataclass(frozen=True, slots=True)
class MetaMeter:
    """One meter: id within the site, serial number and model as on the name plate."""

    id: str
    serial: str
    model: str
    channels: tuple[MetaChannel, ...]


@dataclass(frozen=True, slots=True)
class Meta:
    """All that one edge reads."""

    meters: tuple[MetaMeter, ...]


def meta_hash(payload: bytes) -> str:
    """Return the name of a meta: SHA-256 of its payload, 64 hexadecimal digits."""
    return hashlib.sha256(payload).hexdigest()


def encode_meta(meta: Meta) -> bytes:
    """Return the canonical payload."""
    document = {
        "v": 1,
        "meters": [
            {
                "id": meter.id,
                "serial": meter.serial,
                "model": meter.model,
                "channels": [_channel_document(channel) for channel in meter.channels],
            }
            for meter in meta.meters
        ],
    }
    _decode(document)
    return wire.sized(wire.canonical(document), wire.MAX_META_BYTES)


def _channel_document(channel: MetaChannel) -> dict[str, Any]:
    document: dict[str, Any] = {"name": channel.name, "unit": channel.unit}
    for name in ("modulus", "rating", "step"):
        number = getattr(channel, name)
        if number is not None:
            document[name] = float(number)
    return document


def decode_meta(payload: bytes) -> Meta:
    """Return the meta of a payload; DecodeError naming where it breaks the contract."""
    return _decode(wire.parse_object(payload, wire.MAX_META_BYTES))


def _decode(document: Mapping[str, Any]) -> Meta:
    meters = wire.as_list(wire.member(document, "meters", "meters"), "meters", MAX_METERS)
    decoded = tuple(_decode_meter(meter, f"meters[{i}]") for i, meter in enumerate(meters))
    _refuse_twice([meter.id for meter in decoded], "meters")
    return Meta(decoded)


def _decode_meter(value: object, where: str) -> MetaMeter:
    document = wire.as_object(value, where)
    channels = wire.as_list(
        wire.member(document, "channels", f"{where}.channels"), f"{where}.channels", MAX_CHANNELS
    )
    decoded = tuple(
        _decode_channel(channel, f"{where}.channels[{i}]") for i, channel in enumerate(channels)
    )
    _refuse_twice([channel.name for channel in decoded], f"{where}.channels")
    return MetaMeter(
        id=wire.checked(check_id, wire.member(document, "id", f"{where}.id"), f"{where}.id"),
        serial=wire.text(document, "serial", f"{where}.serial"),
        model=wire.checked(
            check_id, wire.member(document, "model", f"{where}.model"), f"{where}.model"
        ),
        channels=decoded,
    )


def _decode_channel(value: object, where: str) -> MetaChannel:
    document = wire.as_object(value, where)
    name = wire.text(document, "name", f"{where}.name")
    channel = catalogue().get(name)
    if channel is None:
        raise DecodeError(f"{where}.name", f"{name!r} is not in the catalogue")
    unit = wire.text(document, "unit", f"{where}.unit")
    if unit != channel.unit:
        raise DecodeError(f"{where}.unit", f"{unit!r} is not the catalogue's {channel.unit.value}")
    return MetaChannel(
        name=channel.name,  # the catalogue's own strings: a city has 100 000 channels
        unit=channel.unit,
        modulus=_positive(document, "modulus", where),
        rating=_positive(document, "rating", where),
        step=_positive(document, "step", where),
    )


def _positive(document: Mapping[str, Any], name: str, where: str) -> float | None:
    if document.get(name) is None:
        return None
    number = wire.as_number(document[name], f"{where}.{name}")
    if not 0 < number <= MAX_CUMULATIVE_MICRO / MICRO:
        raise DecodeError(f"{where}.{name}", f"{number!r} is not positive and countable")
    return number


def _refuse_twice(names: list[str], where: str) -> None:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            raise DecodeError(f"{where}[{i}]", f"{name!r} stands twice")
        seen.add(name)
