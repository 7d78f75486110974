"""Loads factor tables from TOML folders and refuses what is unclear.

Errors: `FactorTableError` holds every problem of all files at once, each naming file, row and key.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from aggregator.ledger.factors import (
    DENOMINATORS,
    NUMERATORS,
    Basis,
    Burning,
    Factor,
    FactorLibrary,
    FactorSet,
    FactorTableError,
    Measure,
)
from aggregator.ledger.rows import (
    NUMBER,
    Kind,
    Problem,
    day_ms,
    is_a,
    kind_name,
    region_fault,
    shape_faults,
    tiling_faults,
)

_SETS_FILE = "sets.toml"


def tables_folder() -> Path:
    """Return the folder of the tables shipped with the aggregator."""
    return Path(__file__).parent / "tables"


@cache
def builtin_library() -> FactorLibrary:
    """Return the library of the shipped tables alone."""
    return load_library([tables_folder()])


def load_library(folders: Iterable[Path]) -> FactorLibrary:
    """Load every *.toml of the folders there are; FactorTableError lists all problems."""
    problems: list[Problem] = []
    rows: dict[str, Factor] = {}
    set_files: list[tuple[str, Mapping[str, Any]]] = []
    for path in sorted(path for folder in folders for path in folder.glob("*.toml")):
        try:
            table = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            problems.append(Problem(path.name, "", "", f"not TOML: {error}"))
            continue
        if path.name == _SETS_FILE:
            set_files.append((path.name, table))
        else:
            _load_series(path, table, rows, problems)
    _check_tiling(rows.values(), problems)
    sets: dict[str, FactorSet] = {}
    for name, contents in set_files:
        _load_sets(name, contents, rows, sets, problems)
    if problems:
        raise FactorTableError(problems)
    return FactorLibrary(rows, sets)


_HEADER_KEYS = {"title", "edition", "source"}
_ROW_KEYS: Mapping[str, Kind] = {
    "id": str,
    "item": str,
    "measure": str,
    "value": NUMBER,
    "unit": str,
    "data_year": int,
    "basis": str,
    "valid_from": date,
    "valid_to": date,
    "region": str,
    "edition": str,
    "source": str,
    "verified": bool,
    "note": str,
    "ncv_gj": NUMBER,
    "carbon_tc_per_tj": NUMBER,
    "oxidised": NUMBER,
}
_BURNING = ("ncv_gj", "carbon_tc_per_tj", "oxidised")
_OPTIONAL_KEYS = frozenset({"valid_to", "note", *_BURNING})
_PRINTED = Decimal("0.002")
"""How far a printed factor may be from the product of its three numbers, by rounding."""


def _load_series(
    path: Path, table: Mapping[str, Any], rows: dict[str, Factor], problems: list[Problem]
) -> None:
    header = table.get("series", {})
    for where, unknown in (
        ("", {*table} - {"series", "factor"}),
        ("[series]", {*header} - _HEADER_KEYS),
    ):
        problems.extend(Problem(path.name, where, key, "unknown key") for key in sorted(unknown))
    shared: dict[str, Any] = {key: header[key] for key in ("edition", "source") if key in header}
    for number, raw in enumerate(table.get("factor", []), start=1):
        where = f"row {number}" + (f" ({raw['id']})" if isinstance(raw.get("id"), str) else "")
        found: list[Problem] = []
        row = _load_row(path, where, {**shared, **raw}, found)
        if row is not None and row.id in rows:
            reason = f"duplicate of a row in {rows[row.id].series}.toml"
            found.append(Problem(path.name, where, "id", reason))
        elif row is not None:
            rows[row.id] = row
        problems.extend(found)


def _load_row(
    path: Path, where: str, raw: Mapping[str, Any], problems: list[Problem]
) -> Factor | None:
    faults = list(shape_faults(raw, _ROW_KEYS, _OPTIONAL_KEYS)) or list(_content_faults(raw))
    if faults:
        problems.extend(Problem(path.name, where, key, reason) for key, reason in faults)
        return None
    end = raw.get("valid_to")
    return Factor(
        id=raw["id"],
        series=path.stem,
        item=raw["item"],
        measure=Measure(raw["measure"]),
        value=Decimal(raw["value"]),
        unit=raw["unit"],
        data_year=raw["data_year"],
        basis=Basis(raw["basis"]),
        valid_from_ms=day_ms(raw["valid_from"]),
        valid_to_ms=None if end is None else day_ms(end),
        region=raw["region"],
        edition=raw["edition"],
        source=raw["source"],
        verified=raw["verified"],
        note=raw.get("note", ""),
        burning=_burning(raw),
    )


def _burning(raw: Mapping[str, Any]) -> Burning | None:
    return Burning(*(Decimal(raw[key]) for key in _BURNING)) if _BURNING[0] in raw else None


def _content_faults(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for values of the right type that mean nothing."""
    if raw["measure"] not in set(Measure):
        yield "measure", f"unknown {raw['measure']!r}; one of {', '.join(Measure)}"
    top, _, bottom = raw["unit"].partition("/")
    if top not in NUMERATORS or bottom not in DENOMINATORS:
        units = f"{' '.join(NUMERATORS)} per {' '.join(DENOMINATORS)}"
        yield "unit", f"unknown {raw['unit']!r}; known: {units}"
    elif raw["measure"] in set(Measure) and NUMERATORS[top][0] != Measure(raw["measure"]).mass_unit:
        yield "unit", f"{raw['unit']!r} does not give {raw['measure']}"
    value = Decimal(raw["value"])
    if not (value.is_finite() and value >= 0):
        yield "value", f"{value} is not a finite number of at least 0"
    if reason := region_fault(raw["region"]):
        yield "region", reason
    yield from _burning_faults(raw)
    yield from _validity_faults(raw)


