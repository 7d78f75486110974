"""The register folder of a fleet: what the aggregator imports, so that every meter is known."""

from __future__ import annotations

from pathlib import Path

from simulators.fleet.messages import meter_id
from simulators.fleet.plan import EDGE, Plan

_SITES = "site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude,tariff"
_METERS = "site,meter,carrier,role,parent,multiplier,edge,valid_from,note"


def write_register(plan: Plan, folder: Path) -> None:
    """Write sites.csv and meters.csv: every meter a boundary one with a multiplier of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sites.csv").open("w", encoding="utf-8") as sites:
        sites.write(f"{_SITES}\n")
        for edge in range(plan.edges):
            name = f"{plan.address(edge).site},{plan.region},车队 {edge},Fleet {edge}"
            sites.write(f"{name},load test,,,,,demo-electricity\n")
    with (folder / "meters.csv").open("w", encoding="utf-8") as meters:
        meters.write(f"{_METERS}\n")
        for edge in range(plan.edges):
            site = plan.address(edge).site
            meters.writelines(
                f"{site},{meter_id(meter)},electricity,boundary_in,,"
                f"{plan.multiplier(edge, meter)},{EDGE},,\n"
                for meter in range(plan.meters_per_edge)
            )
