"""What stands behind the month: costs by period, factors, what changed, what is missing."""

from collections.abc import Iterator, Mapping
from typing import Any

from aggregator.points import Points
from contract.interval import DAY_MS, HOUR_MS, month_start
from contract.stored import (
    AMOUNT_FIELDS,
    ARRIVAL_DAY,
    COMPLETE,
    COMPLETENESS_DAY,
    FACTOR_INFO,
    INFO_TIME_MS,
    NAMES,
    OPEN_MS,
    QUARANTINE,
    RESTATEMENT,
    TARIFF_DAY,
    THE_REGION,
    TOLD_EVENT,
    UNREGISTERED,
    Level,
)
from tests.grafana.month import REGION, UNITS, YEAR_MS, Month

Row = tuple[tuple[str, ...], int, Mapping[str, Any]]


def grounds(month: Month) -> Iterator[Points]:
    """All of it."""
    yield names(month)
    yield tariffs(month)
    yield factors(month)
    yield restatements(month)
    yield told(month)
    yield from quality(month)


def names(month: Month) -> Points:
    edges = [(site["site"], "") for site in month.sites] + month.edges
    told = {site["site"]: (site["name_zh"], site["name_en"]) for site in month.sites}
    rows: list[Row] = [
        ((REGION, site, edge, *told[site]), INFO_TIME_MS, {"listed": 1}) for site, edge in edges
    ]
    rows.append(((REGION, "paper", "", "旧名纸厂", "Old name"), INFO_TIME_MS, {"listed": 0}))
    return Points.of_rows(NAMES, rows)


def tariffs(month: Month) -> Points:
    starts, _ = month.starts[Level.DAY]
    rows: list[Row] = []
    for part in month.parts:
        if part.role == "boundary_in":
            for period, columns in month.periods(part).items():
                day = month.grouped(Level.DAY, columns)
                tags = (REGION, part.site, part.carrier, UNITS[part.carrier], period)
                for i, start in enumerate(starts.tolist()):
                    amounts = {name: int(day[name][i]) for name in AMOUNT_FIELDS}
                    rows.append((tags, start, amounts | {"cost_cny": float(day["cost_cny"][i])}))
    return Points.of_rows(TARIFF_DAY, rows)


def factors(month: Month) -> Points:
    """Of electricity one that is over before the month, of steam one that is not used."""
    year = month_start(month.end_ms) - 300 * DAY_MS
    long = year - 5 * YEAR_MS
    co2, ncv = "co2_kg", "net_calorific_value"
    fields = ("value", "unit", "source", "valid_from_ms", "valid_to_ms", "verified", "used")
    rest = {"listed": 1, "data_year": 2023, "provisional_from_ms": None}
    table: tuple[tuple[Any, ...], ...] = (
        (THE_REGION, "electricity", co2, "grid-shandong-2023", "0.6410", "kgCO2/kWh",
         "生态环境部公告 2025 年第 47 号", year, OPEN_MS, 1, 1),
        (THE_REGION, "electricity", co2, "grid-shandong-2021", "0.6838", "kgCO2/kWh",
         "生态环境部公告 2024 年第 12 号", year - YEAR_MS, year, 1, 1),
        (THE_REGION, "natural_gas", co2, "gas-2162", "2.1622", "kgCO2/m3",
         "GB/T 2589; GB/T 32151", long, OPEN_MS, 1, 1),
        (THE_REGION, "raw_coal", co2, "coal-1900", "1.900", "tCO2/t", "演示", long, OPEN_MS, 0, 1),
        (THE_REGION, "steam", co2, "steam-4139", "0.4139", "tCO2/t", "演示", long, OPEN_MS, 0, 0),
        ("chemical", "raw_coal", ncv, "化验单 2026-0917", "21.9", "GJ/t", "化验单 2026-0917",
         year, OPEN_MS, 1, 1),
    )  # fmt: skip
    rows: list[Row] = [
        (
            (REGION, site, "", carrier, measure, id_),
            INFO_TIME_MS,
            rest | dict(zip(fields, values, strict=True)),
        )
        for site, carrier, measure, id_, *values in table
    ]
    return Points.of_rows(FACTOR_INFO, rows)


