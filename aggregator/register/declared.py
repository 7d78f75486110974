"""What can be wrong with what is declared beside meters: analyses, deductions, and the like."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from aggregator.register.carriers import CarrierKind, carriers
from aggregator.register.cells import SINCE_EVER_MS
from aggregator.register.dated import Dated, Line, Refuse, since
from aggregator.register.model import DeductionKind, DemandBasis
from contract.channels import catalogue
from contract.interval import month_start
from contract.units import Unit

_NCV_GJ = {Unit.TONNE: (1.0, 150.0), Unit.M3: (0.001, 0.2)}
"""What a fuel may have per unit: outside of it a value stands in kJ, kcal or per 10^4 m3."""


def check_calorific_values(
    lines: Sequence[Line], dated: Mapping[str, Dated], refuse: Refuse
) -> None:
    """Refuse analyses of no meter, out of range for their unit, or two that hold at a time."""
    rows: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        row, since_ms = line.row, since(line.row)
        site, meter, carrier = (row.get(name, "") for name in ("site", "meter", "carrier"))
        if meter:
            _check_meter(line, "meter", dated["meters"], meter, carrier, refuse)
        if carrier and "ncv_gj" in row:
            unit = catalogue()[carriers()[carrier].forward[0]].unit
            low, high = _NCV_GJ[unit]
            if not low <= row["ncv_gj"] <= high:
                reason = f"{row['ncv_gj']:g} GJ/{unit} is not between {low:g} and {high:g}"
                refuse(line, "ncv_gj", reason)
        until_ms = row.get("valid_to_ms")
        if until_ms is not None and until_ms <= since_ms:
            refuse(line, "valid_to", "is not after valid_from")
        rows.setdefault((site, carrier, meter), []).append(line)
    for group in rows.values():
        for before, after in pairwise(sorted(group, key=lambda line: since(line.row))):
            until_ms = before.row.get("valid_to_ms")
            if until_ms is not None and until_ms > since(after.row):
                refuse(after, "valid_from", f"overlaps {_where(before)}, which holds longer")


def check_deductions(lines: Sequence[Line], refuse: Refuse) -> None:
    """Refuse kinds that do not go with the carrier, and a month that its year holds already."""
    years = {_deduction(line, line.row.get("period", "")): line for line in lines}
    for line in lines:
        row = line.row
        carrier = carriers().get(row.get("carrier", ""))
        period = row.get("period", "")
        if carrier is not None and row.get("kind"):
            wanted = {
                DeductionKind.FEEDSTOCK: CarrierKind.FUEL,
                DeductionKind.RENEWABLE_CERTIFICATE: CarrierKind.ELECTRICITY,
            }[DeductionKind(row["kind"])]
            if carrier.kind is not wanted:
                refuse(line, "kind", f"{row['kind']} is for {wanted}, not for {carrier.id}")
        year = years.get(_deduction(line, period[:4])) if len(period) > 4 else None
        if year is not None:
            refuse(line, "period", f"{period} is deducted already in {_where(year)}")


def check_demand_contracts(
    lines: Sequence[Line], dated: Mapping[str, Dated], refuse: Refuse
) -> None:
    """Refuse rows inside a month, of other meters, and a capacity that is missing."""
    for line in lines:
        row, since_ms = line.row, since(line.row)
        meter = row.get("meter", "")
        if meter:
            _check_meter(line, "meter", dated["meters"], meter, "electricity", refuse)
        if since_ms not in {SINCE_EVER_MS, month_start(since_ms)}:
            refuse(line, "valid_from", "is not the first of a month: the charge is a month's")
        if row.get("basis") == DemandBasis.CONTRACTED and row.get("contracted_kva", 0) is None:
            refuse(line, "contracted_kva", f"empty, and the basis is {row['basis']}")


def check_integrated_channels(
    lines: Sequence[Line], dated: Mapping[str, Dated], refuse: Refuse
) -> None:
    """Refuse channels of no meter, and those that are in no total of what the meter counts."""
    for line in lines:
        site, meter, channel = (line.row.get(name, "") for name in ("site", "meter", "channel"))
        if not meter:
            continue
        _check_meter(line, "meter", dated["meters"], meter, "", refuse)
        carrier = carriers().get((dated["meters"].newest(site, meter) or {}).get("carrier", ""))
        if channel and carrier is not None and not carrier.accounted({channel}):
            refuse(line, "channel", f"{channel} is not what is counted of {carrier.id}")


def _check_meter(
    line: Line, column: str, meters: Dated, meter: str, carrier: str, refuse: Refuse
) -> None:
    """Refuse a meter that the site never had, or that counts something else."""
    site = line.row.get("site", "")
    found = meters.newest(site, meter)
    if found is None:
        refuse(line, column, meters.why_not(site, meter))
    elif carrier and found.get("carrier", carrier) != carrier:
        refuse(line, column, f"{meter} counts {found['carrier']}, not {carrier}")


def _deduction(line: Line, period: str) -> tuple[str, ...]:
    names = ("site", "carrier", "kind", "document")
    return (*(str(line.row.get(name, "")) for name in names), period)


def _where(line: Line) -> str:
    return f"line {line.number}" if line.number else "a row of the database"
