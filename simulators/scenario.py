"""A scenario as data: a district, a time range, what happens in it, and what a person should see.

`load_scenario` reads and checks a file of `simulators/scenarios`. What happens to a flow becomes
part of the district, so that the meters serve it and their truth counts it; what happens to a
gateway is for whoever runs the gateways.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from simulators.district import (
    District,
    DistrictError,
    Load,
    Row,
    Site,
    find_district,
    load_district,
)


class ScenarioError(ValueError):
    """The scenario file cannot be used; the message names file, place and reason."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A gateway that does not read between two moments. until_ms: None = never again."""

    edge: str
    from_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played, and what must be seen.

    district: with the scenario's sites only, and its events among their loads. step_s: from one
    reading to the next. expect: checks and their parameters, see simulators/demo/checks.py.
    """

    id: str
    name_zh: str
    name_en: str
    about: str
    district: District
    begin_ms: int
    end_ms: int
    step_s: int
    absences: tuple[Absence, ...]
    expect: tuple[Row, ...]

    def spans(self, edge: str) -> list[tuple[int, int]]:
        """The times in which an edge reads its meters [ms, both included]."""
        spans, begin_ms = [], self.begin_ms
        for absence in self.absences:
            if absence.edge == edge:
                spans.append((begin_ms, absence.from_ms))
                if absence.until_ms is None:
                    return spans
                begin_ms = absence.until_ms
        return [*spans, (begin_ms, self.end_ms)]

    @property
    def lost(self) -> Mapping[str, int]:
        """Edges that never come back, and since when [ms]."""
        return {one.edge: one.from_ms for one in self.absences if one.until_ms is None}


def scenarios_folder() -> Path:
    """Where the scenarios that come with the product lie."""
    return Path(__file__).resolve().parent / "scenarios"


def find_scenario(name_or_path: str) -> Path:
    """A scenario file by its path, or by the name of one that comes with the product."""
    named = scenarios_folder() / f"{name_or_path}.toml"
    if named.is_file() or Path(name_or_path).suffix != ".toml":
        return named
    return Path(name_or_path)


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario; ScenarioError names the first thing that is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return _scenario(path.stem, table)
    except FileNotFoundError as error:
        known = ", ".join(sorted(one.stem for one in scenarios_folder().glob("*.toml")))
        raise ScenarioError(f"no scenario {path.stem!r}; known: {known}") from error
    except KeyError as error:
        raise ScenarioError(f"{path.name}: key {error} is missing") from error
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ScenarioError(f"{path.name}: {error}") from error


def _scenario(name: str, table: dict[str, object]) -> Scenario:
    if table.pop("format") != 1:
        raise ValueError("format is not 1")
    whole = load_district(find_district(str(table.pop("district"))))
    sites = table.pop("sites", [site.id for site in whole.sites])
    begin_ms, end_ms = (time_ms(table.pop(key)) for key in ("begin", "end"))
    step_s = int(str(table.pop("step_s")))
    if not begin_ms < end_ms or step_s < 1 or (end_ms - begin_ms) % (step_s * 1000):
        raise ValueError("begin to end must be a whole number of steps")
    district = whole.only(_list(sites))
    more = table.pop("register", {})
    if not isinstance(more, Mapping):
        raise ValueError("register must hold tables and their rows")
    district = replace(district, register={**district.register, **more})
    absences: list[Absence] = []
    for event in _list(table.pop("event", [])):
        kind = event.pop("kind")
        if kind == "flow":
            district = _with_flow(district, event)
        elif kind in {"gap", "stolen"}:
            absences.append(_absence(district, kind, event))
        else:
            raise ValueError(f"unknown event {kind!r}; known: flow, gap, stolen")
    return Scenario(
        id=name,
        district=district,
        begin_ms=begin_ms,
        end_ms=end_ms,
        step_s=step_s,
        absences=tuple(sorted(absences, key=lambda absence: absence.from_ms)),
        expect=tuple(_list(table.pop("expect"))),
        **table,  # type: ignore[arg-type]  # unknown and missing keys are TypeErrors, reported
    )


def time_ms(value: object) -> int:
    """A moment of a scenario file [UTC ms]; ValueError when it is not one with its offset."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{value} is not a time with its offset")
    return int(value.timestamp() * 1000)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} must be a list")
    return value


def _with_flow(district: District, event: dict[str, object]) -> District:
    """The district with one more load, counted by the meters that are named."""
    site_id, meters = event.pop("site"), _list(event.pop("meters"))
    start, end = event.pop("start"), event.pop("end")
    load = Load(**event, shape="between", parameters={"start": start, "end": end})  # type: ignore[arg-type]

    def changed(site: Site) -> Site:
        known = {meter.id for meter in site.meters}
        for name in meters:
            if name not in known:
                raise DistrictError(f"{site.id}: no meter {name!r} for {load.id!r}")
        counting = tuple(
            replace(meter, plus=(*meter.plus, load.id)) if meter.id in meters else meter
            for meter in site.meters
        )
        return replace(site, loads=(*site.loads, load), meters=counting)

    if site_id not in {site.id for site in district.sites}:
        raise DistrictError(f"{district.id} has no site {site_id!r} for {load.id!r}")
    sites = tuple(changed(site) if site.id == site_id else site for site in district.sites)
    return replace(district, sites=sites)


def _absence(district: District, kind: str, event: dict[str, object]) -> Absence:
    edge = str(event.pop("edge"))
    if edge not in {edge for site in district.sites for edge in site.edges}:
        raise ValueError(f"no edge {edge!r} in the scenario's sites")
    from_ms = time_ms(event.pop("start"))
    until_ms = None if kind == "stolen" else time_ms(event.pop("end"))
    if event:
        raise ValueError(f"event {kind}: unknown {', '.join(event)}")
    return Absence(edge, from_ms, until_ms)
