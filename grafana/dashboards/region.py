"""Region 全域总览: how much energy and carbon, against plan and last year, and where to look."""

from contract.stored import CARRIER, EDGE, EDGE_HISTORY, SITE, Level
from grafana import figures as f
from grafana.board import Board, Row, address, region_variable
from grafana.influxql import DAY, DAYS_OVER, YEAR_BEFORE, call, last, over, raw, select, span
from grafana.looks import BUDGET_STEPS, CHANGE_STEPS, SHARE_STEPS, Look
from grafana.palette import CARBON, CARRIERS, ENERGY
from grafana.panels import House
from grafana.transformations import (
    columns,
    compared,
    join,
    letters,
    ordered,
    ratio,
    sorted_by,
    transform,
    with_a,
)
from grafana.words import Words

MONTH = "^[0-9]{4}-[0-9]{2}$"


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("region", words)
    unit, text = words.unit, words.__getitem__
    energy = f.figures(f.WHOLE_REGION, f.OF_TOTAL, f.ALL_ENERGY, tce=f.tce(words))
    year_before = f.figures(
        f.WHOLE_REGION, f.OF_TOTAL, f.ALL_ENERGY, time=YEAR_BEFORE, tce=f.tce(words)
    )
    carbon = f.figures(f.WHOLE_REGION, f.OF_TOTAL, f.ALL_ENERGY, tco2=f.tco2(words))
    power = f.figures(f.WHOLE_REGION, f.OF_TOTAL, f.ELECTRIC, amount=f.electricity(words))
    sure = f.figures(
        f.WHOLE_REGION, f.OF_TOTAL, f.ALL_ENERGY, time=DAYS_OVER, measured=f.measured()
    )
    edges = select(
        {"online": last("online")}, EDGE_HISTORY, f.IN_REGION, time=span("1d"), by=(SITE, EDGE)
    )
    month = f.figures(
        f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY, level=Level.MONTH, time=f.MONTH_BACK,
        tce=last("kgce_equivalent") / unit("tce").divisor, by=(SITE,),
    )  # fmt: skip
    plan = f.budget(*f.EVERY_SITE, period=MONTH, time=f.MONTH_BACK, by=(SITE,))
    whole_month = f.figures(
        f.WHOLE_REGION, f.OF_TOTAL, f.ALL_ENERGY, level=Level.MONTH, time=f.MONTH_BACK,
        tce=last("kgce_equivalent") / unit("tce").divisor,
    )  # fmt: skip
    numbers = Row(
        3,
        (
            (house.number("energy", energy, unit=unit("tce"), color=ENERGY), 4),
            (
                house.number(
                    "change", *compared("($A - $B) / $B", energy, year_before),
                    unit=unit("share"), steps=CHANGE_STEPS,
                ),
                3,
            ),
            (house.number("carbon", carbon, unit=unit("tco2"), color=CARBON), 4),
            (
                house.number(
                    "electricity", power, unit=unit("electricity"),
                    color=CARRIERS[f.ELECTRICITY],
                ),
                4,
            ),
            (
                house.number(
                    "budget",
                    *compared("$A / $B", whole_month, f.budget(
                        *f.EVERY_SITE, period=MONTH, time=f.MONTH_BACK)),
                    unit=unit("share"), steps=BUDGET_STEPS,
                ),
                3,
            ),
            (house.number("measured", sure, unit=unit("share"), steps=SHARE_STEPS), 3),
            (
                house.number(
                    "edges", over({"online": call("mean", "online")}, edges),
                    unit=unit("ratio"), steps=SHARE_STEPS,
                ),
                3,
            ),
        ),
    )  # fmt: skip

    by_carrier = (f.WHOLE_REGION, f.OF_TOTAL, f.CARRIERS_ONLY)
    course = f.figures(*by_carrier, tce=f.tce(words), by=(CARRIER,), each=DAY)
    whole = f.figures(*by_carrier, tce=f.tce(words), by=(CARRIER,))
    courses = Row(
        6,
        (
            (
                house.course(
                    "daily", course.as_series(f"$tag_{CARRIER}"), unit=unit("tce"),
                    looks=f.carrier_looks(words), bars=True, stacked=True, interval="1d",
                ),
                16,
            ),
            (
                house.bars(
                    "carriers", whole.as_series(f"$tag_{CARRIER}"), unit=unit("tce"),
                    looks=f.carrier_looks(words),
                ),
                8,
            ),
        ),
    )  # fmt: skip

    of_sites = (f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY)
    by_site = f.figures(*of_sites, tce=f.tce(words), by=(SITE,))
    ranking = letters(
        f.site_names(words, sector=raw("sector")),
        by_site,
        f.figures(*of_sites, tco2=f.tco2(words), by=(SITE,)),
        f.figures(*of_sites, time=DAYS_OVER, measured=f.measured(), by=(SITE,)),
    )
    to_site = (text("open_site"), address("site", site="${__data.fields.site}"))
    measured_look = Look(
        name=text("measured_share"), unit=unit("share"), steps=SHARE_STEPS, paint="text", width=90
    )
    places = letters(
        f.site_names(words, latitude=raw("latitude"), longitude=raw("longitude")),
        f.figures(*of_sites, time=DAYS_OVER, measured=f.measured(), by=(SITE,)),
        by_site,
    )
    where = Row(
        9,
        (
            (
                house.map(
                    "map", *places, latitude="latitude", longitude="longitude",
                    color_by=text("measured_share"), size_by=text("tce"),
                    looks={
                        "name": Look(name=text("site"), link=to_site),
                        "measured": measured_look,
                        "tce": Look(name=text("tce"), unit=unit("tce")),
                    },
                    transformations=(
                        join(SITE, mode="outer"),
                        with_a("name"),
                        columns("name", "latitude", "longitude", "measured", "tce", SITE),
                    ),
                ),
                9,
            ),
            (
                house.rows(
                    "ranking", *ranking,
                    transformations=(
                        join(SITE, mode="outer"),
                        with_a("name"),
                        columns("name", "sector", "tce", "tco2", "measured", SITE),
                        ordered("name", "sector", "tce", "tco2", "measured", SITE),
                        sorted_by("tce"),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site, width=170),
                        "sector": Look(name=text("sector"), width=110),
                        "tce": Look(name=text("tce"), unit=unit("tce"), paint="bar", color=ENERGY),
                        "tco2": Look(name=text("tco2"), unit=unit("tco2"), width=130),
                        "measured": measured_look,
                        SITE: Look(hidden=True),
                    },
                ),
                15,
            ),
        ),
    )  # fmt: skip

    hours = (f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY)
    week = f.figures(*hours, level=Level.HOUR, time=span("7d"), week=f.tce(words), by=(SITE,))
    before = f.figures(
        *hours, level=Level.HOUR, time=span("14d", "7d"), before=f.tce(words), by=(SITE,)
    )
    details = Row(
        8,
        (
            (
                house.rows(
                    "sectors", *letters(f.site_names(words, sector=raw("sector")), by_site),
                    transformations=(
                        join(SITE),
                        transform(
                            "groupBy",
                            fields={
                                "sector": {"operation": "groupby", "aggregations": []},
                                "tce": {"operation": "aggregate", "aggregations": ["sum"]},
                            },
                        ),
                        sorted_by("tce (sum)"),
                    ),
                    looks={
                        "sector": Look(name=text("sector"), width=100),
                        "tce (sum)": Look(
                            name=text("tce"), unit=unit("tce"), paint="bar", color=ENERGY
                        ),
                    },
                ),
                6,
            ),
            (
                house.rows(
                    "budgets", *letters(f.site_names(words), month, plan),
                    transformations=(
                        join(SITE),
                        ratio("used", "tce", "/", "budget"),
                        columns("name", "used", SITE),
                        ordered("name", "used", SITE),
                        sorted_by("used"),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site, width=140),
                        "used": Look(
                            name=text("budget_used"), unit=unit("ratio"), steps=BUDGET_STEPS,
                            paint="bar", most=1.1,
                        ),
                        SITE: Look(hidden=True),
                    },
                ),
                6,
            ),
            (
                house.rows(
                    "movers", *letters(f.site_names(words), week, before),
                    transformations=(
                        join(SITE),
                        ratio("more", "week", "-", "before"),
                        ratio("change", "more", "/", "before"),
                        columns("name", "week", "change", SITE),
                        ordered("name", "week", "change", SITE),
                        sorted_by("change"),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site),
                        "week": Look(name=text("week"), unit=unit("tce"), width=110),
                        "change": Look(
                            name=text("change"), unit=unit("share"), steps=CHANGE_STEPS,
                            paint="text", width=80,
                        ),
                        SITE: Look(hidden=True),
                    },
                ),
                6,
            ),
            (house.alarms("alarms"), 6),
        ),
    )  # fmt: skip
    return Board("region", (numbers, courses, where, details), (region_variable(words),))
