"""What no single cell shows: doubled keys, ids that lead nowhere, trees with a cycle.

Rows come as `Line`s; a cell that could not be read is absent from its row, and what depends on it
is not checked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from aggregator.register.dated import Dated, Line, Refuse, check_carriers, since, way_text
from aggregator.register.declared import (
    check_calorific_values,
    check_deductions,
    check_demand_contracts,
    check_integrated_channels,
)
from aggregator.register.model import Indicator, Measure
from aggregator.register.problems import Problem
from aggregator.register.tables import DATED, TABLES, Row, Table
from aggregator.register.virtual import check_virtual


def check(tables: Mapping[str, Sequence[Line]]) -> list[Problem]:
    """Return every problem between the rows of all tables; an absent table has no rows."""
    problems: list[Problem] = []
    dated = {name: Dated(name, tables.get(name, ())) for name in (*DATED, "virtual_meters")}
    for name, table in TABLES.items():
        lines = tables.get(name, ())
        refuse = partial(_refuse, problems, table)
        _check_keys(table, lines, refuse)
        _check_references(table, lines, tables, refuse)
    _check_regions(tables.get("regions", ()), partial(_refuse, problems, TABLES["regions"]))
    for name in DATED:
        refuse = partial(_refuse, problems, TABLES[name])
        _check_tree(dated[name], tables.get(name, ()), refuse)
    _check_meters(dated, tables.get("meters", ()), partial(_refuse, problems, TABLES["meters"]))
    for name, check_rows in _METER_CHECKS.items():
        check_rows(tables.get(name, ()), dated, partial(_refuse, problems, TABLES[name]))
    for name, own in _OWN_CHECKS.items():
        own(tables.get(name, ()), partial(_refuse, problems, TABLES[name]))
    known = {name: _ids(name, tables.get(name, ())) for name in ("regions", "entities", "sites")}
    _check_scopes(tables.get("targets", ()), known, partial(_refuse, problems, TABLES["targets"]))
    return problems


def _refuse(problems: list[Problem], table: Table, line: Line, column: str, reason: str) -> None:
    if not line.number:
        reason = f"{_key_text(table, line.row)}: {reason}"
    problems.append(Problem(line.file, line.number, column, reason))


def _key(table: Table, row: Row) -> tuple[object, ...] | None:
    """Return the row's key; None when one of its cells could not be read."""
    names = [table.column(name).stored_as for name in table.key]
    return tuple(row[name] for name in names) if all(name in row for name in names) else None


def _key_text(table: Table, row: Row) -> str:
    columns = [table.column(name) for name in table.key]
    texts = (c.cell.write(row[c.stored_as]) for c in columns if c.stored_as in row)
    return " ".join(text for text in texts if text)


def _ids(name: str, lines: Iterable[Line]) -> set[str]:
    column = TABLES[name].id
    return {line.row[column] for line in lines if column in line.row}


def _check_keys(table: Table, lines: Iterable[Line], refuse: Refuse) -> None:
    first: dict[tuple[object, ...], int] = {}
    for line in lines:
        key = _key(table, line.row)
        if key is not None and first.setdefault(key, line.number) != line.number:
            reason = f"{_key_text(table, line.row)} stands already in line {first[key]}"
            refuse(line, table.id, reason)


def _check_references(
    table: Table, lines: Iterable[Line], tables: Mapping[str, Sequence[Line]], refuse: Refuse
) -> None:
    for column in table.columns:
        if not column.to:
            continue
        known = _ids(column.to, tables.get(column.to, ()))
        if column.to == "regions" and not known:
            continue  # nobody keeps a list of them
        for line in lines:
            target = line.row.get(column.name)
            if target and target not in known:
                refuse(line, column.name, f"{target} is not in {column.to}.csv")


def _check_regions(lines: Iterable[Line], refuse: Refuse) -> None:
    parents = {line.row.get("region"): line.row.get("parent") for line in lines}
    for line in lines:
        start = line.row.get("region")
        way, region = [start], parents.get(start)
        while region and region not in way:
            way.append(region)
            region = parents.get(region)
        if start and region == start:
            refuse(line, "parent", f"is its own ancestor: {way_text([*way, start])}")


def _check_tree(dated: Dated, lines: Iterable[Line], refuse: Refuse) -> None:
    for line in lines:
        parent = line.row.get("parent")
        if not parent:
            continue
        site = line.row.get("site", "")
        if dated.at(site, parent, since(line.row)) is None:
            refuse(line, "parent", dated.why_not(site, parent))
        elif cycle := dated.cycle(line.row):
            refuse(line, "parent", f"is its own ancestor: {way_text(cycle)}")


