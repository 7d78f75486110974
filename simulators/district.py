"""A district as data: sites, what they consume, and which meter counts which part of it.

`load_district` reads and checks a district file; `build_meters` makes the simulated meters. A
meter counts sum(plus) - sum(minus) of its site's loads, so a boundary meter is exactly the sum of
what lies behind it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from contract.reading import check_id
from simulators.devices import Device, DeviceError, load_device
from simulators.meter import MeterIdentity, SimulatedMeter
from simulators.noise import derive_seed
from simulators.quantities import MAIN_CHANNEL, Flows
from simulators.shapes import Context, Place, Profile, build_shape
from simulators.signal import Signal, rate_from_milli_per_hour, scaled, surplus
from simulators.weather import Weather, weather_of

ROLES = (
    "boundary_in",
    "boundary_out",
    "own_generation",
    "conversion_in",
    "conversion_out",
    "sub",
    "check",
)
MODBUS_UNIT = 1
Row = Mapping[str, object]
PPM = 1_000_000


class DistrictError(ValueError):
    """The district file cannot be used; the message names site, part and reason."""


@dataclass(frozen=True, slots=True)
class Load:
    """One consumer or generator. rated: carrier unit per hour. A derived load is a share
    (`ratio`, in its own unit per unit of the other) of another load of its site, `delay_h` later.
    """

    id: str
    carrier: str
    rated: float = 0.0
    shape: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    derived_from: str = ""
    ratio: float = 0.0
    delay_h: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter of a site: product, place in the account, and the loads it counts."""

    id: str
    model: str
    carrier: str
    role: str
    edge: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    parent: str = ""
    multiplier: int = 1
    note: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a site's tree: a system, or a sub-item of a public building."""

    id: str
    name_zh: str
    name_en: str
    parent: str = ""
    sub_item: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """One enterprise or building. source: where its magnitudes come from."""

    id: str
    name_zh: str
    name_en: str
    sector: str
    floor_area_m2: float
    headcount: int
    latitude: float
    longitude: float
    edges: tuple[str, ...]
    loads: tuple[Load, ...]
    meters: tuple[Meter, ...]
    source: str = ""
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class District:
    """A whole district file. seed: decides every noise and every starting register.

    register: rows of further tables of the register: targets, budgets.
    """

    id: str
    name_zh: str
    name_en: str
    region: str
    seed: int
    tariff_hours: Mapping[str, frozenset[int]]
    profiles: Mapping[str, Profile]
    sites: tuple[Site, ...]
    weather: Weather | None = None
    register: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    def only(self, sites: Sequence[str]) -> District:
        """The district with some of its sites; DistrictError names one that it has not."""
        known = {site.id: site for site in self.sites}
        for name in sites:
            if name not in known:
                raise DistrictError(f"{self.id} has no site {name!r}; known: {', '.join(known)}")
        return replace(self, sites=tuple(known[name] for name in sites))


def districts_folder() -> Path:
    """Where the districts that come with the product lie."""
    return Path(__file__).resolve().parent / "districts"


def find_district(name_or_path: str) -> Path:
    """A district file by its path, or by the name of one that comes with the product."""
    named = districts_folder() / f"{name_or_path}.toml"
    return named if named.is_file() else Path(name_or_path)


