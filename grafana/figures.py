"""What the dashboards ask for again and again: selections from node figures, names, plans."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.models import dashboard as m

from contract.stored import (
    CARRIER,
    ENERGY,
    INDICATOR,
    KIND,
    METER_INFO,
    NODE,
    NODE_FIGURES,
    NODE_INFO,
    PERIOD,
    PLAN,
    REGION,
    SITE,
    THE_REGION,
    TOTAL,
    Level,
)
from grafana.influxql import (
    ALWAYS,
    RANGE,
    Condition,
    Expression,
    Query,
    chosen,
    differs,
    equal,
    matches,
    other_than,
    raw,
    select,
    share,
    span,
    total,
)
from grafana.looks import Look, Looks
from grafana.palette import CARRIERS, GOOD, QUALITY, UNKNOWN, WATCH
from grafana.transformations import columns, join, of_queries, sorted_by, timeless, transform
from grafana.words import Words

ELECTRICITY = "electricity"
WATER = "water"
FUELS = "natural_gas|raw_coal|washed_coal|coke|fuel_oil|diesel|gasoline|lpg|lng"
BOUGHT = "electricity|heat|steam"
PUBLIC = (
    "机关|办公|医院|学校|院校|商场|宾馆|酒店|场馆|文化|体育"
    "|office|hospital|school|college|hotel|mall"
)
"""Sectors of the register that are public buildings."""
MAIN_CHANNELS = "^(energy_import|volume_standard|mass|volume|heat)$"
"""Of the channels of a meter the ones that its carrier is accounted by."""
RULES = (
    "impossible-time",
    "before-commissioning",
    "clock-not-set",
    "value-range",
    "duplicate-time",
    "spike-and-return",
    "step-above-rating",
    "step-above-half-modulus",
    "backward-step",
    "rollover",
    "stuck-register",
    "long-gap",
)
"""Of the verdicts; a test compares them with the aggregator's."""
EVENTS = (
    "exchange",
    "reset",
    "rollover",
    "correction",
    "clock",
    "accept",
    "reject",
    "replace",
)
"""Kinds of what people say of meters; a test compares them with the aggregator's."""
UNIT_TEXTS = {
    "m3": ("m³", ""),
    "kgce/m2": ("kgce/m²", ""),
    "kWh/m2": ("kWh/m²", ""),
}
METERED_IN = {
    "electricity": "kWh",
    "natural_gas": "m³",
    "water": "m³",
    "compressed_air": "m³",
    "heat": "GJ",
    "steam": "t, GJ",
}
"""Unit a meter of a carrier counts in; the others count in t."""
ROLES = (
    "boundary_in",
    "boundary_out",
    "own_generation",
    "conversion_in",
    "conversion_out",
    "sub",
    "check",
)
DURATIONS = ("measured_ms", "estimated_ms", "missing_ms")
MONTH_BACK = span("31d")
YEAR_BACK = span("365d")

IN_REGION = chosen(REGION)
WHOLE_REGION = (IN_REGION, equal(SITE, THE_REGION))
EVERY_SITE = (IN_REGION, other_than(SITE, THE_REGION))
ONE_SITE = (IN_REGION, chosen(SITE))
OF_TOTAL = equal(NODE, TOTAL)
ALL_ENERGY = equal(CARRIER, ENERGY)
CARRIERS_ONLY = differs(CARRIER, f"^{ENERGY}$")
ELECTRIC = equal(CARRIER, ELECTRICITY)


def figures(
    *where: Condition | tuple[Condition, ...],
    level: Level = Level.DAY,
    time: Sequence[str] = RANGE,
    by: Sequence[str] = (),
    each: str = "",
    **selected: Expression,
) -> Query:
    """Select from node figures."""
    conditions: list[Condition] = []
    for one in where:
        conditions += [one] if isinstance(one, Condition) else one
    return select(selected, NODE_FIGURES[level], *conditions, time=time, by=by, each=each)


