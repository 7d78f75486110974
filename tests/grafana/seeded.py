"""Writes a simulated month into a store, through the project's own code, as the product would."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import IntervalColumns
from aggregator.directory import SeriesKey
from aggregator.points import Points, Tags
from aggregator.store.base import Store
from contract.interval import DAY_MS, HOUR_MS, day_start, month_start
from contract.stored import (
    BALANCES,
    BUS_HISTORY,
    EDGE_HISTORY,
    ENERGY,
    INFO_TIME_MS,
    INTEGER_FIELDS,
    MEASURE_FIELDS,
    METER_INFO,
    NODE_FIGURES,
    NODE_INFO,
    PLAN,
    PROOF,
    PROOF_DAY,
    READING,
    THE_REGION,
    TOTAL,
    Level,
    choice,
)
from grafana.influxql import VERDICTS
from tests.grafana import networks
from tests.grafana.grounds import grounds
from tests.grafana.month import (
    CHANNELS,
    MILLION,
    REGION,
    SUB_ITEMS,
    SYSTEMS,
    UNITS,
    YEAR_MS,
    Month,
    Part,
    hash_of,
    room_of,
)

NEW_YEARS = frozenset({20454, 20819, 21184})  # days since 1970 of 1 January 2026, 2027, 2028


def write(month: Month, store: Store) -> None:
    """Write everything; `recent_ms` limits the intervals and hours of single meters."""
    write_meters(month, store)
    write_nodes(month, store)
    networks.write(month, store)
    for points in (
        *infos(month),
        *plans(month),
        *balances(month),
        *proofs(month),
        *fleet(month),
        verdicts(month),
        *grounds(month),
    ):
        store.write_points(points)


def write_meters(month: Month, store: Store) -> None:
    for level in Level:
        starts, _ = month.starts[level]
        recent = month.recent_ms if level in {Level.INTERVAL, Level.HOUR} else 400 * DAY_MS
        chosen = starts >= month.end_ms - recent
        for begin in range(0, len(month.parts), 40):
            columns: dict[str, list[NDArray[Any]]] = {}
            for part in month.parts[begin : begin + 40]:
                for channel, share in channels(month, part):
                    figures = {n: c[chosen] for n, c in month.grouped(level, share).items()}
                    key = SeriesKey(REGION, part.site, part.id, channel)
                    index = int(store.directory.series.add_all([key])[0])
                    figures["series"] = np.full(chosen.sum(), index, np.int32)
                    figures["start_ms"] = starts[chosen]
                    for name, column in figures.items():
                        columns.setdefault(name, []).append(column)
            store.write_intervals(
                level, IntervalColumns(**{n: np.concatenate(c) for n, c in columns.items()})
            )


def channels(month: Month, part: Part) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    columns = month.columns_of(part)
    yield CHANNELS[part.carrier], columns
    if part.id == "em-main":
        for period, of_period in month.periods(part).items():
            unpriced = dict.fromkeys(MEASURE_FIELDS, np.full(len(month.start_ms), np.nan))
            yield f"energy_import_{period}", of_period | unpriced


def write_nodes(month: Month, store: Store) -> None:
    for (site, node, carrier), columns in month.nodes():
        for level, of in NODE_FIGURES.items():
            if level is Level.INTERVAL and (node != TOTAL or site == THE_REGION):
                continue
            starts, _ = month.starts[level]
            figures = month.grouped(level, columns)
            keys = [(REGION, site, node, carrier, UNITS[carrier])]
            store.write_points(
                Points(
                    of,
                    keys,
                    np.zeros(len(starts), np.int64),
                    starts,
                    {n: figures[n] for n in of.fields},
                )
            )
            if level is Level.DAY:
                write_past_days(month, store, keys, figures, starts)
            if level is Level.MONTH:
                write_past_months(month, store, keys, columns)


def write_past_days(
    month: Month,
    store: Store,
    keys: Sequence[Tags],
    figures: Mapping[str, NDArray[Any]],
    starts: NDArray[np.int64],
) -> None:
    """The same days a year ago, when 6 % more was used."""
    of = NODE_FIGURES[Level.DAY]
    if keys[0][2] == TOTAL:
        past = {
            n: (figures[n] * 1.06).astype(figures[n].dtype)
            if n in {"amount", *MEASURE_FIELDS}
            else figures[n]
            for n in of.fields
        }
        store.write_points(
            Points(of, keys, np.zeros(len(starts), np.int64), starts - YEAR_MS, past)
        )


def write_past_months(
    month: Month, store: Store, keys: Sequence[Tags], columns: Mapping[str, NDArray[Any]]
) -> None:
    """Twelve months before this month's first: the mean day of this month x 30, seasonal."""
    of = NODE_FIGURES[Level.MONTH]
    whole = {n: c.sum() for n, c in columns.items()}
    at_ms, times, factors = month_start(int(month.start_ms[0])), [], []
    for back in range(13):
        times.append(at_ms)
        factors.append(30 / month.days * (1 + 0.12 * np.cos((10 - back) / 6 * np.pi)))
        at_ms = month_start(at_ms - 1)
    factor = np.array(factors)
    past = {
        n: np.rint(whole[n] * factor).astype(np.int64) if n in INTEGER_FIELDS else whole[n] * factor
        for n in of.fields
    }
    store.write_points(Points(of, keys, np.zeros(13, np.int64), np.array(times, np.int64), past))