def restatements(month: Month) -> Points:
    """Twelve; of one the figure was not determined before."""
    starts, _ = month.starts[Level.DAY]
    causes = (
        ("paper", "em-main", "energy_import", "event 12", "换表，底数补录"),
        ("school", "em-main", "energy_import", "late readings", ""),
        ("chemical", "bs-boiler", "mass", "factors 2026", "启用实测热值"),
    )
    rows: list[Row] = []
    for i, (site, meter, channel, cause, why) in enumerate(causes * 4):
        day = starts.tolist()[-3 - i]
        fields = {
            "day_ms": day,
            "found_ms": day + 2 * DAY_MS + i * HOUR_MS,
            "from_value": None if i == 4 else 1_150.0 + 81 * i,
            "to_value": 1_200.0 + 70 * i,
            "cause": cause,
            "why": why,
        }
        rows.append(((REGION, site, meter, channel, "co2_kg"), day + i + 1, fields))
    return Points.of_rows(RESTATEMENT, rows)


def told(month: Month) -> Points:
    """What people said of meters of one site; one of it was undone."""
    events = (
        ("exchange", "em-main", "", 9, "换表，检定到期", 1),
        ("clock", "", "paper-gw1", 6, "时钟快 6 秒", 1),
        ("accept", "em-main", "", 4, "新设备投运", 1),
        ("reject", "wm-main", "", 3, "误报", 0),
    )
    rows: list[Row] = []
    for kind, meter, edge, days, reason, listed in events:
        at = month.end_ms - days * DAY_MS
        fields = {"listed": listed, "told_ms": at + HOUR_MS, "author": "计量员", "reason": reason}
        rows.append(((REGION, "paper", meter, "", edge, kind), at, fields))
    return Points.of_rows(TOLD_EVENT, rows)


def quality(month: Month) -> Iterator[Points]:
    """What came late, what missing readings are put down to, and what is in no total."""
    starts, _ = month.starts[Level.DAY]
    arrived, complete = list[Row](), list[Row]()
    for number, (site, edge) in enumerate(month.edges):
        parts = [
            month.figures(Level.DAY, p) for p in month.parts if (p.site, p.edge) == (site, edge)
        ]
        for i, start in enumerate(starts.tolist()):
            readings = 15 * sum(int(day["received"][i]) for day in parts)
            away = any(day["estimated_ms"][i] for day in parts)
            late = readings // (6 if away else 300 + 10 * number)
            fields = {"readings": readings, "late": late, "longest_ms": late * 1_000}
            arrived.append(((REGION, site, edge), start, fields))
    for number, one in enumerate(month.sites):
        parts = [month.figures(Level.DAY, p) for p in month.parts if p.site == one["site"]]
        for i, start in enumerate(starts.tolist()[:-1]):
            received, expected = (
                sum(int(day[name][i]) for day in parts) for name in ("received", "expected")
            )
            missing = expected - received
            causes = ("offline", "unpolled", "unread")
            main = causes[0 if any(d["estimated_ms"][i] for d in parts) else 1 + number % 2]
            rest = dict.fromkeys(causes, 0) | {main: missing}
            slots = {"received": received, "expected": expected, **rest}
            row = slots | {"cause": COMPLETE if received >= 0.97 * expected else main}
            complete.append(((REGION, one["site"]), start, row))
    yield Points.of_rows(ARRIVAL_DAY, arrived)
    yield Points.of_rows(COMPLETENESS_DAY, complete)
    since = month.end_ms - 3 * DAY_MS
    strangers = (
        ("school", "em-new-2", 1, 9, since, month.end_ms, "school-gw1"),
        ("annex", "em-1", 1, 4, since, None, "annex-gw1"),
        ("paper", "wm-old", 0, 1, 0, since, "paper-gw1"),
    )
    names = ("listed", "channels", "first_ms", "last_ms", "edge")
    rows = [
        ((REGION, site, meter), INFO_TIME_MS, dict(zip(names, fields, strict=True)))
        for site, meter, *fields in strangers
    ]
    yield Points.of_rows(UNREGISTERED, rows)
    kept = {"seen": 41, "first_ms": since, "last_ms": month.end_ms}
    senders = (
        ((REGION, "foundry", "foundry-gw1"), 3, "no member 'meta'"),
        ((REGION, "hotel", "hotel-gw1"), 0, "gone"),
        (("", "", ""), 1, "field type conflict"),
    )
    rows = [
        (tags, INFO_TIME_MS, kept | {"payloads": payloads, "reason": reason})
        for tags, payloads, reason in senders
    ]
    yield Points.of_rows(QUARANTINE, rows)
