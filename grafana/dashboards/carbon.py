"""Carbon 碳排放: by scope and source, by which factors, what was restated, green share, PV."""

from contract.stored import (
    CARRIER,
    FACTOR,
    FACTOR_INFO,
    GENERATION,
    MEASURE,
    METER,
    NODE,
    NODE_INFO,
    OPEN_MS,
    OUT,
    RESTATEMENT,
    SITE,
    Level,
)
from grafana import figures as f
from grafana.board import Board, Row, address, region_variable
from grafana.influxql import (
    ALWAYS,
    DAY,
    DAYS_OVER,
    YEAR_BEFORE,
    begun,
    equal,
    matches,
    not_over,
    raw,
    select,
    total,
)
from grafana.looks import CHANGE_STEPS, SHARE_STEPS, Look
from grafana.palette import BAD, CARBON, CARRIERS, GOOD, SCOPES, UNKNOWN, WATCH
from grafana.palette import GENERATION as GREEN
from grafana.panels import House
from grafana.transformations import columns, compared, join, letters, ordered, sorted_by
from grafana.words import Words

FUELS = matches(CARRIER, f"^({f.FUELS})$")
BOUGHT = matches(CARRIER, f"^({f.BOUGHT})$")


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("carbon", words)
    rows = (
        _numbers(house), _courses(house), _sites(house), _factors(house), _restatements(house)
    )  # fmt: skip
    return Board("carbon", rows, (region_variable(words),))


def _numbers(house: House) -> Row:
    words, unit = house.words, house.words.unit
    whole = (f.WHOLE_REGION, f.OF_TOTAL)
    co2 = f.figures(*whole, f.ALL_ENERGY, tco2=f.tco2(words))
    before = f.figures(*whole, f.ALL_ENERGY, time=YEAR_BEFORE, tco2=f.tco2(words))
    electricity = f.figures(*whole, f.ELECTRIC, amount=total("amount"))
    won = f.figures(f.WHOLE_REGION, equal(NODE, GENERATION), f.ELECTRIC, amount=total("amount"))
    out = f.figures(f.WHOLE_REGION, equal(NODE, OUT), f.ELECTRIC, amount=total("amount"))
    sure = f.figures(*whole, f.ALL_ENERGY, time=DAYS_OVER, measured=f.measured())
    return Row(
        4,
        (
            (house.number("carbon", co2, unit=unit("tco2"), color=CARBON), 4),
            (
                house.number(
                    "change", *compared("($A - $B) / $B", co2, before), unit=unit("share"),
                    steps=CHANGE_STEPS,
                ),
                3,
            ),
            (
                house.number(
                    "scope1", f.figures(*whole, FUELS, tco2=f.tco2(words)), unit=unit("tco2"),
                    color=SCOPES["scope1"],
                ),
                4,
            ),
            (
                house.number(
                    "scope2", f.figures(*whole, BOUGHT, tco2=f.tco2(words)), unit=unit("tco2"),
                    color=SCOPES["scope2"],
                ),
                4,
            ),
            (
                house.number(
                    "green", *compared("$A / $B", won, electricity), unit=unit("share"),
                    color=GREEN,
                ),
                3,
            ),
            (
                house.number(
                    "self_use", *compared("($A - $B) / $A", won, out), unit=unit("share"),
                    color=GREEN,
                ),
                3,
            ),
            (house.number("measured", sure, unit=unit("share"), steps=SHARE_STEPS), 3),
        ),
    )  # fmt: skip