def infos(month: Month) -> Iterator[Points]:
    rows: list[tuple[tuple[str, ...], int, dict[str, Any]]] = []

    def node(
        site: str, id_: str, zh: str, en: str, kind: str, parent: str = "", **more: Any
    ) -> None:
        fields = {
            "listed": 1,
            "name_zh": zh,
            "name_en": en,
            "kind": kind,
            "parent": parent,
            "choice_zh": choice(zh, site if id_ == TOTAL else id_),
            "choice_en": choice(en, site if id_ == TOTAL else id_),
        }
        rows.append(((REGION, site, id_), INFO_TIME_MS, fields | more))

    node(
        THE_REGION,
        TOTAL,
        "章丘演示区",
        "Zhangqiu demonstration area",
        "region",
        latitude=36.72,
        longitude=117.52,
    )
    rows[-1][2].update(
        choice_zh=choice("章丘演示区", REGION),
        choice_en=choice("Zhangqiu demonstration area", REGION),
    )
    for site in month.sites:
        plant = site["kind"] == "plant"
        node(
            site["site"],
            TOTAL,
            site["name_zh"],
            site["name_en"],
            "site",
            sector=site["sector"],
            floor_area_m2=float(site["floor_area_m2"]),
            headcount=float(site["headcount"]),
            latitude=float(site["latitude"]),
            longitude=float(site["longitude"]),
            heated_area_m2=None if plant else float(site["floor_area_m2"]) * 0.9,
            key_unit="statutory" if plant else "",
            climate_zone="" if plant else "寒冷地区",
            entity=site["site"],
            entity_zh=site["name_zh"],
        )
        for id_, zh, en, _, kind in SYSTEMS if plant else SUB_ITEMS:
            node(site["site"], id_, zh, en, kind, TOTAL)
        if not plant and float(site["gas_m3h"]):
            node(site["site"], "heating", "采暖", "Heating", "system", TOTAL)
    yield Points.of_rows(NODE_INFO, rows)
    meters = [
        (
            (REGION, part.site, part.id),
            INFO_TIME_MS,
            {
                "listed": 1,
                "multiplier": 40 if part.role == "boundary_in" else 1,
                "calibration_due_ms": month.end_ms
                + (hash_of(part.site + part.id) % 720 - 40) * DAY_MS,
                "name_zh": part.name,
                "choice_zh": choice(part.name, part.id),
                "carrier": part.carrier,
                "role": part.role,
                "parent": part.parent,
                "node": part.node,
                "serial": f"{hash_of(part.id + part.site) % 10**10:010d}",
                "model": "acrel-adl400" if part.carrier == "electricity" else "fuxin-gas",
                "accuracy_class": "0.5S" if part.role != "sub" else "1",
                "edge": part.edge,
            },
        )
        for part in month.parts
    ]
    yield Points.of_rows(METER_INFO, meters)


