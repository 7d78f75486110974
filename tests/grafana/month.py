"""A simulated month of 300 meters whose totals are known, written through the project's store.

Truth first: interval amounts per meter are drawn, everything else is summed from them here, in
plain NumPy, with code of its own; so totals that come back from queries are held against this.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.interval import DAY_MS, HOUR_MS, day_start, month_start, next_month
from contract.stored import (
    ENERGY,
    GENERATION,
    MEASURE_FIELDS,
    OUT,
    THE_REGION,
    TOTAL,
    UNALLOCATED,
    Level,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID_MS = 900_000
DAYS = 31
END_MS = 1_795_224_600_000  # 2026-11-21T01:30Z = 09:30 in Beijing: a morning
REGION = "370114"
YEAR_MS = 365 * DAY_MS
MILLION = 1_000_000

UNITS = {
    "electricity": "kWh",
    "natural_gas": "m3",
    "raw_coal": "t",
    "steam": "t",
    "water": "m3",
    ENERGY: "kgce",
}
CHANNELS = {
    "electricity": "energy_import",
    "natural_gas": "volume_standard",
    "raw_coal": "mass",
    "steam": "mass",
    "water": "volume",
}
FACTORS = {  # per unit: kgce calorific, kgce equivalent, kg CO2, CNY; water counts as no energy
    "electricity": (0.1229, 0.2950, 0.6410, 0.0),
    "natural_gas": (1.3300, 1.3300, 2.1622, 3.6),
    "raw_coal": (714.3, 714.3, 1900.0, 820.0),
    "steam": (128.6, 128.6, 413.9, 210.0),
    "water": (np.nan, np.nan, np.nan, 4.2),
}
PRICES = {"sharp": 1.12, "peak": 0.94, "flat": 0.66, "valley": 0.38}
HOURS = "vvvvvvffffvvvvvffpspppff"  # tariff period by hour of the day: first letters
PERIODS = {name[0]: name for name in PRICES}
PLANT = np.array(
    [
        70,
        68,
        66,
        66,
        68,
        72,
        80,
        90,
        98,
        100,
        99,
        96,
        86,
        94,
        99,
        100,
        98,
        92,
        88,
        86,
        84,
        80,
        76,
        72,
    ]
)
BUILDING = np.array(
    [22, 20, 20, 20, 21, 26, 38, 60, 86, 96, 98, 96, 84, 82, 92, 97, 95, 86, 66, 50, 42, 36, 30, 25]
)
SUN = np.array([0, 0, 0, 0, 0, 0, 2, 14, 38, 62, 80, 90, 92, 84, 66, 42, 16, 2, 0, 0, 0, 0, 0, 0])
SYSTEMS = (
    ("production", "主要生产系统", "Production", 0.67, "system"),
    ("auxiliary", "辅助生产系统", "Auxiliary systems", 0.25, "system"),
    ("offices", "附属生产系统", "Offices and canteen", 0.06, "system"),
)
SUB_ITEMS = (
    ("lighting", "照明插座", "Lighting and sockets", 0.32, "lighting_sockets"),
    ("hvac", "空调", "Air conditioning", 0.34, "air_conditioning"),
    ("power", "动力", "Motive power", 0.14, "motive_power"),
    ("special", "特殊", "Special", 0.19, "special"),
)


@dataclass(frozen=True)
class Part:
    """One meter: what it is and its truth per interval."""

    site: str
    id: str
    name: str
    carrier: str
    role: str
    node: str
    parent: str
    edge: str
    amount: Ints
    estimated: Ints
    held: Ints
    measured_ms: Ints
    estimated_ms: Ints
    missing_ms: Ints
    received: Ints

    @property
    def sign(self) -> int:
        return {"boundary_in": 1, "boundary_out": -1, "own_generation": 1}.get(self.role, 0)


@dataclass
class Month:
    """The whole simulated month; `write` puts it into a store."""

    end_ms: int = END_MS
    days: int = DAYS
    seed: int = 370114
    recent_ms: int = 2 * DAY_MS
    """How far back meters have rows of intervals and hours."""
    sites: list[dict[str, str]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        with (Path(__file__).parent / "sites.csv").open(encoding="utf-8") as file:
            self.sites = list(csv.DictReader(file))
        self.random = np.random.default_rng(self.seed)
        for site in self.sites:
            self.parts += self._parts_of(site)

    # ------------------------------------------------------------------ truth
    @cached_property
    def start_ms(self) -> Ints:
        """Starts of all intervals [ms UTC]; the last one ends before `end_ms`."""
        first = day_start(self.end_ms) - self.days * DAY_MS
        return np.arange(first, self.end_ms - GRID_MS + 1, GRID_MS, dtype=np.int64)

    @cached_property
    def hour(self) -> Ints:
        return (self.start_ms // HOUR_MS + 8) % 24

    def _cut(self, level: Level) -> tuple[Ints, Ints]:
        """Start of the period each interval lies in, distinct; and the first interval of each."""
        at = {
            Level.INTERVAL: lambda ms: ms,
            Level.HOUR: lambda ms: ms // HOUR_MS * HOUR_MS,
            Level.DAY: day_start,
            Level.MONTH: month_start,
        }[level]
        period = np.array([at(int(ms)) for ms in self.start_ms], np.int64)
        return np.unique(period, return_index=True)

    def _shape(self, kind: str) -> Floats:
        weekday = (self.start_ms + 8 * HOUR_MS) // DAY_MS % 7  # 0: a Thursday
        weekend = (weekday == 2) | (weekday == 3)
        profile = PLANT if kind == "plant" else BUILDING
        level = profile[self.hour] / 100.0
        return level * np.where(weekend, 0.82 if kind == "plant" else 0.5, 1.0)

    def _noise(self, size: float) -> Floats:
        n = len(self.start_ms)
        slow = np.repeat(self.random.normal(0, size, n // 96 + 2), 96)[:n]
        return np.clip(1 + slow + self.random.normal(0, size, n), 0.05, None)

    def _parts_of(self, site: Mapping[str, str]) -> Iterator[Part]:
        kind, hours = site["kind"], GRID_MS / HOUR_MS
        shape = self._shape(kind)
        edges = [f"{site['site']}-gw1", f"{site['site']}-gw2"][: 2 if kind == "plant" else 1]
        grid = float(site["electricity_kw"]) * shape * self._noise(0.03) * hours
        solar = (
            float(site["pv_kw"])
            * SUN[self.hour]
            / 100
            * np.clip(self._noise(0.25), 0.1, 1.2)
            * hours
        )
        nodes: Sequence[tuple[Any, ...]] = SYSTEMS if kind == "plant" else SUB_ITEMS
        cut = self._outage()
        bought = np.maximum(grid - solar, grid * 0.05)
        yield self._part(
            site,
            "em-main",
            "电力总进线",
            "electricity",
            "boundary_in",
            "",
            "",
            edges[0],
            bought,
            cut,
        )
        if solar.any():
            yield self._part(
                site,
                "em-pv",
                "屋顶光伏",
                "electricity",
                "own_generation",
                "",
                "",
                edges[0],
                grid - bought,
                cut,
            )
        subs = int(site["submeters"])
        weights = np.array([nodes[i % len(nodes)][3] for i in range(subs)])
        count = np.bincount(np.arange(subs) % len(nodes))
        for i in range(subs):
            node = nodes[i % len(nodes)]
            part = weights[i] / count[i % len(nodes)] * grid * self._noise(0.01) * 0.98
            name = f"{node[1]} {i // len(nodes) + 1}"
            yield self._part(
                site,
                f"em-{node[0]}-{i // len(nodes) + 1}",
                name,
                "electricity",
                "sub",
                node[0],
                "em-main",
                edges[-1],
                part,
                cut if len(edges) == 1 else None,
            )
        for column, carrier, id_, name in (
            ("gas_m3h", "natural_gas", "gm-main", "天然气总表"),
            ("coal_th", "raw_coal", "bs-boiler", "入炉煤皮带秤"),
            ("steam_th", "steam", "sm-main", "外购蒸汽"),
            ("water_m3h", "water", "wm-main", "取水总表"),
        ):
            rate = float(site[column])
            if rate:
                amount = rate * shape * self._noise(0.05) * hours
                yield self._part(
                    site,
                    id_,
                    name,
                    carrier,
                    "boundary_in",
                    "heating" if kind == "building" and carrier == "natural_gas" else "",
                    "",
                    edges[-1],
                    amount,
                    None,
                )

    def _outage(self) -> tuple[int, int] | None:
        """Intervals of a time without network that is too long to bridge, for every third site."""
        if self.random.random() > 0.34:
            return None
        begin = int(self.random.integers(96 * 3, len(self.start_ms) - 96 * 3))
        return begin, begin + int(self.random.integers(8, 70))

    def _part(
        self,
        site: Mapping[str, str],
        id_: str,
        name: str,
        carrier: str,
        role: str,
        node: str,
        parent: str,
        edge: str,
        amount: Floats,
        cut: tuple[int, int] | None,
    ) -> Part:
        n = len(self.start_ms)
        micro = np.rint(amount * MILLION).astype(np.int64)
        measured = np.full(n, GRID_MS, np.int64)
        missing, estimated, held = (np.zeros(n, np.int64) for _ in range(3))
        received = np.full(n, 1, np.int64)
        lost = self.random.random(n) < 0.012
        received[lost] = 0
        spread = np.zeros(n, np.bool_)
        if cut is not None:
            spread[cut[0] : cut[1]] = True
        received[spread] = 0
        estimated[spread] = micro[spread]
        estimated_ms = np.where(spread, GRID_MS, 0).astype(np.int64)
        if id_ == "em-main" and site["site"] in {"paper", "school"}:  # what waits for a person
            at = slice(-96 * 5, -96 * 5 + 3)
            held[at], micro[at], missing[at] = micro[at], 0, GRID_MS
            estimated[at], estimated_ms[at] = 0, 0
        measured = measured - estimated_ms - missing
        return Part(
            site["site"],
            id_,
            name,
            carrier,
            role,
            node,
            parent,
            edge,
            micro,
            estimated,
            held,
            measured,
            estimated_ms,
            missing,
            received,
        )

    @cached_property
    def price(self) -> Floats:
        """CNY/kWh by interval."""
        return np.array([PRICES[PERIODS[letter]] for letter in HOURS])[self.hour]

    def measures(self, carrier: str, amount: Ints) -> Floats:
        """Rows: MEASURE_FIELDS of interval amounts."""
        units = amount / MILLION
        rows = np.array([units * factor for factor in FACTORS[carrier]])
        if carrier == "electricity":
            rows[3] = units * self.price
        return rows

    def figures(self, level: Level, part: Part) -> dict[str, NDArray[Any]]:
        """Figures of one meter by field."""
        return self.grouped(level, self.columns_of(part))

    def columns_of(self, part: Part) -> dict[str, NDArray[Any]]:
        n = len(self.start_ms)
        columns: dict[str, NDArray[Any]] = {
            "amount": part.amount,
            "amount_estimated": part.estimated,
            "amount_held": part.held,
            "measured_ms": part.measured_ms,
            "estimated_ms": part.estimated_ms,
            "missing_ms": part.missing_ms,
            "received": part.received,
            "expected": np.ones(n, np.int64),
            "flags": np.where(part.held != 0, 2, 0) | np.where(part.estimated != 0, 8, 0),
        }
        return columns | dict(
            zip(MEASURE_FIELDS, self.measures(part.carrier, part.amount), strict=True)
        )

    def periods(self, part: Part) -> dict[str, dict[str, NDArray[Any]]]:
        """Interval columns of a meter by period of its tariff: other periods' are 0 there."""
        columns, letters = self.columns_of(part), np.array(list(HOURS))[self.hour]
        if part.carrier != "electricity":
            return {"flat": columns}
        return {
            period: {
                name: np.where(letters == letter, column, 0)
                if name.startswith("amount") or name in MEASURE_FIELDS
                else column
                for name, column in columns.items()
            }
            for letter, period in PERIODS.items()
        }

    def grouped(self, level: Level, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Sums of periods; what no interval tells of one, or is still to come, is missing in it."""
        starts, first = self.starts[level]
        sums = {
            name: (np.bitwise_or if name == "flags" else np.add).reduceat(column, first)
            for name, column in columns.items()
        }
        meters = columns["expected"][first]
        lengths = np.array([length_of(level, start) for start in starts.tolist()], np.int64)
        known = sums["measured_ms"] + sums["estimated_ms"]
        return sums | {
            "missing_ms": meters * lengths - known,
            "expected": meters * (lengths // GRID_MS),
        }

    @cached_property
    def starts(self) -> dict[Level, tuple[Ints, Ints]]:
        return {level: self._cut(level) for level in Level}

    def nodes(self) -> Iterator[tuple[tuple[str, ...], dict[str, NDArray[Any]]]]:
        """(site, node, carrier) and the interval columns of every node, site and the region."""
        region: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
        for site in self.sites:
            parts = [part for part in self.parts if part.site == site["site"]]
            of_site: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
            for part in parts:
                columns = self.columns_of(part)
                if part.role == "own_generation":  # no CO2 and no cost: nothing is bought
                    columns["co2_kg"] = np.zeros(len(self.start_ms))
                    columns["cost_cny"] = np.zeros(len(self.start_ms))
                    _add(of_site, (GENERATION, part.carrier), columns)
                    out = {n: (c * 0.04).astype(c.dtype) for n, c in columns.items()}
                    _add(of_site, (OUT, part.carrier), out | {n: columns[n] for n in TIMES})
                if part.sign:
                    _add(of_site, (TOTAL, part.carrier), columns)
                    if part.carrier != "water":
                        _add(
                            of_site,
                            (TOTAL, ENERGY),
                            columns
                            | {
                                "amount": np.zeros(len(self.start_ms), np.int64),
                                "amount_estimated": np.zeros(len(self.start_ms), np.int64),
                                "amount_held": np.zeros(len(self.start_ms), np.int64),
                            },
                        )
                    if part.node:
                        _add(of_site, (part.node, part.carrier), columns)
                if part.role == "sub":
                    _add(of_site, (part.node, part.carrier), columns)
            rest = {n: c.copy() for n, c in of_site[TOTAL, "electricity"].items()}
            for (node, carrier), columns in of_site.items():
                if carrier == "electricity" and not node.startswith("_"):
                    for name in ("amount", *MEASURE_FIELDS):
                        rest[name] = rest[name] - columns[name]
            of_site[UNALLOCATED, "electricity"] = rest
            for (node, carrier), columns in of_site.items():
                yield (site["site"], node, carrier), columns
                if node in {TOTAL, GENERATION, OUT}:
                    _add(region, (node, carrier), columns)
        for (node, carrier), columns in region.items():
            yield (THE_REGION, node, carrier), columns

    # ------------------------------------------------------------------ for tests
    @property
    def alarms(self) -> dict[str, set[str]]:
        """What every rule should fire for at the end of the month."""
        return {
            "edge-offline": {self.edges[5][1]},
            "completeness": set(),
            "budget-pace": self._too_fast(),
            "demand": set(),
            "night-load": self._restless("electricity"),
            "leak": self._restless("water"),
            "balance": set(),
            "proof": set(),
            "clock": {self.edges[9][1]},
            "disk": {self.edges[11][1]},
        }

    def _too_fast(self) -> set[str]:
        """Sites whose last seven days, times 30 / 7, are above the month's budget."""
        recent = self.start_ms >= self.end_ms - 7 * DAY_MS
        found = set()
        for (site, node, carrier), columns in self.nodes():
            if (node, carrier) == (TOTAL, ENERGY) and site != THE_REGION:
                budget = columns["kgce_equivalent"].sum() * 30 / self.days * room_of(site)
                if columns["kgce_equivalent"][recent].sum() * 30 / 7 > budget:
                    found.add(site)
        return found

    def _restless(self, of: str) -> set[str]:
        """Sites whose least hour of the last day is 30 % above the seven days' before."""
        found = set()
        hours, _ = self.starts[Level.HOUR]
        for (site, node, carrier), columns in self.nodes():
            if node == TOTAL and carrier == of and site != THE_REGION:
                hour = self.grouped(Level.HOUR, columns)
                amount, whole = hour["amount"], hour["missing_ms"] == 0
                ages = self.end_ms - hours
                days = (hours + 8 * HOUR_MS) // DAY_MS
                before = whole & (ages <= 8 * DAY_MS) & (ages >= DAY_MS)
                usual = np.mean(
                    [amount[before & (days == d)].min() for d in np.unique(days[before])]
                )
                if amount[whole & (ages <= DAY_MS)].min() > 1.3 * usual:
                    found.add(site)
        return found

    @property
    def edges(self) -> list[tuple[str, str]]:
        return sorted({(part.site, part.edge) for part in self.parts})

    def total(
        self,
        name: str,
        carrier: str = ENERGY,
        site: str = THE_REGION,
        from_ms: int = 0,
        node: str = TOTAL,
    ) -> float:
        """What the ledger knows of a node from a time on."""
        for key, columns in self.nodes():
            if key == (site, node, carrier):
                return float(columns[name][self.start_ms >= from_ms].sum())
        raise KeyError((site, node, carrier))


TIMES = ("measured_ms", "estimated_ms", "missing_ms", "received", "expected", "flags")


def length_of(level: Level, start_ms: int) -> int:
    """Length of a figure [ms]."""
    if level is Level.MONTH:
        return next_month(start_ms) - start_ms
    return {Level.INTERVAL: GRID_MS, Level.HOUR: HOUR_MS, Level.DAY: DAY_MS}[level]


def room_of(site: str) -> float:
    """Budget of a month over what is used in one."""
    return 0.93 + hash_of(site) % 24 / 100


def hash_of(text: str) -> int:
    """Return a number that is the same in every run."""
    value = 7
    for letter in text:
        value = (value * 31 + ord(letter)) % 1_000_003
    return value * 7919


def _add(
    to: dict[tuple[str, str], dict[str, NDArray[Any]]],
    key: tuple[str, str],
    columns: Mapping[str, NDArray[Any]],
) -> None:
    if key not in to:
        to[key] = {name: column.copy() for name, column in columns.items()}
        return
    for name, column in columns.items():
        to[key][name] = to[key][name] | column if name == "flags" else to[key][name] + column
