"""A month of networks and plant whose losses are known, beside the month of enterprises.

Sites of their own, in no total of the region: only figures of single carriers are written, with
the balances of their networks, through the project's store as `seeded` does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.points import Points
from aggregator.store.base import Store
from contract.interval import month_start, next_month
from contract.stored import (
    BALANCES,
    ENERGY,
    GENERATION,
    INFO_TIME_MS,
    MEASURE_FIELDS,
    NODE_FIGURES,
    NODE_INFO,
    OUT,
    PLAN,
    TOTAL,
    Level,
    choice,
)
from tests.grafana.month import GRID_MS, MILLION, REGION, SUN, Month

Ints = NDArray[np.int64]
UNITS = {"electricity": "kWh", "heat": "GJ", "water": "m3"}
PERFORMANCE = 0.81
"""Generated over theoretical, of every month."""


@dataclass(frozen=True)
class Plant:
    """A site: its sector, and what it has of each (node, carrier) per interval [micro-units].

    network: (meter, carrier, entered, delivered, limit_ppm).
    """

    id: str
    zh: str
    en: str
    sector: str
    nodes: Mapping[tuple[str, str], Ints]
    names: Mapping[str, tuple[str, str]]
    network: tuple[str, str, Ints, Ints, int] | None = None


def plants(month: Month) -> list[Plant]:
    """All of them, from the month's own times; no draw of the month's is used up."""
    random = np.random.default_rng(31)
    hours = GRID_MS / 3_600_000
    hour = month.hour

    def micro(rate: Any) -> Ints:
        noise = 1 + random.normal(0, 0.02, len(hour))
        return np.rint(np.asarray(rate) * noise * hours * MILLION).astype(np.int64)

    heat = micro(40 + 12 * np.cos((hour - 6) / 12 * np.pi))
    water = micro(300 + 150 * np.cos((hour - 19) / 12 * np.pi))
    leaked = micro(np.full(len(hour), 22.0))
    sun = micro(10_000 * SUN[hour] / 100)
    charged = micro(np.where((hour < 4) | (hour == 12), 50_000.0, 400.0))
    given = np.roll(charged, 96 // 4) * 86 // 100
    racks = micro(np.full(len(hour), 3200.0))
    cooling = racks * 19 // 100
    whole = racks + cooling + racks * 6 // 100
    return [
        Plant(
            "heatnet", "示范热力公司", "Demonstration Heat Network", "热力公司",
            {}, {}, ("hm-plant", "heat", heat, heat * 91 // 100, 100_000),
        ),
        Plant(
            "waterworks", "示范自来水公司", "Demonstration Waterworks", "供水",
            {(TOTAL, "water"): water + leaked}, {},
            ("wm-plant", "water", water + leaked, water, 78_000),
        ),
        Plant(
            "pvplant", "示范光伏电站", "Demonstration PV Plant", "光伏发电",
            {(GENERATION, "electricity"): sun, (OUT, "electricity"): sun}, {},
        ),
        Plant(
            "battery", "示范储能电站", "Demonstration Battery", "储能",
            {(TOTAL, "electricity"): charged - given, (OUT, "electricity"): given}, {},
        ),
        Plant(
            "computing", "示范算力中心", "Demonstration Computing Centre", "数据中心",
            {(TOTAL, "electricity"): whole, ("it", "electricity"): racks,
             ("cooling", "electricity"): cooling},
            {"it": ("IT 设备", "IT equipment"), "cooling": ("制冷", "Cooling")},
        ),
    ]  # fmt: skip


def write(month: Month, store: Store) -> None:
    """Write the figures, balances, names and the theoretical output of PV."""
    for plant in plants(month):
        for points in (*_figures(month, plant), *_balances(month, plant), _infos(plant)):
            store.write_points(points)
    store.write_points(_theoretical(month))


def _summed(month: Month, level: Level, amount: Ints) -> Ints:
    sums: Ints = np.add.reduceat(amount, month.starts[level][1])
    return sums


def _figures(month: Month, plant: Plant) -> Iterator[Points]:
    n = len(month.start_ms)
    for (node, carrier), amount in plant.nodes.items():
        columns: dict[str, NDArray[Any]] = dict.fromkeys(
            ("amount_estimated", "amount_held", "estimated_ms", "missing_ms", "flags"),
            np.zeros(n, np.int64),
        )
        columns |= {
            "amount": amount,
            "measured_ms": np.full(n, GRID_MS, np.int64),
            "received": np.ones(n, np.int64),
            "expected": np.ones(n, np.int64),
        }
        columns |= dict.fromkeys(MEASURE_FIELDS, np.full(n, np.nan))
        for level in (Level.HOUR, Level.DAY, Level.MONTH):
            of, (starts, _) = NODE_FIGURES[level], month.starts[level]
            figures = month.grouped(level, columns)
            key = [(REGION, plant.id, node, carrier, UNITS[carrier])]
            yield Points(
                of, key, np.zeros(len(starts), np.int64), starts,
                {name: figures[name] for name in of.fields},
            )  # fmt: skip


def _balances(month: Month, plant: Plant) -> Iterator[Points]:
    if plant.network is None:
        return
    meter, carrier, entered, delivered, limit_ppm = plant.network
    for level, of in BALANCES.items():
        starts, _ = month.starts[level]
        both = {
            name: _summed(month, level, of_one)
            for name, of_one in (("parent", entered), ("children", delivered))
        }
        rows = []
        for i, start in enumerate(starts.tolist()):
            parent, children = int(both["parent"][i]), int(both["children"][i])
            fields = {
                "parent": parent,
                "children": children,
                "residual": parent - children,
                "limit_ppm": limit_ppm,
                "over": int((parent - children) * MILLION > parent * limit_ppm),
                "without_data": 0,
            }
            rows.append(((REGION, plant.id, "", meter, carrier, UNITS[carrier]), start, fields))
        yield Points.of_rows(of, rows)


def _infos(plant: Plant) -> Points:
    names = {TOTAL: (plant.zh, plant.en), **plant.names}
    rows = []
    for node, (zh, en) in names.items():
        site = node == TOTAL
        fields = {
            "listed": 1, "name_zh": zh, "name_en": en, "kind": "site" if site else "system",
            "parent": "" if site else TOTAL, "sector": plant.sector if site else "",
            "choice_zh": choice(zh, plant.id if site else node),
            "choice_en": choice(en, plant.id if site else node),
        }  # fmt: skip
        rows.append(((REGION, plant.id, node), INFO_TIME_MS, fields))
    return Points.of_rows(NODE_INFO, rows)


def _theoretical(month: Month) -> Points:
    """What the PV plant should have made, for the months that are over."""
    (made,) = (p.nodes[GENERATION, "electricity"] for p in plants(month) if p.id == "pvplant")
    starts, _ = month.starts[Level.MONTH]
    sums = _summed(month, Level.MONTH, made)
    rows = []
    for start, total in zip(starts.tolist(), sums.tolist(), strict=True):
        if next_month(month_start(start)) <= month.end_ms:
            fields = {
                "listed": 1, "value": total / MILLION / PERFORMANCE, "unit": "kWh", "level": "",
                "source": "电站月报 (演示)",
            }  # fmt: skip
            what = (ENERGY, "production", "pv-theoretical")
            rows.append(((REGION, "pvplant", "", *what, "", "month"), start, fields))
    return Points.of_rows(PLAN, rows)
