"""Data quality 数据质量: how complete the data are, where not and why, and what is due."""

from contract.stored import (
    ARRIVAL_DAY,
    CHANNEL,
    COMPLETENESS_DAY,
    EDGE,
    EDGE_HISTORY,
    METER,
    METER_INFO,
    PROOF,
    QUARANTINE,
    REGION,
    SITE,
    UNREGISTERED,
    Level,
)
from grafana import figures as f
from grafana.board import Board, Row, address, region_variable
from grafana.influxql import (
    ALWAYS,
    DAY,
    DAYS_OVER,
    FIGURES,
    above,
    call,
    chosen_or_none,
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
from grafana.looks import LATE_STEPS, SHARE_STEPS, Look
from grafana.palette import BAD, CAUSES, GOOD, QUALITY, WATCH
from grafana.panels import House
from grafana.transformations import columns, join, letters, ordered, sorted_by, top
from grafana.words import Words

MAIN = matches(CHANNEL, f.MAIN_CHANNELS)


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("quality", words)
    rows = (_numbers(house), _heat(house), _parts(house), _lists(house), _strays(house))
    return Board("quality", rows, (region_variable(words),), begin="now-30d/d")


def _numbers(house: House) -> Row:
    unit = house.words.unit
    whole = (f.IN_REGION, MAIN)
    day = FIGURES[Level.DAY]
    there = select({"completeness": share("received", "expected")}, day, *whole, time=DAYS_OVER)
    parts = {
        name: select({name: share(f"{name}_ms", *f.DURATIONS)}, day, *whole, time=DAYS_OVER)
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
    late = select({"late": share("late", "readings")}, ARRIVAL_DAY, f.IN_REGION)
    none = house.words["none"]
    return Row(
        4,
        (
            (house.number("completeness", there, unit=unit("share"), steps=SHARE_STEPS), 3),
            (
                house.number(
                    "measured", parts["measured"], unit=unit("share"), steps=SHARE_STEPS
                ),
                3,
            ),
            (
                house.number(
                    "estimated", parts["estimated"], unit=unit("share"),
                    color=QUALITY["estimated"],
                ),
                3,
            ),
            (house.number("late", late, unit=unit("share"), steps=LATE_STEPS), 3),
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
    """Show sites x days: how complete, and why not where it is below 97 %."""
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    daily = f.figures(
        f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY,
        Value=share("received", "expected"), time=DAYS_OVER, by=(SITE,), each=DAY,
    )  # fmt: skip
    causes = select(
        {"Value": raw("cause")},
        COMPLETENESS_DAY, f.IN_REGION, by=(SITE,),
    )  # fmt: skip
    return Row(
        13,
        (
            (
                house.grid(
                    "heat", *letters(daily, f.site_names(words)), unit=unit("share"),
                    steps=SHARE_STEPS, transformations=f.named_courses(SITE),
                ),
                12,
            ),
            (
                house.grid(
                    "heat_causes", *letters(causes, f.site_names(words)),
                    values={id_: (text(f"cause_{id_}"), color) for id_, color in CAUSES.items()},
                    transformations=f.named_courses(SITE),
                ),
                12,
            ),
        ),
    )  # fmt: skip


def _parts(house: House) -> Row:
    """Show sites x days: which part came late, which was estimated."""
    words, unit = house.words, house.words.unit
    late = select(
        {"Value": share("late", "readings")}, ARRIVAL_DAY, f.IN_REGION, by=(SITE,), each=DAY
    )
    estimated = f.figures(
        f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY,
        Value=share("estimated_ms", *f.DURATIONS), time=DAYS_OVER, by=(SITE,), each=DAY,
    )  # fmt: skip
    return Row(
        13,
        tuple(
            (
                house.grid(
                    key, *letters(daily, f.site_names(words)), unit=unit("share"),
                    steps=LATE_STEPS, transformations=f.named_courses(SITE),
                ),
                12,
            )
            for key, daily in (("heat_late", late), ("heat_estimated", estimated))
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
            f.EVERY_SITE, f.OF_TOTAL, f.ALL_ENERGY, time=DAYS_OVER, by=(SITE,),
            completeness=share("received", "expected"),
            estimated=share("estimated_ms", *f.DURATIONS),
        ),
        select(
            {"online": call("mean", "online"), "failures": call("spread", "failures")},
            EDGE_HISTORY, f.IN_REGION, by=(SITE,),
        ),
        select({"late": share("late", "readings")}, ARRIVAL_DAY, f.IN_REGION, by=(SITE,)),
    )  # fmt: skip
    worst = over(
        {"completeness": raw("completeness"), "estimated": raw("estimated")},
        select(
            {
                "completeness": share("received", "expected"),
                "estimated": share("estimated_ms", *f.DURATIONS),
            },
            FIGURES[Level.DAY], f.IN_REGION, MAIN, time=DAYS_OVER, by=(SITE, METER),
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
    of_causes = ("name", "completeness", "estimated", "late", "online", "failures", SITE)
    return Row(
        9,
        (
            (
                house.rows(
                    "causes", *causes,
                    transformations=(
                        join(SITE),
                        columns(*of_causes),
                        ordered(*of_causes),
                        sorted_by("completeness", ascending=True),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site),
                        "completeness": share_look("completeness"),
                        "estimated": Look(
                            name=text("estimated"), unit=unit("share"), width=80
                        ),
                        "late": Look(name=text("late"), unit=unit("share"), width=66),
                        "online": share_look("edge_online"),
                        "failures": Look(name=text("failures"), unit=unit("count"), width=90),
                        SITE: Look(hidden=True),
                    },
                ),
                10,
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
                        "estimated": Look(name=text("estimated"), unit=unit("share"), width=80),
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
                7,
            ),
        ),
    )  # fmt: skip


def _strays(house: House) -> Row:
    """Show what came and is in no total."""
    unit, text = house.words.unit, house.words.__getitem__
    strangers = select(
        {
            EDGE: raw("edge"), "channels": raw("channels"), "first": raw("first_ms"),
            "last": raw("last_ms"),
        },
        UNREGISTERED, f.IN_REGION, equal("listed", 1), time=ALWAYS, by=(SITE, METER), once=True,
    )  # fmt: skip
    kept = select(
        {
            "payloads": raw("payloads"), "seen": raw("seen"), "last": raw("last_ms"),
            "reason": raw("reason"),
        },
        QUARANTINE, chosen_or_none(REGION), above("payloads", 0), time=ALWAYS, by=(SITE, EDGE),
    )  # fmt: skip
    of_strangers = (SITE, METER, EDGE, "channels", "first", "last")
    of_kept = (SITE, EDGE, "payloads", "seen", "last", "reason")
    return Row(
        7,
        (
            (
                house.rows(
                    "unregistered", strangers,
                    transformations=(
                        columns(*of_strangers), ordered(*of_strangers), sorted_by("last"),
                    ),
                    looks={
                        SITE: Look(name=text("site")),
                        METER: Look(name=text("meter")),
                        EDGE: Look(name=text("edge")),
                        "channels": Look(name=text("channels"), unit=unit("count"), width=70),
                        "first": Look(name=text("first"), unit=unit("minute"), width=136),
                        "last": Look(name=text("last"), unit=unit("minute"), width=136),
                    },
                ),
                12,
            ),
            (
                house.rows(
                    "payloads", kept,
                    transformations=(columns(*of_kept), ordered(*of_kept), sorted_by("last")),
                    looks={
                        SITE: Look(name=text("site"), width=110),
                        EDGE: Look(name=text("edge"), width=110),
                        "payloads": Look(name=text("payloads"), unit=unit("count"), width=70),
                        "seen": Look(name=text("seen"), unit=unit("count"), width=70),
                        "last": Look(name=text("last"), unit=unit("minute"), width=136),
                        "reason": Look(name=text("reason")),
                    },
                ),
                12,
            ),
        ),
    )  # fmt: skip