def tce(words: Words) -> Expression:
    """Return the sum of comprehensive energy, electricity at its equivalent value (等价值)."""
    return total("kgce_equivalent") / words.unit("tce").divisor


def tce_fine(words: Words) -> Expression:
    """Return the same for a site, with a digit more."""
    return total("kgce_equivalent") / words.unit("tce_fine").divisor


def tco2(words: Words) -> Expression:
    """Return the sum of CO2."""
    return total("co2_kg") / words.unit("tco2").divisor


def electricity(words: Words) -> Expression:
    """Return the sum of electricity."""
    return total("amount") / words.unit("electricity").divisor


def measured() -> Expression:
    """Return which share of the time behind a figure was measured; ask it of `DAYS_OVER`."""
    return share("measured_ms", *DURATIONS)


def site_names(words: Words, *more: Condition, **selected: Expression) -> Query:
    """Return name and sector of each site."""
    named = {"name": raw(words.name_field), **selected}
    return select(
        named, NODE_INFO, *EVERY_SITE, OF_TOTAL, equal("listed", 1), *more, time=ALWAYS, by=(SITE,)
    )


def node_names(words: Words) -> Query:
    """Return the names of the top nodes of the site chosen: those below are parts of them."""
    return select(
        {"name": raw(words.name_field)},
        NODE_INFO, *ONE_SITE, equal("parent", TOTAL), equal("listed", 1),
        time=ALWAYS, by=(NODE,),
    )  # fmt: skip


def meter_names(*where: Condition, by: Sequence[str], **selected: Expression) -> Query:
    """Return what is known of meters."""
    return select(selected, METER_INFO, *where, equal("listed", 1), time=ALWAYS, by=by)


def budget(*where: Condition, period: str, time: Sequence[str], by: Sequence[str] = ()) -> Query:
    """Return budgets [tce] whose period matches."""
    return select(
        {"budget": total("value")},
        PLAN, *where, equal(KIND, "budget"), equal(INDICATOR, "tce_equivalent"), ALL_ENERGY,
        equal("listed", 1), matches(PERIOD, period), time=time, by=by,
    )  # fmt: skip


def carrier_looks(words: Words) -> Looks:
    """Name and colour carriers wherever a series is called by their id."""
    return {id_: Look(name=words[id_], color=color) for id_, color in CARRIERS.items()}


def site_facts(words: Words, field: str) -> Query:
    """Return one number the register holds of the site chosen."""
    return select(
        {"value": raw(field)}, NODE_INFO, *ONE_SITE, OF_TOTAL, equal("listed", 1), time=ALWAYS
    )


def named_courses(tag: str) -> tuple[m.DataTransformerConfig, ...]:
    """Make courses called by name out of a table (A) and the names (B) of what is in its tag.

    The table's number must be `Value`, which Grafana leaves out of a series' name.
    """
    joined = "/^joinByField/"
    return (
        timeless("B"),
        of_queries("A|B", join(tag)),
        of_queries(joined, columns("Time", "name", "Value")),
        of_queries(joined, sorted_by("Time", ascending=True)),
        of_queries(
            joined,
            transform("partitionByValues", fields=["name"], keepFields=False,
                      naming={"asLabels": True}),
        ),
    )  # fmt: skip


def outcome_mappings(words: Words) -> Mapping[str, tuple[str, str]]:
    """Name and colour what became of a reading."""
    return {
        "left_out": (words["left_out"], WATCH),
        "held": (words["held"], QUALITY["held"]),
        "booked": (words["booked"], GOOD),
        "flagged": (words["flagged"], UNKNOWN),
    }


def rule_mappings(words: Words) -> Mapping[str, tuple[str, str]]:
    """Name the rules that judge readings, where we have a word for them."""
    return {rule: (words[f"rule_{rule}"], UNKNOWN) for rule in RULES}
