"""Public building 公共建筑: use per area and head, sub-items, heating apart, place in its class."""

from contract.stored import (
    BOUND,
    INDICATOR,
    KIND,
    NODE,
    NODE_INFO,
    PLAN,
    SITE,
    TOTAL,
    UNALLOCATED,
    Level,
)
from grafana import figures as f
from grafana.board import Board, Row, address, building_variable, region_variable
from grafana.influxql import (
    ALWAYS,
    DAY,
    DAYS_OVER,
    Names,
    equal,
    matches,
    raw,
    select,
    total,
)
from grafana.looks import SHARE_STEPS, Look
from grafana.palette import CARRIERS, ENERGY, LEVELS, SUB_ITEMS, UNKNOWN
from grafana.panels import House
from grafana.transformations import (
    columns,
    compared,
    join,
    letters,
    ordered,
    ratio,
    sorted_by,
    with_a,
)
from grafana.words import Words

HEATING = "heating"
"""Id of the node that holds a building's heating; heat from a network counts by its carrier."""

IN_NODES = matches(NODE, "^[^_]")


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("building", words)
    rows = (_numbers(house), _parts(house), _class(house))
    return Board("building", rows, (region_variable(words), building_variable(words)))


def _numbers(house: House) -> Row:
    words, unit = house.words, house.words.unit
    electric = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ELECTRIC, amount=total("amount") / unit("kwh_m2").divisor
    )
    area, heads = f.site_facts(words, "floor_area_m2"), f.site_facts(words, "headcount")
    year = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ALL_ENERGY, level=Level.MONTH, time=f.YEAR_BACK,
        kgce=total("kgce_equivalent"),
    )  # fmt: skip
    heating = f.figures(
        f.ONE_SITE, equal(NODE, HEATING), level=Level.MONTH, time=f.YEAR_BACK,
        kgce=total("kgce_equivalent"),
    )  # fmt: skip
    water = f.figures(
        f.ONE_SITE, f.OF_TOTAL, equal("carrier", f.WATER),
        amount=total("amount") / unit("m3_head").divisor,
    )  # fmt: skip
    heated = f.site_facts(words, "heated_area_m2")
    sure = f.figures(f.ONE_SITE, f.OF_TOTAL, f.ALL_ENERGY, time=DAYS_OVER, measured=f.measured())
    color = CARRIERS[f.ELECTRICITY]
    return Row(
        4,
        (
            (
                house.number(
                    "kwh_m2", *compared("$A / $B", electric, area), unit=unit("kwh_m2"),
                    color=color,
                ),
                4,
            ),
            (
                house.number(
                    "kwh_head", *compared("$A / $B", electric, heads), unit=unit("kwh_head"),
                    color=color,
                ),
                4,
            ),
            (
                house.number(
                    "other_use", *compared("($A - $B) / $C", year, heating, area),
                    unit=unit("kgce_m2"), color=ENERGY,
                ),
                4,
            ),
            (
                house.number(
                    "heating", *compared("$A / $B", heating, heated), unit=unit("kgce_m2"),
                    color=CARRIERS["heat"],
                ),
                4,
            ),
            (
                house.number(
                    "water", *compared("$A / $B", water, heads), unit=unit("m3_head"),
                    color=CARRIERS[f.WATER],
                ),
                4,
            ),
            (house.number("measured", sure, unit=unit("share"), steps=SHARE_STEPS), 4),
        ),
    )  # fmt: skip