def load_district(path: Path) -> District:
    """Read and check a district file; DistrictError names the first thing that is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DistrictError(f"{path}: {error}") from error
    try:
        if table["format"] != 1:
            raise DistrictError(f"format {table['format']} is not 1")
        district = District(
            id=check_id(table["id"], "id"),
            name_zh=str(table["name_zh"]),
            name_en=str(table["name_en"]),
            region=str(table["region"]),
            seed=int(table["seed"]),
            tariff_hours={name: frozenset(hours) for name, hours in table["tariff_hours"].items()},
            profiles={name: _profile(name, row) for name, row in table["profile"].items()},
            sites=tuple(_site(row) for row in table["site"]),
            weather=weather_of(table["weather"], int(table["seed"]))
            if "weather" in table
            else None,
            register=table.get("register", {}),
        )
    except KeyError as error:
        raise DistrictError(f"{path.name}: key {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise DistrictError(f"{path.name}: {error}") from error
    for site in district.sites:
        _check_site(site)
    return _with_included(district, table.get("include", {}), path)


def _with_included(district: District, include: object, path: Path) -> District:
    """Sites of other districts, with the profiles these know, before the district's own.

    Where there is weather, their roofs are pvlib's as all others are.
    """
    if not isinstance(include, Mapping):
        raise DistrictError(f"{path.name}: include must name districts and lists of their sites")
    for name, sites in include.items():
        other = load_district(find_district(str(name))).only(sites)
        district = replace(
            district,
            profiles={**other.profiles, **district.profiles},
            sites=other.sites + district.sites,
        )
    return district if district.weather is None else _under_pvlibs_sun(district)


def _under_pvlibs_sun(district: District) -> District:
    def lit(load: Load) -> Load:
        return replace(load, shape="plant") if load.shape == "solar" else load

    sites = (replace(site, loads=tuple(map(lit, site.loads))) for site in district.sites)
    return replace(district, sites=tuple(sites))


def _profile(name: str, row: Mapping[str, list[int]]) -> Profile:
    weekday, weekend = tuple(row["weekday"]), tuple(row["weekend"])
    if len(weekday) != 24 or len(weekend) != 24:
        raise DistrictError(f"profile {name} needs 24 hours of weekday and weekend")
    return Profile(weekday, weekend)


def _site(row: Mapping[str, object]) -> Site:
    columns = dict(row)
    loads, meters, edges = columns.pop("loads"), columns.pop("meters"), columns.pop("edges")
    if not (isinstance(loads, list) and isinstance(meters, list) and isinstance(edges, list)):
        raise DistrictError(f"site {row.get('id')}: loads, meters and edges must be lists")
    nodes = columns.pop("nodes", [])
    if not isinstance(nodes, list):
        raise DistrictError(f"site {row.get('id')}: nodes must be a list")
    return Site(
        **columns,  # type: ignore[arg-type]  # unknown and missing keys are TypeErrors, reported
        nodes=tuple(Node(**node) for node in nodes),
        edges=tuple(check_id(edge, "edge") for edge in edges),
        loads=tuple(_load(load) for load in loads),
        meters=tuple(_meter(meter) for meter in meters),
    )


def _load(row: Mapping[str, object]) -> Load:
    own = {key: row[key] for key in Load.__slots__ if key in row and key != "parameters"}
    parameters = {key: value for key, value in row.items() if key not in own}
    if "derived_from" in own and parameters:
        raise DistrictError(f"load {row.get('id')}: a derived load has no {', '.join(parameters)}")
    return Load(**own, parameters=parameters)  # type: ignore[arg-type]  # see _site


def _meter(row: Mapping[str, object]) -> Meter:
    columns = dict(row)
    for key in ("plus", "minus"):
        names = columns.get(key, [])
        if not isinstance(names, list):
            raise DistrictError(f"meter {row.get('id')}: {key} must be a list of loads")
        columns[key] = tuple(names)
    return Meter(**columns)  # type: ignore[arg-type]  # see _site


def _check_site(site: Site) -> None:
    check_id(site.id, "site")
    loads = {load.id: load for load in site.loads}
    meters = {meter.id: meter for meter in site.meters}
    if len(loads) != len(site.loads) or len(meters) != len(site.meters):
        raise DistrictError(f"{site.id}: the id of a load or meter stands twice")
    for meter in site.meters:
        where = f"{site.id}/{check_id(meter.id, site.id)}"
        if meter.role not in ROLES:
            raise DistrictError(f"{where}: unknown role {meter.role!r}")
        if meter.carrier not in MAIN_CHANNEL:
            raise DistrictError(f"{where}: unknown carrier {meter.carrier!r}")
        if meter.edge not in site.edges:
            raise DistrictError(f"{where}: edge {meter.edge!r} is none of the site's")
        if meter.node and meter.node not in {node.id for node in site.nodes}:
            raise DistrictError(f"{where}: no node {meter.node!r}")
        if meter.parent and meters.get(meter.parent) is None:
            raise DistrictError(f"{where}: no parent {meter.parent!r}")
        if meter.multiplier < 1:
            raise DistrictError(f"{where}: multiplier {meter.multiplier} is not at least 1")
        for name in (*meter.plus, *meter.minus):
            if name not in loads:
                raise DistrictError(f"{where}: no load {name!r}")
            if loads[name].carrier != meter.carrier:
                raise DistrictError(f"{where}: load {name!r} is {loads[name].carrier}")


def context_of(district: District, site: Site, load: Load) -> Context:
    """What the shape of a load may look at."""
    sky = derive_seed(district.seed, f"{site.id} sky")
    place = Place(round(site.latitude * 1000), round(site.longitude * 1000), sky)
    seed = derive_seed(district.seed, f"{site.id}/{load.id}")
    return Context(seed, place, district.profiles, district.weather)


def site_signals(district: District, site: Site, origin_ms: int) -> Mapping[str, Signal]:
    """The signal of every load of a site, counting from origin_ms."""
    signals: dict[str, Signal] = {}
    for load in site.loads:
        where = f"{site.id}/{load.id}"
        if load.derived_from:
            if load.derived_from not in signals:
                raise DistrictError(f"{where}: {load.derived_from!r} must stand before it")
            ratio_ppm = round(load.ratio * PPM)
            signals[load.id] = scaled(
                signals[load.derived_from], ratio_ppm, origin_ms, 60 * load.delay_h
            )
            continue
        try:
            shape = build_shape(load.shape, context_of(district, site, load), load.parameters)
        except ValueError as error:
            raise DistrictError(f"{where}: {error}") from error
        full = rate_from_milli_per_hour(round(load.rated * 1000))

        def rate(minute: int, shape: object = shape, full: int = full) -> int:
            return full * shape(minute) // PPM  # type: ignore[operator,no-any-return]

        signals[load.id] = Signal(rate, origin_ms)
    return signals


def build_meters(district: District, origin_ms: int) -> list[SimulatedMeter]:
    """All meters of a district, in the file's order; DistrictError names what cannot be."""
    built: list[SimulatedMeter] = []
    for site in district.sites:
        signals = site_signals(district, site, origin_ms)
        for meter in site.meters:
            where = f"{site.id}/{meter.id}"
            try:
                device = load_device(meter.model)
                built.append(_build(district, site, meter, device, signals, origin_ms))
            except (DeviceError, ValueError) as error:
                raise DistrictError(f"{where}: {error}") from error
    return built