def _burning_faults(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = [key for key in _BURNING if key in raw]
    if not given:
        return
    for key in _BURNING:
        if key not in raw:
            yield key, f"missing beside {given[0]}"
        elif not (Decimal(raw[key]).is_finite() and raw[key] > 0):
            yield key, f"{raw[key]} is not a number above 0"
    top, _, bottom = raw["unit"].partition("/")
    if raw["measure"] != Measure.CO2_KG or DENOMINATORS.get(bottom, ("",))[0] not in {"t", "m3"}:
        yield given[0], "is for CO2 of a fuel by t or m3"
    elif len(given) == len(_BURNING) and top in NUMERATORS:
        burning = _burning(raw)
        printed = Decimal(raw["value"]) * NUMERATORS[top][1] * DENOMINATORS[bottom][1]
        product = Decimal(0) if burning is None else burning.co2_kg(burning.ncv_gj)
        if abs(product - printed) > _PRINTED * printed:
            yield "value", f"{raw['value']} is not ncv_gj x carbon x oxidised x 44/12: {product:g}"


def _validity_faults(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    year, start, end = raw["data_year"], raw["valid_from"], raw.get("valid_to")
    if raw["basis"] not in set(Basis):
        yield "basis", f"unknown {raw['basis']!r}; one of {', '.join(Basis)}"
    if not 1990 <= year <= 2100:
        yield "data_year", f"{year} is not a year"
    elif raw["basis"] == Basis.YEARLY:
        if start != date(year, 1, 1):
            yield "valid_from", f"a yearly row of {year} starts on {year}-01-01, not {start}"
        if end is not None and end != date(year + 1, 1, 1):
            yield "valid_to", f"a yearly row of {year} ends on {year + 1}-01-01, not {end}"
    if end is not None and end <= start:
        yield "valid_to", f"{end} is not after valid_from {start}"


def _check_tiling(rows: Iterable[Factor], problems: list[Problem]) -> None:
    """Within a series, rows of one thing must meet end to start; only the last may be open."""
    groups: dict[tuple[str, ...], list[Factor]] = defaultdict(list)
    for row in rows:
        groups[row.series, row.item, row.measure, row.channel_unit, row.region].append(row)
    for group in groups.values():
        for row, reason in tiling_faults(group):
            where = f"row ({row.id})"
            problems.append(Problem(f"{row.series}.toml", where, "valid_from", reason))


_SET_KEYS: Mapping[str, type] = {
    "name": str,
    "title": str,
    "title_zh": str,
    "series": list,
    "allow_unverified": bool,
    "not_counted": dict,
}


def _load_sets(
    file: str,
    table: Mapping[str, Any],
    rows: Mapping[str, Factor],
    sets: dict[str, FactorSet],
    problems: list[Problem],
) -> None:
    known = {row.series for row in rows.values()}
    problems.extend(Problem(file, "", key, "unknown key") for key in sorted({*table} - {"set"}))
    for number, raw in enumerate(table.get("set", []), start=1):
        where = f"set {number} ({raw.get('name', '?')})"
        found = [Problem(file, where, key, "unknown key") for key in {*raw} - {*_SET_KEYS}]
        for key, kind in _SET_KEYS.items():
            if key not in raw:
                found.append(Problem(file, where, key, "missing"))
            elif not is_a(raw[key], kind):
                found.append(Problem(file, where, key, f"not a {kind_name(kind)}"))
        if found:
            problems.extend(found)
            continue
        problems.extend(
            Problem(file, where, "series", f"no usable series {name!r}")
            for name in raw["series"]
            if name not in known
        )
        if raw["name"] in sets:
            problems.append(Problem(file, where, "name", "duplicate"))
        chosen = {row.id: row for row in rows.values() if row.series in raw["series"]}
        owners: dict[tuple[str, ...], str] = {}
        for row in chosen.values():
            thing = (row.item, row.channel_unit, row.measure, row.region)
            owner = owners.setdefault(thing, row.series)
            if owner != row.series:
                reason = f"{owner} and {row.series} both answer for {' '.join(thing)}"
                problems.append(Problem(file, where, "series", reason))
        sets[raw["name"]] = FactorSet(
            raw["name"],
            raw["title"],
            raw["title_zh"],
            raw["allow_unverified"],
            dict(raw["not_counted"]),
            chosen,
        )