def _courses(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    sources = (f.WHOLE_REGION, f.OF_TOTAL, f.CARRIERS_ONLY)
    daily = f.figures(*sources, tco2=f.tco2(words), by=(CARRIER,), each=DAY)
    sums = f.figures(*sources, tco2=f.tco2(words), by=(CARRIER,))
    pv = f.figures(
        f.WHOLE_REGION, equal(NODE, GENERATION), f.ELECTRIC, amount=f.electricity(words), each=DAY
    ).as_series(text("generation"))
    return Row(
        10,
        (
            (
                house.course(
                    "daily", daily.as_series(f"$tag_{CARRIER}"), unit=unit("tco2"),
                    looks=f.carrier_looks(words), bars=True, stacked=True, interval="1d",
                ),
                11,
            ),
            (
                house.bars(
                    "sources", sums.as_series(f"$tag_{CARRIER}"), unit=unit("tco2"),
                    looks=f.carrier_looks(words),
                ),
                6,
            ),
            (
                house.course(
                    "generation", pv, unit=unit("electricity"), bars=True, interval="1d",
                    legend=False, looks={text("generation"): Look(color=GREEN)},
                ),
                7,
            ),
        ),
    )  # fmt: skip


def _sites(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    to_site = (text("open_site"), address("site", site="${__data.fields.site}"))
    of_sites = (f.EVERY_SITE, f.OF_TOTAL)
    table = letters(
        f.site_names(words, sector=raw("sector")),
        f.figures(*of_sites, f.ALL_ENERGY, tco2=f.tco2(words), by=(SITE,)),
        f.figures(*of_sites, FUELS, scope1=f.tco2(words), by=(SITE,)),
        f.figures(*of_sites, BOUGHT, scope2=f.tco2(words), by=(SITE,)),
    )
    months = f.figures(
        f.WHOLE_REGION, f.OF_TOTAL, f.CARRIERS_ONLY, level=Level.MONTH, time=f.YEAR_BACK,
        tco2=raw("co2_kg") / unit("tco2").divisor, by=(CARRIER,),
    )  # fmt: skip
    return Row(
        11,
        (
            (
                house.rows(
                    "sites", *table,
                    transformations=(
                        join(SITE, mode="outer"),
                        columns("name", "sector", "tco2", "scope1", "scope2", SITE),
                        ordered("name", "sector", "tco2", "scope1", "scope2", SITE),
                        sorted_by("tco2"),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site, width=170),
                        "sector": Look(name=text("sector"), width=110),
                        "tco2": Look(
                            name=text("tco2"), unit=unit("tco2"), paint="bar", color=CARBON
                        ),
                        "scope1": Look(name=text("scope1"), unit=unit("tco2"), width=140),
                        "scope2": Look(name=text("scope2"), unit=unit("tco2"), width=150),
                        SITE: Look(hidden=True),
                    },
                ),
                14,
            ),
            (
                house.course(
                    "months", months.as_series(f"$tag_{CARRIER}"), unit=unit("tco2"),
                    looks=f.carrier_looks(words), bars=True, stacked=True, interval="28d",
                    year=True,
                ),
                10,
            ),
        ),
    )  # fmt: skip


def _factors(house: House) -> Row:
    """Show by which factors the CO2 was made."""
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    factors = select(
        {
            "value": raw("value"), "unit": raw("unit"), "from": raw("valid_from_ms"),
            "until": raw("valid_to_ms"), "verified": raw("verified"), "used": raw("used"),
            "source": raw("source"),
        },
        FACTOR_INFO, f.IN_REGION, equal("listed", 1),
        matches(MEASURE, "^(co2_kg|net_calorific_value)$"),
        begun("valid_from_ms"), not_over("valid_to_ms"),
        time=ALWAYS, by=(SITE, CARRIER, FACTOR), once=True,
    )  # fmt: skip
    places = select(
        {"name": raw(words.name_field)},
        NODE_INFO, f.IN_REGION, f.OF_TOTAL, equal("listed", 1), time=ALWAYS, by=(SITE,),
    )  # fmt: skip
    yes, no = (text("yes"), GOOD), text("no")
    shown = (
        CARRIER, FACTOR, "value", "unit", "from", "until", "verified", "used", "name", "source"
    )  # fmt: skip
    table = house.rows(
        "factors", *letters(places, factors),
        transformations=(
            join(SITE), columns(*shown), ordered(*shown), sorted_by(CARRIER, ascending=True),
        ),
        looks={
            CARRIER: Look(
                name=text("carrier"), width=90, paint="text",
                mappings={i: (text(i), c) for i, c in CARRIERS.items()},
            ),
            FACTOR: Look(name=text("factor"), width=210),
            "value": Look(name=text("value"), width=80),
            "unit": Look(name=text("unit"), width=100),
            "from": Look(name=text("valid_from"), unit=unit("day"), width=100),
            "until": Look(
                name=text("valid_to"), unit=unit("day"), width=100,
                mappings={str(OPEN_MS): ("—", UNKNOWN)},
            ),
            "verified": Look(
                name=text("verified"), width=70, paint="text",
                mappings={"1": yes, "0": (no, WATCH)},
            ),
            "used": Look(
                name=text("used"), width=60, paint="text", mappings={"1": yes, "0": (no, BAD)}
            ),
            "name": Look(name=text("applies_to"), width=190),
            "source": Look(name=text("source")),
        },
    )  # fmt: skip
    return Row(8, ((table, 24),))


def _restatements(house: House) -> Row:
    """Show what of the CO2 was changed after it was settled."""
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    changes = select(
        {
            SITE: raw(SITE), METER: raw(METER), "day": raw("day_ms"), "found": raw("found_ms"),
            "before": raw("from_value"), "after": raw("to_value"), "cause": raw("cause"),
            "why": raw("why"),
        },
        RESTATEMENT, f.IN_REGION, equal(MEASURE, "co2_kg"), once=True, newest=200,
    )  # fmt: skip
    to_meter = (
        text("open_meter"),
        address("meter", site="${__data.fields.site}", meter="${__data.fields.meter}"),
    )
    shown = ("found", "name", METER, "day", "before", "after", "cause", "why", SITE)
    table = house.rows(
        "restatements", *letters(f.site_names(words), changes),
        transformations=(join(SITE), columns(*shown), ordered(*shown), sorted_by("found")),
        looks={
            "found": Look(name=text("found"), unit=unit("minute"), width=150),
            "name": Look(name=text("site"), width=190),
            METER: Look(name=text("meter"), link=to_meter, width=120),
            "day": Look(name=text("day"), unit=unit("day"), width=110),
            "before": Look(name=text("before"), unit=unit("kgco2"), width=110),
            "after": Look(name=text("after"), unit=unit("kgco2"), width=110),
            "cause": Look(
                name=text("cause"), width=160,
                mappings={
                    cause: (text(f"cause_{cause}"), UNKNOWN)
                    for cause in ("late readings", "newer readings", "recovery", "replay")
                },
            ),
            "why": Look(name=text("why")),
            SITE: Look(hidden=True),
        },
    )  # fmt: skip
    return Row(8, ((table, 24),))