def plans(month: Month) -> Iterator[Points]:
    begin, year = month_start(month.end_ms), day_start(month.end_ms)
    while year != month_start(year) or (year + 8 * HOUR_MS) // DAY_MS not in NEW_YEARS:
        year = month_start(year - 1)
    rows: list[tuple[tuple[str, ...], int, dict[str, Any]]] = []
    whole = {key: columns for key, columns in month.nodes() if key[1] == TOTAL and key[2] == ENERGY}
    for (site_id, _, _), columns in whole.items():
        tce = float(columns["kgce_equivalent"].sum()) / 1000 * 30 / month.days
        if site_id == THE_REGION:
            continue
        room = room_of(site_id)
        for period, at, value in (
            ("2026-11", begin, tce * room),
            ("2026", year, tce * room * 12),
        ):
            rows.append(
                (
                    (REGION, site_id, site_id, ENERGY, "budget", "tce_equivalent", "", period),
                    at,
                    {
                        "listed": 1,
                        "value": value,
                        "unit": "tce",
                        "level": "",
                        "source": "区发改局 2026",
                    },
                )
            )
    for site in month.sites:
        if site["kind"] == "building":
            for bound, value in (("constraint", 16.0), ("baseline", 11.5), ("guide", 8.0)):
                rows.append(
                    (
                        (REGION, site["site"], "", ENERGY, "quota", "kgce_per_m2", bound, ""),
                        year,
                        {
                            "listed": 1,
                            "value": value,
                            "unit": "kgce/m2",
                            "level": bound,
                            "source": "公共机构能耗定额 (演示)",
                        },
                    )
                )
        else:
            rows.append(
                (
                    (REGION, site["site"], "", ENERGY, "production", "product", "", "2026-11"),
                    begin,
                    {
                        "listed": 1,
                        "value": float(site["electricity_kw"]) * 0.9,
                        "unit": "t",
                        "level": "",
                        "source": "月报",
                    },
                )
            )
            rows.append(
                (
                    (
                        REGION,
                        site["site"],
                        "",
                        "electricity",
                        "target",
                        "demand_kw",
                        "at_most",
                        "2026",
                    ),
                    year,
                    {
                        "listed": 1,
                        "value": float(site["electricity_kw"]) * 1.12,
                        "unit": "kW",
                        "level": "at_most",
                        "source": "供用电合同 (演示)",
                    },
                )
            )
    yield Points.of_rows(PLAN, rows)


def balances(month: Month) -> Iterator[Points]:
    for level, of in BALANCES.items():
        starts, _ = month.starts[level]
        rows = []
        for site in month.sites:
            main = [p for p in month.parts if p.site == site["site"] and p.carrier == "electricity"]
            parent = sum(month.figures(level, p)["amount"] for p in main if p.sign)
            children = sum(month.figures(level, p)["amount"] for p in main if p.role == "sub")
            for i, start in enumerate(starts.tolist()):
                a, b = int(parent[i]), int(children[i])  # type: ignore[index]
                rows.append(
                    (
                        (REGION, site["site"], TOTAL, "", "electricity", "kWh"),
                        start,
                        {
                            "parent": a,
                            "children": b,
                            "residual": a - b,
                            "limit_ppm": 50_000,
                            "over": int(abs(a - b) > a * 0.05),
                            "without_data": 0,
                        },
                    )
                )
        yield Points.of_rows(of, rows)


def proofs(month: Month) -> Iterator[Points]:
    starts, _ = month.starts[Level.DAY]
    rows = []
    for part in month.parts:
        day, level = month.figures(Level.DAY, part), 10_000 * MILLION
        for i, start in enumerate(starts.tolist()[:-1]):
            booked, held = int(day["amount"][i]), int(day["amount_held"][i])
            rows.append(
                (
                    (REGION, part.site, part.id, CHANNELS[part.carrier]),
                    start,
                    {
                        "start": level,
                        "end": level + booked + held,
                        "level_start": level,
                        "level_end": level + booked + held,
                        "events": 0,
                        "booked": booked,
                        "held": held,
                        "difference": 0,
                        "closes": 1,
                        "readings": int(day["received"][i]),
                        "received": int(day["received"][i]),
                        "expected": 96,
                        "measured_ms": int(day["measured_ms"][i]),
                        "estimated_ms": int(day["estimated_ms"][i]),
                        "held_ms": int(day["missing_ms"][i]),
                        "missing_ms": 0,
                    },
                )
            )
            level += booked + held
    yield Points.of_rows(PROOF, rows)
    summary = {"due": 0, "channels": 8, "not_closing": 0}
    days = starts.tolist()[:-1]
    proved = [((REGION, site["site"]), day, summary) for site in month.sites for day in days]
    yield Points.of_rows(PROOF_DAY, proved)


