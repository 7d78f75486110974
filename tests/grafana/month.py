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

from aggregator.batch import IntervalColumns
from aggregator.directory import SeriesKey
from aggregator.points import Points
from aggregator.store.base import Store
from contract.interval import DAY_MS, HOUR_MS, day_start, month_start
from contract.stored import (
    BALANCES,
    BUS_HISTORY,
    EDGE_HISTORY,
    ENERGY,
    GENERATION,
    INFO_TIME_MS,
    INTEGER_FIELDS,
    MEASURE_FIELDS,
    METER_INFO,
    NODE_FIGURES,
    NODE_INFO,
    OUT,
    PLAN,
    PROOF,
    READING,
    THE_REGION,
    TOTAL,
    UNALLOCATED,
    Level,
    choice,
)
from grafana.influxql import VERDICTS

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
PLANT = np.array([70, 68, 66, 66, 68, 72, 80, 90, 98, 100, 99, 96, 86, 94, 99, 100, 98, 92, 88, 86, 84, 80, 76, 72])
BUILDING = np.array([22, 20, 20, 20, 21, 26, 38, 60, 86, 96, 98, 96, 84, 82, 92, 97, 95, 86, 66, 50, 42, 36, 30, 25])
SUN = np.array([0, 0, 0, 0, 0, 0, 2, 14, 38, 62, 80, 90, 92, 84, 66, 42, 16, 2, 0, 0, 0, 0, 0, 0])
SYSTEMS = (("production", "主要生产系统", "Production", 0.67), ("auxiliary", "辅助生产系统", "Auxiliary systems", 0.25), ("offices", "附属生产系统", "Offices and canteen", 0.06))
SUB_ITEMS = (("lighting", "照明插座", "Lighting and sockets", 0.32, "lighting_sockets"), ("hvac", "空调", "Air conditioning", 0.34, "air_conditioning"), ("power", "动力", "Motive power", 0.14, "motive_power"), ("special", "特殊", "Special", 0.19, "special"))


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
    """How far back meters have rows of intervals and hours; the month's are made when all is wanted."""
    sites: list[dict[str, str]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        with (Path(__file__).parent / "sites.csv").open(encoding="utf-8") as file:
            self.sites = list(csv.DictReader(file))
        self._random = np.random.default_rng(self.seed)
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

    def starts(self, level: Level) -> tuple[Ints, Ints]:
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
        slow = np.repeat(self._random.normal(0, size, n // 96 + 2), 96)[:n]
        return np.clip(1 + slow + self._random.normal(0, size, n), 0.05, None)

    def _parts_of(self, site: Mapping[str, str]) -> Iterator[Part]:
        kind, hours = site["kind"], GRID_MS / HOUR_MS
        shape = self._shape(kind)
        edges = [f"{site['site']}-gw1", f"{site['site']}-gw2"][: 2 if kind == "plant" else 1]
        grid = float(site["electricity_kw"]) * shape * self._noise(0.03) * hours
        solar = float(site["pv_kw"]) * SUN[self.hour] / 100 * np.clip(self._noise(0.25), 0.1, 1.2) * hours
        nodes: Sequence[tuple[Any, ...]] = SYSTEMS if kind == "plant" else SUB_ITEMS
        cut = self._outage()
        bought = np.maximum(grid - solar, grid * 0.05)
        yield self._part(site, "em-main", "电力总进线", "electricity", "boundary_in", "", "", edges[0], bought, cut)
        if solar.any():
            yield self._part(site, "em-pv", "屋顶光伏", "electricity", "own_generation", "", "", edges[0], grid - bought, cut)
        subs = int(site["submeters"])
        weights = np.array([nodes[i % len(nodes)][3] for i in range(subs)])
        count = np.bincount(np.arange(subs) % len(nodes))
        for i in range(subs):
            node = nodes[i % len(nodes)]
            part = weights[i] / count[i % len(nodes)] * grid * self._noise(0.01) * 0.98
            name = f"{node[1]} {i // len(nodes) + 1}"
            yield self._part(site, f"em-{node[0]}-{i // len(nodes) + 1}", name, "electricity", "sub", node[0], "em-main", edges[-1], part, cut if len(edges) == 1 else None)
        for column, carrier, id_, name in (("gas_m3h", "natural_gas", "gm-main", "天然气总表"), ("coal_th", "raw_coal", "bs-boiler", "入炉煤皮带秤"), ("steam_th", "steam", "sm-main", "外购蒸汽"), ("water_m3h", "water", "wm-main", "取水总表")):
            rate = float(site[column])
            if rate:
                amount = rate * shape * self._noise(0.05) * hours
                yield self._part(site, id_, name, carrier, "boundary_in", "heating" if kind == "building" and carrier == "natural_gas" else "", "", edges[-1], amount, None)

    def _outage(self) -> tuple[int, int] | None:
        """Intervals of a time without network that is too long to bridge, for every third site."""
        if self._random.random() > 0.34:
            return None
        begin = int(self._random.integers(96 * 3, len(self.start_ms) - 96 * 3))
        return begin, begin + int(self._random.integers(8, 70))

    def _part(self, site: Mapping[str, str], id_: str, name: str, carrier: str, role: str, node: str, parent: str, edge: str, amount: Floats, cut: tuple[int, int] | None) -> Part:
        n = len(self.start_ms)
        micro = np.rint(amount * MILLION).astype(np.int64)
        measured = np.full(n, GRID_MS, np.int64)
        missing, estimated, held = (np.zeros(n, np.int64) for _ in range(3))
        received = np.full(n, 1, np.int64)
        lost = self._random.random(n) < 0.012
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
        return Part(site["site"], id_, name, carrier, role, node, parent, edge, micro, estimated, held, measured, estimated_ms, missing, received)

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
        return self._grouped(level, self._columns(part))

    def _columns(self, part: Part) -> dict[str, NDArray[Any]]:
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
        return columns | dict(zip(MEASURE_FIELDS, self.measures(part.carrier, part.amount), strict=True))

    def _grouped(self, level: Level, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        starts, first = self._starts[level]
        return {
            name: (np.bitwise_or if name == "flags" else np.add).reduceat(column, first)
            for name, column in columns.items()
        }

    @cached_property
    def _starts(self) -> dict[Level, tuple[Ints, Ints]]:
        return {level: self.starts(level) for level in Level}

    def nodes(self) -> Iterator[tuple[tuple[str, ...], dict[str, NDArray[Any]]]]:
        """(site, node, carrier) and the interval columns of every node, site and the region."""
        region: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
        for site in self.sites:
            parts = [part for part in self.parts if part.site == site["site"]]
            of_site: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
            for part in parts:
                columns = self._columns(part)
                if part.role == "own_generation":  # no CO2 and no cost: nothing is bought
                    columns["co2_kg"] = np.zeros(len(self.start_ms))
                    columns["cost_cny"] = np.zeros(len(self.start_ms))
                    _add(of_site, (GENERATION, part.carrier), columns)
                    out = {n: (c * 0.04).astype(c.dtype) for n, c in columns.items()}
                    _add(of_site, (OUT, part.carrier), out | {n: columns[n] for n in _TIMES})
                if part.sign:
                    _add(of_site, (TOTAL, part.carrier), columns)
                    if part.carrier != "water":
                        _add(of_site, (TOTAL, ENERGY), columns | {"amount": np.zeros(len(self.start_ms), np.int64), "amount_estimated": np.zeros(len(self.start_ms), np.int64), "amount_held": np.zeros(len(self.start_ms), np.int64)})
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

    # ------------------------------------------------------------------ into a store
    def write(self, store: Store) -> None:
        """Write everything; `recent_ms` limits the intervals and hours of single meters."""
        self._write_meters(store)
        self._write_nodes(store)
        for points in (*self._infos(), *self._plans(), *self._balances(), *self._proofs(), *self._fleet(), self._verdicts()):
            store.write_points(points)

    def _write_meters(self, store: Store) -> None:
        for level in Level:
            starts, _ = self._starts[level]
            recent = self.recent_ms if level in {Level.INTERVAL, Level.HOUR} else 400 * DAY_MS
            chosen = starts >= self.end_ms - recent
            for begin in range(0, len(self.parts), 40):
                columns: dict[str, list[NDArray[Any]]] = {}
                for part in self.parts[begin : begin + 40]:
                    for channel, share in self._channels(part):
                        figures = {n: c[chosen] for n, c in self._grouped(level, share).items()}
                        key = SeriesKey(REGION, part.site, part.id, channel)
                        index = int(store.directory.series.add_all([key])[0])
                        figures["series"] = np.full(chosen.sum(), index, np.int32)
                        figures["start_ms"] = starts[chosen]
                        for name, column in figures.items():
                            columns.setdefault(name, []).append(column)
                store.write_intervals(level, IntervalColumns(**{n: np.concatenate(c) for n, c in columns.items()}))

    def _channels(self, part: Part) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        columns = self._columns(part)
        yield CHANNELS[part.carrier], columns
        if part.id == "em-main":
            letters = np.array(list(HOURS))[self.hour]
            for letter, period in PERIODS.items():
                of_period = {
                    name: np.where(letters == letter, column, 0) if name.startswith("amount") else column
                    for name, column in columns.items()
                } | dict.fromkeys(MEASURE_FIELDS, np.full(len(self.start_ms), np.nan))
                yield f"energy_import_{period}", of_period

    def _write_nodes(self, store: Store) -> None:
        for (site, node, carrier), columns in self.nodes():
            for level, of in NODE_FIGURES.items():
                if level is Level.INTERVAL and (node != TOTAL or site == THE_REGION):
                    continue
                starts, _ = self._starts[level]
                figures = self._grouped(level, columns)
                keys = [(REGION, site, node, carrier, UNITS[carrier])]
                store.write_points(Points(of, keys, np.zeros(len(starts), np.int64), starts, {n: figures[n] for n in of.fields}))
                if level is Level.DAY:
                    self._write_past_days(store, keys, figures, starts)
                if level is Level.MONTH:
                    self._write_past_months(store, keys, columns)

    def _write_past_days(self, store: Store, keys: list[tuple[str, ...]], figures: Mapping[str, NDArray[Any]], starts: Ints) -> None:
        """The same days a year ago, when 6 % more was used."""
        of = NODE_FIGURES[Level.DAY]
        if keys[0][2] == TOTAL:
            past = {n: (figures[n] * 1.06).astype(figures[n].dtype) if n in {"amount", *MEASURE_FIELDS} else figures[n] for n in of.fields}
            store.write_points(Points(of, keys, np.zeros(len(starts), np.int64), starts - YEAR_MS, past))

    def _write_past_months(self, store: Store, keys: list[tuple[str, ...]], columns: Mapping[str, NDArray[Any]]) -> None:
        """Twelve months before this month's first: the mean day of this month x 30, seasonal."""
        of = NODE_FIGURES[Level.MONTH]
        whole = {n: c.sum() for n, c in columns.items()}
        month, times, factors = month_start(int(self.start_ms[0])), [], []
        for back in range(13):
            times.append(month)
            factors.append(30 / self.days * (1 + 0.12 * np.cos((10 - back) / 6 * np.pi)))
            month = month_start(month - 1)
        factor = np.array(factors)
        past = {n: np.rint(whole[n] * factor).astype(np.int64) if n in INTEGER_FIELDS else whole[n] * factor for n in of.fields}
        store.write_points(Points(of, keys, np.zeros(13, np.int64), np.array(times, np.int64), past))

    def _infos(self) -> Iterator[Points]:
        rows: list[tuple[tuple[str, ...], int, dict[str, Any]]] = []

        def node(site: str, id_: str, zh: str, en: str, kind: str, parent: str = "", **more: Any) -> None:
            fields = {"listed": 1, "name_zh": zh, "name_en": en, "kind": kind, "parent": parent, "choice_zh": choice(zh, site if id_ == TOTAL else id_), "choice_en": choice(en, site if id_ == TOTAL else id_)}
            rows.append(((REGION, site, id_), INFO_TIME_MS, fields | more))

        node(THE_REGION, TOTAL, "章丘演示区", "Zhangqiu demonstration area", "region", latitude=36.72, longitude=117.52)
        rows[-1][2].update(choice_zh=choice("章丘演示区", REGION), choice_en=choice("Zhangqiu demonstration area", REGION))
        for site in self.sites:
            plant = site["kind"] == "plant"
            node(site["site"], TOTAL, site["name_zh"], site["name_en"], "site", sector=site["sector"], floor_area_m2=float(site["floor_area_m2"]), headcount=float(site["headcount"]), latitude=float(site["latitude"]), longitude=float(site["longitude"]), heated_area_m2=None if plant else float(site["floor_area_m2"]) * 0.9, key_unit="statutory" if plant else "", climate_zone="" if plant else "寒冷地区", entity=site["site"], entity_zh=site["name_zh"])
            for one in SYSTEMS if plant else SUB_ITEMS:
                node(site["site"], str(one[0]), str(one[1]), str(one[2]), "system" if plant else str(one[4]), TOTAL)
            if not plant and float(site["gas_m3h"]):
                node(site["site"], "heating", "采暖", "Heating", "system", TOTAL)
        yield Points.of_rows(NODE_INFO, rows)
        meters = [((REGION, part.site, part.id), INFO_TIME_MS, {"listed": 1, "multiplier": 40 if part.role == "boundary_in" else 1, "calibration_due_ms": self.end_ms + (hash_of(part.site + part.id) % 720 - 40) * DAY_MS, "name_zh": part.name, "choice_zh": choice(part.name, part.id), "carrier": part.carrier, "role": part.role, "parent": part.parent, "node": part.node, "serial": f"{hash_of(part.id + part.site) % 10**10:010d}", "model": "acrel-adl400" if part.carrier == "electricity" else "fuxin-gas", "accuracy_class": "0.5S" if part.role != "sub" else "1", "edge": part.edge}) for part in self.parts]
        yield Points.of_rows(METER_INFO, meters)

    def _plans(self) -> Iterator[Points]:
        month, year = month_start(self.end_ms), day_start(self.end_ms)
        while year != month_start(year) or (year + 8 * HOUR_MS) // DAY_MS not in _NEW_YEARS:
            year = month_start(year - 1)
        rows: list[tuple[tuple[str, ...], int, dict[str, Any]]] = []
        whole = {key: columns for key, columns in self.nodes() if key[1] == TOTAL and key[2] == ENERGY}
        for (site, _, _), columns in whole.items():
            tce = float(columns["kgce_equivalent"].sum()) / 1000 * 30 / self.days
            if site == THE_REGION:
                continue
            entity, room = site, _room(site)
            for period, at, value in (("2026-11", month, tce * room), ("2026", year, tce * room * 12)):
                rows.append(((REGION, site, entity, ENERGY, "budget", "tce_equivalent", "", period), at, {"listed": 1, "value": value, "unit": "tce", "level": "", "source": "区发改局 2026"}))
        for site in self.sites:
            if site["kind"] == "building":
                for bound, value in (("constraint", 16.0), ("baseline", 11.5), ("guide", 8.0)):
                    rows.append(((REGION, site["site"], "", ENERGY, "quota", "kgce_per_m2", bound, ""), year, {"listed": 1, "value": value, "unit": "kgce/m2", "level": bound, "source": "公共机构能耗定额 (演示)"}))
            else:
                rows.append(((REGION, site["site"], "", ENERGY, "production", "product", "", "2026-11"), month, {"listed": 1, "value": float(site["electricity_kw"]) * 0.9, "unit": "t", "level": "", "source": "月报"}))
                rows.append(((REGION, site["site"], "", "electricity", "target", "demand_kw", "at_most", "2026"), year, {"listed": 1, "value": float(site["electricity_kw"]) * 1.12, "unit": "kW", "level": "at_most", "source": "供用电合同 (演示)"}))
        yield Points.of_rows(PLAN, rows)

    def _balances(self) -> Iterator[Points]:
        for level, of in BALANCES.items():
            starts, _ = self._starts[level]
            rows = []
            for site in self.sites:
                main = [p for p in self.parts if p.site == site["site"] and p.carrier == "electricity"]
                parent = sum(self.figures(level, p)["amount"] for p in main if p.sign)
                children = sum(self.figures(level, p)["amount"] for p in main if p.role == "sub")
                for i, start in enumerate(starts.tolist()):
                    a, b = int(parent[i]), int(children[i])  # type: ignore[index]
                    rows.append(((REGION, site["site"], TOTAL, "", "electricity", "kWh"), start, {"parent": a, "children": b, "residual": a - b, "limit_ppm": 50_000, "over": int(abs(a - b) > a * 0.05), "without_data": 0}))
            yield Points.of_rows(of, rows)

    def _proofs(self) -> Iterator[Points]:
        starts, _ = self._starts[Level.DAY]
        rows = []
        for part in self.parts:
            day, level = self.figures(Level.DAY, part), 10_000 * MILLION
            for i, start in enumerate(starts.tolist()[:-1]):
                booked, held = int(day["amount"][i]), int(day["amount_held"][i])
                rows.append(((REGION, part.site, part.id, CHANNELS[part.carrier]), start, {"start": level, "end": level + booked + held, "level_start": level, "level_end": level + booked + held, "events": 0, "booked": booked, "held": held, "undetermined": 0, "difference": 0, "closes": 1, "readings": int(day["received"][i]), "received": int(day["received"][i]), "expected": 96, "measured_ms": int(day["measured_ms"][i]), "estimated_ms": int(day["estimated_ms"][i]), "held_ms": int(day["missing_ms"][i]), "missing_ms": 0}))
                level += booked + held
        yield Points.of_rows(PROOF, rows)

    def _fleet(self) -> Iterator[Points]:
        edges = self._edges
        rows, buses = [], []
        first = self.end_ms - 2 * DAY_MS
        for number, (site, edge) in enumerate(edges):
            offline = range(first + DAY_MS + number * HOUR_MS // 8, first + DAY_MS + number * HOUR_MS // 8 + (number % 7) * HOUR_MS // 2)
            meters = sum(part.edge == edge for part in self.parts)
            backlog = 0
            for n, time_ms in enumerate(range(first, self.end_ms, 5 * 60_000)):
                online = int(not (time_ms in offline or (number == 5 and time_ms > self.end_ms - 3 * HOUR_MS)))
                backlog = 0 if online else backlog + meters * 5
                rows.append(((REGION, site, edge), time_ms, {"online": online, "started_ms": first - 40 * DAY_MS, "outbox_depth": backlog, "outbox_batches": backlog // 50, "outbox_bytes": backlog * 30, "outbox_oldest_ms": 0 if online else backlog * 60_000 // meters, "outbox_held_bytes": 260_000_000 + number * 4_000_000, "outbox_limit_bytes": 2_000_000_000, "dropped": 0, "horizon_ms": 2 * DAY_MS if number == 11 else (190 - number) * DAY_MS, "clock_synchronised": 1, "clock_offset_ms": int(np.sin(n / 40 + number) * 35) + (6200 if number == 9 else 0), "certificate_expires_ms": self.end_ms + (400 - number * 9) * DAY_MS, "connects": 1 + n // 300, "sent": n * 10, "acked": n * 10, "resent": n // 90, "quarantined": 1 if number == 3 else 0, "meters": meters, "meters_ok": meters - (number % 9 == 4), "polls": n * meters * 5, "failures": n * (3 if number % 9 == 4 else 0), "timeouts": n * (2 if number % 9 == 4 else 0), "version": "0.1.0" if number % 6 else "0.0.9", "clock_source": "ntp" if number % 5 else "ack", "boot": "a1"}))
                if n % 3 == 0:
                    buses.append(((REGION, site, edge, "rs485-1"), time_ms, {"cycles": n * 5, "missed_cycles": n // (40 if number % 9 == 4 else 400), "cycle_ms": 900 + number * 20 + int(self._random.integers(0, 200)), "kind": "modbus-rtu"}))
        yield Points.of_rows(EDGE_HISTORY, rows)
        yield Points.of_rows(BUS_HISTORY, buses)

    def _verdicts(self) -> Points:
        rules = (("dip", "left_out"), ("peak", "left_out"), ("rollover", "booked"), ("unconfirmed", "held"), ("stuck", "flagged"))
        rows = []
        for i, part in enumerate(self.parts):
            if i % 6 == 0:
                rule, outcome = rules[i // 6 % len(rules)]
                at = self.end_ms - (i * 37 % 700 + 2) * HOUR_MS
                rows.append(((REGION, part.site, part.id, CHANNELS[part.carrier]), at, {"rule": rule, "outcome": outcome, "value": int(part.amount[-1])}))
        return Points.of_rows(VERDICTS, rows)

    def reading_lines(self) -> str:
        """Power of the incoming meters in the last day, as line protocol in ms."""
        lines = []
        for part in self.parts:
            if part.id == "em-main":
                for start, micro in zip(self.start_ms[-96:].tolist(), part.amount[-96:].tolist(), strict=True):
                    tags = f"{READING},edge={part.edge},meter={part.id},outbox=00aa,region={REGION},site={part.site}"
                    lines += [f"{tags} power={micro * 4 / MILLION * (1 + n / 100)!r} {start + n * 300_000}" for n in range(3)]
        return "\n".join(lines)

    # ------------------------------------------------------------------ for tests
    @property
    def alarms(self) -> dict[str, set[str]]:
        """What every rule should fire for at the end of the month."""
        return {
            "edge-offline": {self._edges[5][1]},
            "completeness": set(),
            "budget-pace": self._too_fast(),
            "demand": set(),
            "night-load": self._restless(),
            "balance": set(),
            "proof": set(),
            "clock": {self._edges[9][1]},
            "disk": {self._edges[11][1]},
        }

    def _too_fast(self) -> set[str]:
        """Sites whose last seven days, times 30 / 7, are above the month's budget."""
        recent = self.start_ms >= self.end_ms - 7 * DAY_MS
        found = set()
        for (site, node, carrier), columns in self.nodes():
            if (node, carrier) == (TOTAL, ENERGY) and site != THE_REGION:
                budget = columns["kgce_equivalent"].sum() * 30 / self.days * _room(site)
                if columns["kgce_equivalent"][recent].sum() * 30 / 7 > budget:
                    found.add(site)
        return found

    def _restless(self) -> set[str]:
        """Sites whose least hour of the last day is 30 % above the seven days' before."""
        found = set()
        hours, _ = self._starts[Level.HOUR]
        for (site, node, carrier), columns in self.nodes():
            if node == TOTAL and carrier in {"electricity", "water"} and site != THE_REGION:
                hour = self._grouped(Level.HOUR, columns)
                amount, whole = hour["amount"], hour["missing_ms"] == 0
                ages = self.end_ms - hours
                days = (hours + 8 * HOUR_MS) // DAY_MS
                before = whole & (ages <= 8 * DAY_MS) & (ages >= DAY_MS)
                usual = np.mean([amount[before & (days == d)].min() for d in np.unique(days[before])])
                if amount[whole & (ages <= DAY_MS)].min() > 1.3 * usual:
                    found.add(site)
        return found

    @property
    def _edges(self) -> list[tuple[str, str]]:
        return sorted({(part.site, part.edge) for part in self.parts})

    def total(self, name: str, carrier: str = ENERGY, site: str = THE_REGION, from_ms: int = 0, node: str = TOTAL) -> float:
        """What the ledger knows of a node from a time on."""
        for key, columns in self.nodes():
            if key == (site, node, carrier):
                return float(columns[name][self.start_ms >= from_ms].sum())
        raise KeyError((site, node, carrier))


_TIMES = ("measured_ms", "estimated_ms", "missing_ms", "received", "expected", "flags")
_NEW_YEARS = frozenset({20454, 20819, 21184})  # days since 1970 of 1 January 2026, 2027, 2028


def _room(site: str) -> float:
    """Budget of a month over what is used in one."""
    return 0.93 + hash_of(site) % 24 / 100


def hash_of(text: str) -> int:
    """Return a number that is the same in every run."""
    value = 7
    for letter in text:
        value = (value * 31 + ord(letter)) % 1_000_003
    return value * 7919


def _add(to: dict[tuple[str, str], dict[str, NDArray[Any]]], key: tuple[str, str], columns: Mapping[str, NDArray[Any]]) -> None:
    if key not in to:
        to[key] = {name: column.copy() for name, column in columns.items()}
        return
    for name, column in columns.items():
        to[key][name] = to[key][name] | column if name == "flags" else to[key][name] + column

