"""Meter 表计: its registers, its intervals by quality, what the rules said, whether it closes."""

from contract.stored import CHANNEL, METER, METER_INFO, PROOF, Level
from grafana import figures as f
from grafana.board import Board, Row, meter_variable, region_variable, site_variable
from grafana.influxql import (
    ALWAYS,
    DAYS_OVER,
    FIGURES,
    READINGS,
    VERDICTS,
    Names,
    call,
    chosen,
    equal,
    last,
    matches,
    other_than,
    raw,
    select,
    share,
    span,
    total,
)
from grafana.looks import SHARE_STEPS, Look
from grafana.palette import BAD, CARRIERS, ENERGY, GOOD, QUALITY
from grafana.panels import House
from grafana.transformations import columns, letters, ordered, sorted_by, transform
from grafana.words import Words

ONE_METER = (f.IN_REGION, chosen("site"), chosen(METER))
MAIN = matches(CHANNEL, f.MAIN_CHANNELS)
MICRO = 1e6


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("meter", words)
    variables = (region_variable(words), site_variable(words), meter_variable(words))
    rows = (_card(house), _numbers(house), _courses(house), _checks(house))
    return Board("meter", rows, variables, begin="now-7d")


def _card(house: House) -> Row:
    unit, text = house.words.unit, house.words.__getitem__
    names = ("name_zh", "carrier", "role", "serial", "model", "multiplier", "edge")
    info = select(
        {name: raw(name) for name in (*names, "calibration_due_ms")},
        METER_INFO, *ONE_METER, equal("listed", 1), time=ALWAYS,
    )  # fmt: skip
    carriers = {
        id_: (f"{text(id_)} ({f.METERED_IN.get(id_, 't')})", color)
        for id_, color in CARRIERS.items()
    }
    roles = {role: (text(f"role_{role}"), ENERGY) for role in f.ROLES}
    card = house.rows(
        "card", info, pages=False,
        transformations=(columns(*names, "calibration_due_ms"),),
        looks={
            "name_zh": Look(name=text("meter")),
            "carrier": Look(name=text("carrier"), mappings=carriers, paint="text"),
            "role": Look(name=text("role"), mappings=roles),
            "serial": Look(name=text("serial")),
            "model": Look(name=text("model")),
            "multiplier": Look(name=text("multiplier"), unit=unit("count")),
            "edge": Look(name=text("edge")),
            "calibration_due_ms": Look(name=text("calibration_due"), unit=unit("day")),
        },
    )  # fmt: skip
    return Row(4, ((card, 24),))


def _numbers(house: House) -> Row:
    unit = house.words.unit
    day = FIGURES[Level.DAY]
    used = select({"amount": total("amount") / MICRO}, day, *ONE_METER, MAIN)
    sure = select(
        {"measured": share("measured_ms", *f.DURATIONS)}, day, *ONE_METER, MAIN, time=DAYS_OVER
    )
    there = select(
        {"completeness": share("received", "expected")}, day, *ONE_METER, MAIN, time=DAYS_OVER
    )
    held = select({"held": total("amount_held") / MICRO}, day, *ONE_METER, MAIN)
    register = select({"end": last("end") / MICRO}, PROOF, *ONE_METER, MAIN)
    open_days = select({"open": call("count", "closes")}, PROOF, *ONE_METER, equal("closes", 0))
    return Row(
        4,
        (
            (house.number("used", used, unit=unit("amount_fine"), color=ENERGY), 4),
            (house.number("register", register, unit=unit("amount_fine"), color=ENERGY), 4),
            (house.number("completeness", there, unit=unit("share"), steps=SHARE_STEPS), 4),
            (house.number("measured", sure, unit=unit("share"), steps=SHARE_STEPS), 4),
            (house.number("held", held, unit=unit("amount_fine"), color=QUALITY["held"]), 4),
            (
                house.number(
                    "open_days", open_days, unit=unit("count"),
                    steps=((None, GOOD), (1.0, BAD)), none=house.words["none"],
                ),
                4,
            ),
        ),
    )  # fmt: skip


def _courses(house: House) -> Row:
    unit, text = house.words.unit, house.words.__getitem__
    of = FIGURES[Level.INTERVAL]
    parts = {
        "measured": total("amount") / MICRO - total("amount_estimated") / MICRO,
        "estimated": total("amount_estimated") / MICRO,
        "held": total("amount_held") / MICRO,
    }
    queries = [
        select({text(name): part}, of, *ONE_METER, MAIN, each=Names.STEP).as_series(text(name))
        for name, part in parts.items()
    ]
    power = select(
        {"power": call("mean", "power")}, READINGS, *ONE_METER, time=span("1d"), each="5m"
    ).as_series(text("power"))
    return Row(
        9,
        (
            (
                house.course(
                    "intervals", *letters(*queries), unit=unit("amount_fine"), bars=True,
                    stacked=True, interval="15m",
                    looks={text(name): Look(color=QUALITY[name]) for name in parts},
                ),
                15,
            ),
            (
                house.course(
                    "power", power, unit=unit("power"), legend=False, area=True, day=True,
                    looks={text("power"): Look(color=CARRIERS[f.ELECTRICITY])},
                ),
                9,
            ),
        ),
    )  # fmt: skip


def _checks(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    numbers = ("level_start", "level_end", "events", "booked", "held", "difference")
    proof = select(
        {**{name: raw(name) / MICRO for name in numbers}, "closes": raw("closes")},
        PROOF, *ONE_METER, MAIN,
    )  # fmt: skip
    verdicts = select(
        {"rule": raw("rule"), "outcome": raw("outcome"), "value": raw("value") / MICRO},
        VERDICTS, *ONE_METER, other_than("outcome", ""),
    )  # fmt: skip
    closes = {"1": (text("yes"), GOOD), "0": (text("no"), BAD)}
    return Row(
        9,
        (
            (
                house.rows(
                    "proof", proof,
                    transformations=(ordered("Time", *numbers, "closes"), sorted_by("Time")),
                    looks={
                        "Time": Look(name=text("day"), unit=unit("day")),
                        **{
                            name: Look(name=text(name), unit=unit("amount_fine"))
                            for name in numbers
                        },
                        "closes": Look(
                            name=text("closes"), mappings=closes, paint="text"
                        ),
                    },
                ),
                15,
            ),
            (
                house.rows(
                    "verdicts", verdicts,
                    transformations=(
                        ordered("Time", "rule", "outcome", "value"),
                        sorted_by("Time"),
                        transform("limit", limitField=50),
                    ),
                    looks={
                        "Time": Look(name=text("time"), unit=unit("date"), width=170),
                        "rule": Look(name=text("rule"), mappings=f.rule_mappings(words)),
                        "outcome": Look(
                            name=text("outcome"), mappings=f.outcome_mappings(words), paint="text"
                        ),
                        "value": Look(name=text("value"), unit=unit("plain")),
                    },
                ),
                9,
            ),
        ),
    )  # fmt: skip
