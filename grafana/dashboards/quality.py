"""Data quality 数据质量: how complete the data are, where not and why, and what is due."""

from contract.stored import (
    CHANNEL,
    EDGE,
    EDGE_HISTORY,
    METER,
    METER_INFO,
    PROOF,
    SITE,
    Level,
)
from grafana import figures as f
from grafana.board import Board, Row, address, region_variable
from grafana.influxql import (
    ALWAYS,
    DAY,
    FIGURES,
    above,
    call,
    equal,
    last,
    matches,
    nonzero,
    over,
    raw,
    select,
    share,
    span,
)
from grafana.looks import SHARE_STEPS, Look
from grafana.palette import BAD, GOOD, QUALITY, WATCH
from grafana.panels import House
from grafana.transformations import columns, join, letters, ordered, sorted_by, top
from grafana.words import Words

MAIN = matches(CHANNEL, f.MAIN_CHANNELS)


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("quality", words)
    rows = (_numbers(house), _heat(house), _lists(house))
    return Board("quality", rows, (region_variable(words),), begin="now-30d/d")


def _numbers(house: House) -> Row:
    unit = house.words.unit
    whole = (f.IN_REGION, MAIN)
    day = FIGURES[Level.DAY]
    there = select({"completeness": share("received", "expected")}, day, *whole)
    parts = {
        name: select({name: share(f"{name}_ms", *f.DURATIONS)}, day, *whole)
        for name in ("measured", "estimated", "missing")
    }
    held = select({"held": call("count", "amount_held")}, day, *whole, nonzero("amount_held"))
    open_days = select({"open": call("count", "closes")}, PROOF, f.IN_REGION, equal("closes", 0))
    quarantined = over(
        {"batches": call("sum", "value")},
        select(
            {"value": last("quarantined")}, EDGE_HISTORY, f.IN_REGION, time=span("1d"),
            by=(SITE, EDGE),
        ),
    )  # fmt: skip
    none = house.words["none"]
    return Row(
        4,
        (
            (house.number("completeness", there, unit=unit("share"), steps=SHARE_STEPS), 4),
            (
                house.number(
                    "measured", parts["measured"], unit=unit("share"), steps=SHARE_STEPS
                ),
                4,
            ),
            (
                house.number(
                    "estimated", parts["estimated"], unit=unit("share"),
                    color=QUALITY["estimated"],
                ),
                4,
            ),
            (
                house.number(
                    "missing", parts["missing"], unit=unit("share"), color=QUALITY["missing"]
                ),
                3,
            ),
            (
                house.number(
                    "held", held, unit=unit("count"), color=QUALITY["held"], none=none
                ),
                3,
            ),
            (
                house.number(
                    "open_days", open_days, unit=unit("count"),
                    steps=((None, GOOD), (1.0, BAD)), none=none,
                ),
                3,
            ),
            (
                house.number(
                    "quarantined", quarantined, unit=unit("count"),
                    steps=((None, GOOD), (1.0, WATCH), (100.0, BAD)),
                ),
                3,
            ),
        ),
    )  # fmt: skip


def _heat(house: House) -> Row:
    words, unit = house.words, house.words.unit
    daily = f.figures(
        f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY,
        Value=share("received", "expected"), by=(SITE,), each=DAY,
    )  # fmt: skip
    return Row(
        13,
        (
            (
                house.grid(
                    "heat", *letters(daily, f.site_names(words)), unit=unit("share"),
                    steps=SHARE_STEPS, transformations=f.named_courses(SITE),
                ),
                24,
            ),
        ),
    )  # fmt: skip


def _lists(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__

    def share_look(name: str) -> Look:
        return Look(name=text(name), unit=unit("share"), steps=SHARE_STEPS, paint="text", width=82)

    to_site = (text("open_site"), address("site", site="${__data.fields.site}"))
    to_meter = (
        text("open_meter"),
        address("meter", site="${__data.fields.site}", meter="${__data.fields.meter}"),
    )
    causes = letters(
        f.site_names(words),
        f.figures(
            f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY, by=(SITE,),
            completeness=share("received", "expected"),
            estimated=share("estimated_ms", *f.DURATIONS),
        ),
        select(
            {"online": call("mean", "online"), "failures": call("spread", "failures")},
            EDGE_HISTORY, f.IN_REGION, by=(SITE,),
        ),
    )  # fmt: skip
    worst = over(
        {"completeness": raw("completeness"), "estimated": raw("estimated")},
        select(
            {
                "completeness": share("received", "expected"),
                "estimated": share("estimated_ms", *f.DURATIONS),
            },
            FIGURES[Level.DAY], f.IN_REGION, MAIN, by=(SITE, METER),
        ),
        by=(SITE, METER),
        where="completeness < 0.97",
    )  # fmt: skip
    due = select(
        {
            "what": raw("name_zh"),
            "due": raw("calibration_due_ms"),
        },
        METER_INFO, f.IN_REGION, equal("listed", 1), above("calibration_due_ms", 0),
        time=ALWAYS, by=(SITE, METER),
    )  # fmt: skip
    return Row(
        9,
        (
            (
                house.rows(
                    "causes", *causes,
                    transformations=(
                        join(SITE),
                        columns("name", "completeness", "estimated", "online", "failures", SITE),
                        ordered("name", "completeness", "estimated", "online", "failures", SITE),
                        sorted_by("completeness", ascending=True),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site),
                        "completeness": share_look("completeness"),
                        "estimated": Look(
                            name=text("estimated"), unit=unit("share"), width=80
                        ),
                        "online": share_look("edge_online"),
                        "failures": Look(name=text("failures"), unit=unit("count"), width=90),
                        SITE: Look(hidden=True),
                    },
                ),
                9,
            ),
            (
                house.rows(
                    "worst", *letters(f.site_names(words), worst),
                    transformations=(
                        join(SITE),
                        columns("name", METER, "completeness", "estimated", SITE),
                        ordered("name", METER, "completeness", "estimated", SITE),
                        sorted_by("completeness", ascending=True),
                        top(50),
                    ),
                    looks={
                        "name": Look(name=text("site"), width=112),
                        METER: Look(name=text("meter"), link=to_meter),
                        SITE: Look(hidden=True),
                        "completeness": share_look("completeness"),
                        "estimated": Look(name=text("estimated"), unit=unit("share"), width=66),
                    },
                ),
                7,
            ),
            (
                house.rows(
                    "calibration", *letters(f.site_names(words), due),
                    transformations=(
                        join(SITE),
                        columns("name", METER, "what", "due", SITE),
                        ordered("name", METER, "what", "due", SITE),
                        sorted_by("due", ascending=True),
                        top(50),
                    ),
                    looks={
                        "name": Look(name=text("site"), width=130),
                        METER: Look(hidden=True),
                        SITE: Look(hidden=True),
                        "what": Look(name=text("meter"), link=to_meter),
                        "due": Look(name=text("calibration_due"), unit=unit("day"), width=110),
                    },
                ),
                8,
            ),
        ),
    )  # fmt: skip