def fleet(month: Month) -> Iterator[Points]:
    edges = month.edges
    rows, buses = [], []
    first = month.end_ms - 2 * DAY_MS
    for number, (site, edge) in enumerate(edges):
        offline = range(
            first + DAY_MS + number * HOUR_MS // 8,
            first + DAY_MS + number * HOUR_MS // 8 + (number % 7) * HOUR_MS // 2,
        )
        meters = sum(part.edge == edge for part in month.parts)
        backlog = 0
        for n, time_ms in enumerate(range(first, month.end_ms, 5 * 60_000)):
            online = int(
                not (time_ms in offline or (number == 5 and time_ms > month.end_ms - 3 * HOUR_MS))
            )
            backlog = 0 if online else backlog + meters * 5
            rows.append(
                (
                    (REGION, site, edge),
                    time_ms,
                    {
                        "online": online,
                        "started_ms": first - 40 * DAY_MS,
                        "outbox_depth": backlog,
                        "outbox_batches": backlog // 50,
                        "outbox_bytes": backlog * 30,
                        "outbox_oldest_ms": 0 if online else backlog * 60_000 // meters,
                        "outbox_held_bytes": 260_000_000 + number * 4_000_000,
                        "outbox_limit_bytes": 2_000_000_000,
                        "dropped": 0,
                        "horizon_ms": None
                        if not online
                        else 2 * DAY_MS
                        if number == 11
                        else (190 - number) * DAY_MS,
                        "clock_synchronised": 1,
                        "clock_offset_ms": int(np.sin(n / 40 + number) * 35)
                        + (6200 if number == 9 else 0)
                        if online
                        else None,
                        "certificate_expires_ms": month.end_ms + (400 - number * 9) * DAY_MS,
                        "connects": 1 + n // 300,
                        "sent": n * 10,
                        "acked": n * 10,
                        "resent": n // 90,
                        "quarantined": 1 if number == 3 else 0,
                        "meters": meters,
                        "meters_ok": meters - (number % 9 == 4),
                        "polls": n * meters * 5,
                        "failures": n * (3 if number % 9 == 4 else 0),
                        "timeouts": n * (2 if number % 9 == 4 else 0),
                        "version": "0.1.0" if number % 6 else "0.0.9",
                        "clock_source": "ntp" if number % 5 else "ack",
                        "boot": "a1",
                    },
                )
            )
            if n % 3 == 0:
                buses.append(
                    (
                        (REGION, site, edge, "rs485-1"),
                        time_ms,
                        {
                            "cycles": n * 5,
                            "missed_cycles": n // (40 if number % 9 == 4 else 400),
                            "cycle_ms": 900 + number * 20 + int(month.random.integers(0, 200)),
                            "kind": "modbus-rtu",
                        },
                    )
                )
    yield Points.of_rows(EDGE_HISTORY, rows)
    yield Points.of_rows(BUS_HISTORY, buses)


def verdicts(month: Month) -> Points:
    rules = (
        ("spike-and-return", "left_out"),
        ("rollover", "booked"),
        ("step-above-rating", "held"),
        ("stuck-register", "flagged"),
        ("long-gap", "flagged"),
    )
    rows = []
    for i, part in enumerate(month.parts):
        if i % 6 == 0:
            rule, outcome = rules[i // 6 % len(rules)]
            at = month.end_ms - (i * 37 % 700 + 2) * HOUR_MS
            rows.append(
                (
                    (REGION, part.site, part.id, CHANNELS[part.carrier]),
                    at,
                    {"rule": rule, "outcome": outcome, "value": int(part.amount[-1])},
                )
            )
        if part.held.any():
            at = int(month.start_ms[np.flatnonzero(part.held)[0]])
            row = {"rule": "step-above-rating", "outcome": "held", "value": int(part.held.max())}
            rows.append(((REGION, part.site, part.id, CHANNELS[part.carrier]), at, row))
    return Points.of_rows(VERDICTS, rows)


def reading_lines(month: Month) -> str:
    """Power of the incoming meters in the last day, as line protocol in ms."""
    lines = []
    for part in month.parts:
        if part.id == "em-main":
            for start, micro in zip(
                month.start_ms[-96:].tolist(), part.amount[-96:].tolist(), strict=True
            ):
                tags = f"{READING},edge={part.edge},meter={part.id},outbox=00aa"
                tags += f",region={REGION},site={part.site}"
                lines += [
                    f"{tags} power={micro * 4 / MILLION * (1 + n / 100)!r} {start + n * 300_000}"
                    for n in range(3)
                ]
    return "\n".join(lines)
