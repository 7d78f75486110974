"""Writes what an installation of a district needs: a TOML per edge, the register's tables.

The files are those a person would write by hand for the real plant; the aggregator and the edges
read them without knowing that the meters are simulated.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simulators.devices import load_device
from simulators.district import MODBUS_UNIT, District, Meter, Row, Site, plausible_rate
from simulators.images import meter_address
from simulators.theoretical import theoretical_output

Ports = Mapping[tuple[str, str], int]
"""(site, meter) -> TCP port."""
BACKLOG_COMMIT_S = 900.0
BACKLOG_POLL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often edges poll and send [s]."""

    poll_s: float = 5.0
    commit_s: float = 2.0
    state_s: float = 2.0


DEMO_TARIFFS = {
    "electricity": "demo-electricity",
    "natural_gas": "demo-gas",
    "raw_coal": "demo-coal",
    "steam": "demo-steam",
    "water": "demo-water",
}
"""Carrier -> the aggregator's built-in tariff labelled 演示."""


def write_register(district: District, folder: Path, played: tuple[int, int] | None = None) -> None:
    """Write the aggregator's register folder; each site is a legal person of its own.

    played: from when to when [UTC ms, whole minutes] PV plants tell their theoretical output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(
        folder / "sites.csv",
        "site region name_zh name_en sector floor_area_m2 headcount latitude longitude tariff "
        "entity",
        (
            [
                site.id,
                district.region,
                site.name_zh,
                site.name_en,
                site.sector,
                site.floor_area_m2,
                site.headcount,
                site.latitude,
                site.longitude,
                " ".join(_tariffs(site)),
                site.id,
            ]
            for site in district.sites
        ),
    )
    _write_csv(
        folder / "entities.csv",
        "entity name_zh name_en credit_code key_unit note",
        ([site.id, site.name_zh, site.name_en, "", "", ""] for site in district.sites),
    )
    _write_csv(
        folder / "meters.csv",
        "site meter carrier role parent multiplier edge valid_from note node",
        (
            [
                site.id,
                meter.id,
                meter.carrier,
                meter.role,
                meter.parent,
                meter.multiplier,
                meter.edge,
                "",
                meter.note,
                meter.node,
            ]
            for site in district.sites
            for meter in site.meters
        ),
    )
    _write_csv(
        folder / "nodes.csv",
        "site node parent name_zh name_en sub_item valid_from",
        (
            [site.id, node.id, node.parent, node.name_zh, node.name_en, node.sub_item, ""]
            for site in district.sites
            for node in site.nodes
        ),
    )
    sites = {site.id for site in district.sites}
    tables = dict(district.register)
    if played and (told := list(theoretical_output(district, *played))):
        tables["production"] = [*tables.get("production", ()), *told]
    for table, rows in tables.items():
        if own := [row for row in rows if _of(row) <= sites]:
            _write_rows(folder / f"{table}.csv", own)


@dataclass(frozen=True, slots=True)
class EdgeFiles:
    """One edge's configuration files.

    backlog_config: the same gateway and outbox, committing rarely, for a run through past time;
    followed by no steps it polls on the hour only, so that it sends what it has and little else.
    """

    site: str
    edge: str
    config: Path
    backlog_config: Path


def write_edges(
    district: District,
    ports: Ports,
    broker: tuple[str, int],
    folder: Path,
    pace: Pace,
    tls: Path | None = None,
) -> list[EdgeFiles]:
    """Write the configurations of every edge; its outbox goes beside them.

    `tls`: folder that holds, or will, ca.pem, cert.pem and key.pem of each edge under its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backlog = replace(pace, poll_s=BACKLOG_POLL_S, commit_s=BACKLOG_COMMIT_S)
    written: list[EdgeFiles] = []
    for site in district.sites:
        for edge in site.edges:
            live_path, backlog_path = folder / f"{edge}.toml", folder / f"{edge}.backlog.toml"
            for path, chosen in ((live_path, pace), (backlog_path, backlog)):
                text = _edge_text(district, site, edge, ports, broker, folder / edge, chosen)
                if tls is not None:
                    text = text.replace("[uplink]\n", f"[uplink]\n{_tls_text(tls / edge)}")
                path.write_text(text, "utf-8")
            written.append(EdgeFiles(site.id, edge, live_path, backlog_path))
    return written


def _edge_text(
    district: District,
    site: Site,
    edge: str,
    ports: Ports,
    broker: tuple[str, int],
    data_dir: Path,
    pace: Pace,
) -> str:
    lines = [
        f"# {site.name_en}, gateway {edge}",
        "[edge]",
        f"region = {_text(district.region)}",
        f"site = {_text(site.id)}",
        f"id = {_text(edge)}",
        f"data_dir = {_text(str(data_dir.resolve()))}",
        "",
        "[uplink]",
        f"host = {_text(broker[0])}",
        f"port = {broker[1]}",
        f"commit_period_s = {pace.commit_s}",
        f"state_period_s = {pace.state_s}",
        "",
        "[poll]",
        f"period_s = {pace.poll_s}",
        "",
    ]
    own = [
        (number, meter) for number, meter in enumerate(site.meters, start=1) if meter.edge == edge
    ]
    for bus, kind in (("lan", "modbus-tcp"), ("field", "tcp")):
        rows = [
            line
            for number, meter in own
            if _bus_kind(meter) == kind
            for line in _meter_lines(site, number, meter, ports)
        ]
        if rows:
            head = ["[[bus]]", f"id = {_text(bus)}", f"kind = {_text(kind)}", 'host = "127.0.0.1"']
            lines += [*head, "timeout_s = 2.0", *rows]
    return "\n".join(lines) + "\n"


def _bus_kind(meter: Meter) -> str:
    return "modbus-tcp" if load_device(meter.model).protocol == "modbus" else "tcp"


def _meter_lines(site: Site, number: int, meter: Meter, ports: Ports) -> list[str]:
    address = meter_address(load_device(meter.model).protocol, site.id, meter.id)
    return [
        "",
        "[[bus.meter]]",
        f"id = {_text(meter.id)}",
        f"model = {_text(meter.model)}",
        f"port = {ports[site.id, meter.id]}",
        f"address = {_text(address)}" if address else f"unit = {MODBUS_UNIT}",
        f"serial = {_text(f'{site.id}-{number:04d}')}",
        f"rating = {plausible_rate(site, meter)}",
    ]


def _tls_text(folder: Path) -> str:
    files = {"tls_ca": "ca.pem", "tls_certificate": "cert.pem", "tls_key": "key.pem"}
    return "".join(f"{key} = {_text(str(folder / name))}\n" for key, name in files.items())


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_csv(path: Path, columns: str, rows: Iterable[list[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns.split())
        writer.writerows(rows)


def _of(row: Row) -> set[object]:
    """The sites a row of the register speaks of."""
    names = {row.get("site"), row.get("entity")}
    return (names | {row["scope_id"]} if row.get("scope") == "site" else names) - {None}


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Rows leave out what is empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    _write_csv(path, " ".join(columns), ([row.get(name, "") for name in columns] for row in rows))


def _tariffs(site: Site) -> list[str]:
    bought = {meter.carrier for meter in site.meters if meter.role == "boundary_in"}
    return sorted(DEMO_TARIFFS[carrier] for carrier in bought & DEMO_TARIFFS.keys())