def _build(
    district: District,
    site: Site,
    meter: Meter,
    device: Device,
    signals: Mapping[str, Signal],
    origin_ms: int,
) -> SimulatedMeter:
    if meter.multiplier != 1 and device.side == "primary":
        raise ValueError(f"{meter.model} shows primary values, multiplier must be 1")
    plus = [signals[name] for name in meter.plus]
    minus = [signals[name] for name in meter.minus]
    flows = Flows(
        meter.carrier,
        forward=surplus(plus, minus, origin_ms),
        backward=surplus(minus, plus, origin_ms),
        origin_ms=origin_ms,
        two_way=bool(plus and minus),
    )
    full_milli = round(full_flow(site, meter) * 1000)
    identity = MeterIdentity(
        site.id, meter.id, meter.edge, meter.carrier, meter.role, meter.multiplier, MODBUS_UNIT
    )
    return SimulatedMeter(identity, device, flows, district.tariff_hours, full_milli, district.seed)


def full_flow(site: Site, meter: Meter) -> float:
    """What a meter's loads can draw or give at once [carrier unit per hour], after CT x VT."""
    by_id = {load.id: load for load in site.loads}

    def rated(name: str) -> float:
        load = by_id[name]
        return rated(load.derived_from) * load.ratio if load.derived_from else load.rated

    return max(sum(map(rated, meter.plus)), sum(map(rated, meter.minus)))


def plausible_rate(site: Site, meter: Meter) -> float:
    """The edge's `rating`: twice the full flow, before CT x VT, in units of the main channel.

    Steam is accounted as heat, which is the main channel of steam meters.
    """
    gj_per_t = 2.78 if meter.carrier == "steam" else 1.0
    return round(2 * gj_per_t * full_flow(site, meter) / meter.multiplier, 3)