def _parts(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    nodes = (f.ONE_SITE, f.ELECTRIC)
    kinds = select(
        {"name": raw("kind")},
        NODE_INFO, *f.ONE_SITE, equal("parent", TOTAL), equal("listed", 1),
        matches(KIND, f"^({'|'.join(SUB_ITEMS)})$"), time=ALWAYS, by=(NODE,),
    )  # fmt: skip
    looks = {kind: Look(name=text(kind), color=color) for kind, color in SUB_ITEMS.items()}
    looks["C"] = Look(name=text("unallocated"), color=UNKNOWN)
    daily = f.figures(*nodes, IN_NODES, Value=f.electricity(words), by=(NODE,), each=DAY)
    rest = f.figures(
        *nodes, equal(NODE, UNALLOCATED), amount=f.electricity(words), each=DAY
    ).as_series(text("unallocated"))
    sums = f.figures(*nodes, IN_NODES, amount=f.electricity(words), by=(NODE,))
    return Row(
        10,
        (
            (
                house.course(
                    "daily", *letters(daily, kinds, rest), unit=unit("electricity"), bars=True,
                    stacked=True, interval="1d", looks=looks,
                    transformations=f.named_courses(NODE),
                ),
                15,
            ),
            (
                house.bars(
                    "sub_items", *letters(sums, f.node_names(words)),
                    unit=unit("electricity"), color=CARRIERS[f.ELECTRICITY],
                    value="amount", named_by="name",
                    transformations=(join(NODE), columns("name", "amount"), sorted_by("amount")),
                ),
                9,
            ),
        ),
    )  # fmt: skip


def _class(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    to_site = (text("open_site"), address("building", site="${__data.fields.site}"))
    public = matches("sector", f.PUBLIC)
    facts = f.site_names(
        words, public, sector=raw("sector"), area=raw("floor_area_m2"), heads=raw("headcount")
    )
    electric = f.figures(
        f.EVERY_SITE, f.OF_TOTAL, f.ELECTRIC, kwh=total("amount") / unit("kwh").divisor, by=(SITE,),
    )  # fmt: skip
    sure = f.figures(
        f.EVERY_SITE, f.OF_TOTAL, f.ELECTRIC, time=DAYS_OVER, measured=f.measured(), by=(SITE,)
    )
    other = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ALL_ENERGY, level=Level.MONTH, time=f.YEAR_BACK,
        tce=raw("kgce_equivalent") / unit("tce_fine").divisor,
    ).as_series(text("energy_total"))  # fmt: skip
    heating = f.figures(
        f.ONE_SITE, equal(NODE, HEATING), level=Level.MONTH, time=f.YEAR_BACK,
        tce=raw("kgce_equivalent") / unit("tce_fine").divisor,
    ).as_series(text("heating"))  # fmt: skip
    quota = select(
        {"value": raw("value"), "unit": raw("unit")},
        PLAN, *f.ONE_SITE, equal(KIND, "quota"), equal("listed", 1),
        time=(f"time < {Names.TO}",), by=(INDICATOR, BOUND),
    )  # fmt: skip
    levels = {id_: (text(id_), color) for id_, color in LEVELS.items()}
    return Row(
        10,
        (
            (
                house.rows(
                    "ranking", *letters(facts, electric, sure),
                    transformations=(
                        join(SITE, mode="outer"),
                        with_a("name"),
                        ratio("kwh_m2", "kwh", "/", "area"),
                        ratio("kwh_head", "kwh", "/", "heads"),
                        columns("name", "sector", "kwh_m2", "kwh_head", "measured", SITE),
                        ordered("name", "sector", "kwh_m2", "kwh_head", "measured", SITE),
                        sorted_by("kwh_m2"),
                    ),
                    looks={
                        "name": Look(name=text("building"), link=to_site, width=140),
                        "sector": Look(name=text("sector"), width=80),
                        "kwh_m2": Look(
                            name=text("kwh_m2"), unit=unit("kwh_m2"), paint="bar",
                            color=CARRIERS[f.ELECTRICITY],
                        ),
                        "kwh_head": Look(name=text("kwh_head"), unit=unit("kwh_head"), width=110),
                        "measured": Look(
                            name=text("measured_share"), unit=unit("share"), steps=SHARE_STEPS,
                            paint="text", width=80,
                        ),
                        SITE: Look(hidden=True),
                    },
                ),
                11,
            ),
            (
                house.course(
                    "heating_months", heating, other.named("B"), unit=unit("tce_fine"), bars=True,
                    interval="28d", year=True,
                    looks={
                        text("heating"): Look(color=CARRIERS["heat"]),
                        text("energy_total"): Look(color=ENERGY, line=True),
                    },
                ),
                7,
            ),
            (
                house.rows(
                    "quotas", quota, none=text("no_quota"),
                    transformations=(
                        columns(BOUND, "value", "unit"),
                        ordered(BOUND, "value", "unit"),
                        sorted_by("value"),
                    ),
                    looks={
                        BOUND: Look(name=text("level"), mappings=levels, paint="text", width=80),
                        "value": Look(name=text("value"), unit=unit("plain"), width=80),
                        "unit": Look(name=text("unit"), mappings=f.UNIT_TEXTS),
                    },
                ),
                6,
            ),
        ),
    )  # fmt: skip