def _check_meters(dated: Mapping[str, Dated], lines: Iterable[Line], refuse: Refuse) -> None:
    check_carriers(lines, refuse)
    for line in lines:
        row = line.row
        site, since_ms = row.get("site", ""), since(row)
        parent = dated["meters"].at(site, row.get("parent", ""), since_ms)
        carriers = (row.get("carrier"), parent.get("carrier") if parent else None)
        if all(carriers) and carriers[0] != carriers[1]:
            reason = f"{row['parent']} counts {carriers[1]}, not {carriers[0]}"
            refuse(line, "parent", reason)
        node = row.get("node")
        if node and dated["nodes"].at(site, node, since_ms) is None:
            refuse(line, "node", dated["nodes"].why_not(site, node))
        due = row.get("calibration_due")
        if due and due < row.get("calibrated_on", ""):
            refuse(line, "calibration_due", f"{due} is before the calibration")


def _check_production(lines: Iterable[Line], refuse: Refuse) -> None:
    years = {
        (line.row.get("site"), line.row.get("product"), line.row["period"]): line.number
        for line in lines
        if len(line.row.get("period", "")) == len("2026")
    }
    for line in lines:
        period = line.row.get("period", "")
        year = years.get((line.row.get("site"), line.row.get("product"), period[:4]))
        if len(period) == len("2026-01") and year is not None:
            refuse(line, "period", f"{period} counts already in {period[:4]}, line {year}")


def _check_quotas(lines: Iterable[Line], refuse: Refuse) -> None:
    names = ("constraint_value", "baseline_value", "guide_value")
    for line in lines:
        row = line.row
        if all(name in row for name in names):
            told = [(name, row[name]) for name in names if row[name] is not None]
            if not told:
                refuse(line, names[0], "no value at all")
            for (above, high), (below, low) in pairwise(told):
                if low > high:
                    refuse(line, below, f"{low:g} is above {above} {high:g}")
        if "indicator" in row and "product" in row:
            of_product = row["indicator"] == Indicator.ENERGY_PER_PRODUCT
            if of_product and not row["product"]:
                refuse(line, "product", f"empty, and the indicator is {row['indicator']}")
            if row["product"] and not of_product:
                refuse(line, "product", f"filled, and the indicator is {row['indicator']}")


def _check_budgets(lines: Iterable[Line], refuse: Refuse) -> None:
    for line in lines:
        amount = line.row.get("measure") == Measure.AMOUNT
        if amount and line.row.get("carrier") == "":
            refuse(line, "carrier", "empty, and an amount needs its carrier's unit")


def _check_profiles(lines: Sequence[Line], dated: Mapping[str, Dated], refuse: Refuse) -> None:
    """Refuse rows of profiles.csv that are of nothing, or of two things at once."""
    for line in lines:
        row = line.row
        if "meter" not in row or "carrier" not in row:
            continue
        site, meter, carrier = row.get("site", ""), row["meter"], row["carrier"]
        if bool(meter) == bool(carrier):
            refuse(line, "meter", "either a meter or a carrier, not both or none")
        elif meter and dated["meters"].at(site, meter, since(row)) is None:
            refuse(line, "meter", dated["meters"].why_not(site, meter))


_OWN_CHECKS: Mapping[str, Callable[[Sequence[Line], Refuse], None]] = {
    "production": _check_production,
    "quotas": _check_quotas,
    "budgets": _check_budgets,
    "deductions": check_deductions,
}
_METER_CHECKS: Mapping[str, Callable[[Sequence[Line], Mapping[str, Dated], Refuse], None]] = {
    "virtual_meters": check_virtual,
    "calorific_values": check_calorific_values,
    "demand_contracts": check_demand_contracts,
    "profiles": _check_profiles,
    "integrated_channels": check_integrated_channels,
}


def _check_scopes(lines: Iterable[Line], known: Mapping[str, set[str]], refuse: Refuse) -> None:
    for line in lines:
        scope, id_ = line.row.get("scope"), line.row.get("scope_id")
        if not scope or not id_:
            continue
        table = {"region": "regions", "entity": "entities", "site": "sites"}[scope]
        if table == "regions" and not known[table]:
            try:
                TABLES["regions"].column("region").cell.read(id_)
            except ValueError as error:
                refuse(line, "scope_id", str(error))
        elif id_ not in known[table]:
            refuse(line, "scope_id", f"{id_} is not in {table}.csv")
