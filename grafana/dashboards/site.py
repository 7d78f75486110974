"""Site 用能单位: its load, carriers, systems and cost; against budget, quota and last year."""

from contract.interval import GRID_MS, HOUR_MS
from contract.stored import (
    BALANCES,
    BOUND,
    CARRIER,
    CHANNEL,
    EDGE,
    INDICATOR,
    KIND,
    METER,
    NODE,
    PERIOD,
    PLAN,
    TARIFF_DAY,
    TOLD_EVENT,
    TOTAL,
    UNALLOCATED,
    UNIT,
    Level,
)
from grafana import figures as f
from grafana.board import (
    Board,
    Row,
    address,
    region_variable,
    site_variable,
)
from grafana.influxql import (
    DAY,
    DAYS_OVER,
    FIGURES,
    VERDICTS,
    Names,
    call,
    equal,
    last,
    matches,
    nonzero,
    other_than,
    raw,
    select,
    share,
    total,
)
from grafana.looks import BUDGET_STEPS, SHARE_STEPS, Look
from grafana.palette import BAD, CARBON, CARRIERS, COST, ENERGY, GOOD, LEVELS, TARIFFS, UNKNOWN
from grafana.panels import House
from grafana.transformations import columns, compared, join, letters, ordered, sorted_by, transform
from grafana.words import Words

GRID = "15m"
GRID_HOUR = HOUR_MS // GRID_MS
"""Intervals an hour: energy of one x this = its mean power."""

IN_NODES = matches(NODE, "^[^_]")


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("site", words)
    rows = (_numbers(house), _courses(house), _parts(house), _plans(house), *_checks(house))
    return Board("site", rows, (region_variable(words), site_variable(words)))


def _numbers(house: House) -> Row:
    words, unit = house.words, house.words.unit
    all_energy = (f.ONE_SITE, f.OF_TOTAL, f.ALL_ENERGY)
    energy = f.figures(*all_energy, tce=f.tce(words))
    carbon = f.figures(*all_energy, tco2=f.tco2(words))
    cost = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.CARRIERS_ONLY, cost=total("cost_cny") / unit("cost").divisor
    )
    power = f.figures(f.ONE_SITE, f.OF_TOTAL, f.ELECTRIC, amount=f.electricity(words))
    demand = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ELECTRIC, level=Level.INTERVAL,
        demand=call("max", "amount") / unit("kw").divisor * GRID_HOUR,
    )  # fmt: skip
    sure = f.figures(*all_energy, time=DAYS_OVER, measured=f.measured())
    month = f.figures(
        *all_energy, level=Level.MONTH, time=f.MONTH_BACK,
        tce=last("kgce_equivalent") / unit("tce").divisor,
    )  # fmt: skip
    plan = f.budget(*f.ONE_SITE, period=r"^[0-9]{4}-[0-9]{2}$", time=f.MONTH_BACK)
    return Row(
        4,
        (
            (house.number("energy", energy, unit=unit("tce_fine"), color=ENERGY), 4),
            (
                house.number(
                    "electricity", power, unit=unit("electricity"),
                    color=CARRIERS[f.ELECTRICITY],
                ),
                4,
            ),
            (house.number("carbon", carbon, unit=unit("tco2"), color=CARBON), 4),
            (house.number("cost", cost, unit=unit("cost"), color=COST), 3),
            (
                house.number(
                    "demand", demand, unit=unit("kw"), color=CARRIERS[f.ELECTRICITY]
                ),
                3,
            ),
            (
                house.number(
                    "budget", *compared("$A / $B", month, plan), unit=unit("share"),
                    steps=BUDGET_STEPS,
                ),
                3,
            ),
            (house.number("measured", sure, unit=unit("share"), steps=SHARE_STEPS), 3),
        ),
    )  # fmt: skip


def _courses(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    load = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ELECTRIC, equal("missing_ms", 0), level=Level.INTERVAL,
        each=Names.STEP,
        power=call("mean", "amount") / unit("kw").divisor * GRID_HOUR,
    ).as_series(text("demand"))  # fmt: skip
    by_carrier = (f.ONE_SITE, f.OF_TOTAL, f.CARRIERS_ONLY)
    table = letters(
        f.figures(
            *by_carrier, amount=total("amount") / unit("amount").divisor, by=(CARRIER, UNIT),
        ),
        f.figures(*by_carrier, time=DAYS_OVER, measured=f.measured(), by=(CARRIER,)),
        f.figures(*by_carrier, tce=f.tce_fine(words), by=(CARRIER,)),
        f.figures(*by_carrier, cost=total("cost_cny") / unit("cost").divisor, by=(CARRIER,)),
    )  # fmt: skip
    names = {id_: (text(id_), color) for id_, color in CARRIERS.items()}
    return Row(
        9,
        (
            (
                house.course(
                    "load", load, unit=unit("kw"), interval=GRID, legend=False, area=True,
                    gap=2 * HOUR_MS,
                    looks={text("demand"): Look(color=CARRIERS[f.ELECTRICITY])},
                ),
                14,
            ),
            (
                house.rows(
                    "carriers", *table,
                    transformations=(
                        join(CARRIER, mode="outer"),
                        columns(CARRIER, "amount", UNIT, "tce", "cost", "measured"),
                        ordered(CARRIER, "amount", UNIT, "tce", "cost", "measured"),
                        sorted_by("tce"),
                    ),
                    looks={
                        CARRIER: Look(name=text("carrier"), mappings=names, paint="text", width=88),
                        "amount": Look(name=text("amount"), unit=unit("amount")),
                        UNIT: Look(name=text("unit"), width=52, mappings=f.UNIT_TEXTS),
                        "tce": Look(name=text("tce"), unit=unit("tce_fine"), width=98),
                        "cost": Look(name=text("cost"), unit=unit("cost"), width=98),
                        "measured": Look(
                            name=text("measured_share"), unit=unit("share"), steps=SHARE_STEPS,
                            paint="text", width=80,
                        ),
                    },
                ),
                10,
            ),
        ),
    )  # fmt: skip


