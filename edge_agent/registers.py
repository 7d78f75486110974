"""Device maps: what a product keeps where, read from ``devices/<model>.toml``.

What a map holds is the matter of its protocol (`maps`); here is what all have in common: the
folder, loading, and what the wire's meta says of a meter.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path

from contract.channels import catalogue
from contract.meta import MetaChannel, MetaMeter
from contract.reading import is_id
from edge_agent.config import MeterConfig
from edge_agent.errors import ConfigError, Problem
from edge_agent.maps.bacnet import parse_bacnet
from edge_agent.maps.base import DeviceMap, Keys
from edge_agent.maps.cjt188 import parse_cjt188
from edge_agent.maps.dlt645 import parse_dlt645
from edge_agent.maps.manual import parse_manual
from edge_agent.maps.mbus import parse_mbus
from edge_agent.maps.modbus import parse_modbus
from edge_agent.maps.mqtt_json import parse_mqtt_json
from edge_agent.maps.opcua import parse_opcua
from edge_agent.toml_lines import placed

_PARSERS: Mapping[str, Callable[[Keys], tuple[DeviceMap, list[Problem]]]] = {
    "modbus": parse_modbus,
    "dlt645": parse_dlt645,
    "cjt188": parse_cjt188,
    "mbus": parse_mbus,
    "manual": parse_manual,
    "mqtt-json": parse_mqtt_json,
    "opcua": parse_opcua,
    "bacnet": parse_bacnet,
}
"""Protocol of a map -> what reads it."""


def devices_folder() -> Path:
    """Return the folder of the maps that are part of the product."""
    return Path(__file__).resolve().parent / "devices"


def all_models(own: Path | None = None) -> list[str]:
    """Return the models of the product and of a folder of the site's own."""
    folders = [devices_folder()] + ([own] if own is not None else [])
    return sorted({file.stem for folder in folders for file in folder.glob("*.toml")})


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


def load_device_maps(models: Iterable[str], own: Path | None = None) -> dict[str, DeviceMap]:
    """Load the maps of `models` by model. ConfigError with the problems of all of them.

    Args:
        models: which.
        own: a folder of the site's own maps; one of the same name goes before the product's.
    """
    maps: dict[str, DeviceMap] = {}
    problems: list[Problem] = []
    for model in sorted(set(models)):
        is_own = own is not None and (own / f"{model}.toml").is_file()
        try:
            maps[model] = load_device_map(model, own) if is_own else _cached(model)
        except ConfigError as error:
            where = f"{own if is_own else devices_folder()}/{model}.toml"
            problems += (
                Problem(
                    " ".join(filter(None, (f"{where}:{p.line}" if p.line else where, p.key))),
                    p.reason,
                )
                for p in error.problems
            )
    if problems:
        raise ConfigError("", problems)
    return maps


@cache
def _cached(model: str) -> DeviceMap:
    return load_device_map(model)


def meta_meter(meter: MeterConfig, device: DeviceMap) -> MetaMeter:
    """Return what the wire's meta says of this meter.

    The rating, configured or else the product's, is that of the main channel and holds for the
    channels of its unit.
    """
    rating = meter.rating
    if rating is None and device.rating is not None:
        rating = float(device.rating)
    main = next((r.channel for r in device.registers if r.cumulative), None)
    unit = catalogue()[main].unit if main is not None else None
    channels = tuple(
        MetaChannel(
            name=register.channel,
            unit=str(catalogue()[register.channel].unit),
            modulus=None if register.modulus is None else float(register.modulus),
            rating=rating
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
    top = Keys(table, "")
    protocol = top.one_of("protocol", tuple(_PARSERS))
    device, problems = _PARSERS.get(protocol, parse_modbus)(top)
    if device.model and device.model != path.stem:
        reason = f"{device.model!r} must be the name of the file, {path.stem!r}"
        top.wrong("model", reason)
    if device.model and not is_id(device.model):
        top.wrong("model", f"{device.model!r} is not an id ([a-z0-9][a-z0-9-]{{0,62}})")
    top.rest()
    problems = top.problems + problems
    if problems:
        raise ConfigError(str(path), placed(text, problems))
    return device