def _parts(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    nodes = (f.ONE_SITE, f.ELECTRIC)
    daily = f.figures(*nodes, IN_NODES, Value=f.electricity(words), by=(NODE,), each=DAY)
    rest = f.figures(
        *nodes, equal(NODE, UNALLOCATED), amount=f.electricity(words), each=DAY
    ).as_series(text("unallocated"))
    sums = f.figures(*nodes, IN_NODES, amount=f.electricity(words), by=(NODE,))
    bought = (*f.ONE_SITE, f.ELECTRIC, other_than(PERIOD, ""), nonzero("amount"))
    amounts = select({"amount": f.electricity(words)}, TARIFF_DAY, *bought, by=(PERIOD,))
    costs = select(
        {"cost": total("cost_cny") / unit("cost").divisor}, TARIFF_DAY, *bought, by=(PERIOD,)
    )
    tariffs = {id_: Look(name=text(id_), color=color) for id_, color in TARIFFS.items()}
    return Row(
        9,
        (
            (
                house.course(
                    "systems_daily", *letters(daily, f.node_names(words), rest),
                    unit=unit("electricity"), bars=True, stacked=True, interval="1d",
                    looks={"C": Look(name=text("unallocated"), color=UNKNOWN)},
                    transformations=f.named_courses(NODE),
                ),
                7,
            ),
            (
                house.bars(
                    "systems", *letters(sums, f.node_names(words)),
                    unit=unit("electricity"), color=CARRIERS[f.ELECTRICITY],
                    value="amount", named_by="name",
                    transformations=(
                        join(NODE, mode="inner"), columns("name", "amount"), sorted_by("amount"),
                    ),
                ),
                7,
            ),
            (
                house.bars(
                    "tariffs", amounts.as_series(f"$tag_{PERIOD}"),
                    unit=unit("electricity"), looks=tariffs,
                ),
                5,
            ),
            (
                house.bars(
                    "tariff_costs", costs.as_series(f"$tag_{PERIOD}"),
                    unit=unit("cost"), looks=tariffs,
                ),
                5,
            ),
        ),
    )  # fmt: skip


def _plans(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    months = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.CARRIERS_ONLY, level=Level.MONTH, time=f.YEAR_BACK,
        tce=raw("kgce_equivalent") / unit("tce").divisor, by=(CARRIER,),
    )  # fmt: skip
    year = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ALL_ENERGY, level=Level.MONTH, time=f.YEAR_BACK,
        kgce=total("kgce_equivalent"),
    )  # fmt: skip
    area = f.site_facts(words, "floor_area_m2")
    quota = select(
        {"value": raw("value"), "unit": raw("unit")},
        PLAN, *f.ONE_SITE, equal(KIND, "quota"), equal("listed", 1),
        time=(f"time < {Names.TO}",), by=(INDICATOR, BOUND),
    )  # fmt: skip
    levels = {id_: (text(id_), color) for id_, color in LEVELS.items()}
    product = f.figures(
        f.ONE_SITE, f.OF_TOTAL, f.ALL_ENERGY, level=Level.MONTH, time=f.MONTH_BACK,
        kgce=last("kgce_equivalent"),
    )  # fmt: skip
    output = select(
        {"output": total("value")},
        PLAN, *f.ONE_SITE, equal(KIND, "production"), equal("listed", 1),
        matches(PERIOD, "^[0-9]{4}-[0-9]{2}$"), time=f.MONTH_BACK,
    )  # fmt: skip
    return Row(
        8,
        (
            (
                house.course(
                    "months", months.as_series(f"$tag_{CARRIER}"), unit=unit("tce"),
                    looks=f.carrier_looks(words), bars=True, stacked=True, interval="28d",
                    year=True,
                ),
                10,
            ),
            (
                house.number(
                    "intensity", *compared("$A / $B", year, area), unit=unit("kgce_m2"),
                    color=ENERGY,
                ),
                4,
            ),
            (
                house.number(
                    "product", *compared("$A / $B", product, output),
                    unit=unit("kgce_product"), color=ENERGY,
                ),
                4,
            ),
            (
                house.rows(
                    "quotas", quota, none=text("no_quota"),
                    transformations=(
                        columns(BOUND, "value", "unit"),
                        ordered(BOUND, "value", "unit"),
                    ),
                    looks={
                        BOUND: Look(name=text("level"), mappings=levels, paint="text", width=80),
                        "value": Look(name=text("value"), unit=unit("plain"), width=70),
                        "unit": Look(name=text("unit"), mappings=f.UNIT_TEXTS),
                    },
                ),
                6,
            ),
        ),
    )  # fmt: skip


def _checks(house: House) -> tuple[Row, Row]:
    """Show what does not add up, and what was said of readings and of meters."""
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    balance = select(
        {"imbalance": share("residual", "parent")},
        BALANCES[Level.DAY], *f.ONE_SITE, equal(NODE, TOTAL), f.ELECTRIC, each=DAY,
    ).as_series(text("imbalance"))  # fmt: skip
    verdicts = select(
        {"rule": raw("rule"), "outcome": raw("outcome")},
        VERDICTS, *f.ONE_SITE, other_than("outcome", ""), by=(METER,),
    )  # fmt: skip
    told = select(
        {"reason": raw("reason"), "author": raw("author")},
        TOLD_EVENT, *f.ONE_SITE, equal("listed", 1), by=(KIND, METER, EDGE),
    )  # fmt: skip
    kinds = {kind: (text(f"event_{kind}"), UNKNOWN) for kind in f.EVENTS}
    meters = select(
        {
            "measured": share("measured_ms", *f.DURATIONS),
            "completeness": share("received", "expected"),
        },
        FIGURES[Level.DAY], *f.ONE_SITE, matches(CHANNEL, f.MAIN_CHANNELS),
        time=DAYS_OVER, by=(METER,),
    )  # fmt: skip
    to_meter = (
        text("open_meter"),
        address("meter", site="${site}", meter="${__data.fields.meter}"),
    )
    outcomes = f.outcome_mappings(words)
    steps = ((None, GOOD), (0.05, BAD))
    checks = Row(
        8,
        (
            (
                house.course(
                    "balance", balance, unit=unit("share"), interval="1d", legend=False,
                    looks={text("imbalance"): Look(color=ENERGY)}, steps=steps, zero=True,
                ),
                12,
            ),
            (
                house.rows(
                    "meters",
                    *letters(
                        meters,
                        f.meter_names(
                            *f.ONE_SITE, by=(METER,), name=raw("name_zh"), carrier=raw("carrier")
                        ),
                    ),
                    transformations=(
                        join(METER),
                        columns("name", "carrier", "completeness", "measured", METER),
                        ordered("name", "carrier", "completeness", "measured", METER),
                        sorted_by("completeness", ascending=True),
                    ),
                    looks={
                        "name": Look(name=text("meter"), link=to_meter),
                        "carrier": Look(
                            name=text("carrier"), width=90,
                            mappings={i: (text(i), c) for i, c in CARRIERS.items()}, paint="text",
                        ),
                        "completeness": Look(
                            name=text("completeness"), unit=unit("share"), steps=SHARE_STEPS,
                            paint="text", width=90,
                        ),
                        "measured": Look(
                            name=text("measured_share"), unit=unit("share"), steps=SHARE_STEPS,
                            paint="text", width=90,
                        ),
                        METER: Look(hidden=True),
                    },
                ),
                12,
            ),
        ),
    )  # fmt: skip
    said = Row(
        8,
        (
            (
                house.rows(
                    "events", verdicts,
                    transformations=(
                        ordered("Time", METER, "rule", "outcome"),
                        sorted_by("Time"),
                        transform("limit", limitField=50),
                    ),
                    looks={
                        "Time": Look(name=text("time"), width=100, unit=unit("moment")),
                        METER: Look(name=text("meter"), link=to_meter),
                        "rule": Look(
                            name=text("rule"), width=88, mappings=f.rule_mappings(words)
                        ),
                        "outcome": Look(
                            name=text("outcome"), width=60, mappings=outcomes, paint="text"
                        ),
                    },
                ),
                12,
            ),
            (
                house.rows(
                    "told", told,
                    transformations=(
                        ordered("Time", KIND, METER, EDGE, "reason", "author"),
                        sorted_by("Time"),
                    ),
                    looks={
                        "Time": Look(name=text("time"), width=100, unit=unit("moment")),
                        KIND: Look(name=text("event"), width=80, mappings=kinds),
                        METER: Look(name=text("meter"), width=110),
                        EDGE: Look(name=text("edge"), width=100),
                        "reason": Look(name=text("why")),
                        "author": Look(name=text("author"), width=80),
                    },
                ),
                12,
            ),
        ),
    )  # fmt: skip
    return checks, said
