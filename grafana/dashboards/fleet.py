"""Fleet 网关: which gateways are there, what they hold back, and whether their clocks are right."""

from contract.stored import BUS, BUS_HISTORY, EDGE, EDGE_HISTORY, SITE
from grafana import figures as f
from grafana.board import Board, Row, address, region_variable
from grafana.influxql import HOUR, Names, Query, call, last, over, rate, raw, select, span
from grafana.looks import SHARE_STEPS, Look, Steps
from grafana.palette import BAD, ENERGY, GOOD, WATCH
from grafana.panels import House
from grafana.transformations import columns, join, letters, ordered, sorted_by, timeless
from grafana.words import Words

LATEST = span("1d")
DAY_STEPS: Steps = ((None, BAD), (7.0, WATCH), (30.0, GOOD))
CLOCK_STEPS: Steps = ((None, GOOD), (1000.0, WATCH), (5000.0, BAD))
BACKLOG_STEPS: Steps = ((None, GOOD), (1000.0, WATCH), (100_000.0, BAD))


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("fleet", words)
    rows = (_numbers(house), _states(house), _courses(house))
    return Board("fleet", rows, (region_variable(words),), begin="now-2d", refresh="1m")


def _numbers(house: House) -> Row:
    unit = house.words.unit
    each = (SITE, EDGE)

    def newest(field: str) -> Query:
        return select({"value": last(field)}, EDGE_HISTORY, f.IN_REGION, time=LATEST, by=each)

    online = over({"online": call("mean", "value")}, newest("online"))
    count = over({"gateways": call("count", "value")}, newest("online"))
    backlog = over({"backlog": call("sum", "value")}, newest("outbox_depth"))
    oldest = over(
        {"oldest": call("max", "value") / unit("minutes").divisor}, newest("outbox_oldest_ms")
    )
    horizon = over({"days": call("min", "value") / unit("days").divisor}, newest("horizon_ms"))
    clock = over({"clock": call("max", "value")}, newest("clock_offset_ms"))
    failures = over(
        {"share": call("sum", "failures") / call("sum", "polls")},
        select(
            {
                "failures": call("spread", "failures"),
                "polls": call("spread", "polls"),
            },
            EDGE_HISTORY, f.IN_REGION, time=LATEST, by=each,
        ),
    )  # fmt: skip
    return Row(
        4,
        (
            (house.number("gateways", count, unit=unit("count"), color=ENERGY), 3),
            (house.number("online", online, unit=unit("share"), steps=SHARE_STEPS), 3),
            (house.number("backlog", backlog, unit=unit("count"), steps=BACKLOG_STEPS), 4),
            (
                house.number(
                    "oldest", oldest, unit=unit("minutes"),
                    steps=((None, GOOD), (10.0, WATCH), (60.0, BAD)),
                ),
                4,
            ),
            (house.number("horizon", horizon, unit=unit("days"), steps=DAY_STEPS), 3),
            (house.number("clock", clock, unit=unit("milliseconds"), steps=CLOCK_STEPS), 4),
            (
                house.number(
                    "failures", failures, unit=unit("share"),
                    steps=((None, GOOD), (0.01, WATCH), (0.05, BAD)),
                ),
                3,
            ),
        ),
    )  # fmt: skip


def _states(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    online = select(
        {"online": last("online")}, EDGE_HISTORY, f.IN_REGION, by=(EDGE,), each=Names.STEP
    ).as_series(f"$tag_{EDGE}")
    fields = {
        "online": last("online"),
        "outbox": raw("outbox_depth"),
        "oldest": raw("outbox_oldest_ms") / unit("minutes").divisor,
        "horizon": raw("horizon_ms") / unit("days").divisor,
        "clock": raw("clock_offset_ms"),
        "version": raw("version"),
        "meters_ok": raw("meters_ok"),
        "meters": raw("meters"),
    }  # all of the newest state, whose time comes along
    table = select(fields, EDGE_HISTORY, f.IN_REGION, time=LATEST, by=(SITE, EDGE), once=True)
    to_site = (text("open_site"), address("site", site="${__data.fields.site}"))
    order = ("name", EDGE, *fields, "Time", SITE)
    values = {"1": (text("online"), GOOD), "0": (text("offline"), BAD)}
    return Row(
        13,
        (
            (
                house.states("timeline", online, values=values, interval="5m"),
                8,
            ),
            (
                house.rows(
                    "edges", *letters(f.site_names(words), table),
                    transformations=(
                        timeless("A"), join(SITE), columns(*order), ordered(*order),
                        sorted_by("online", ascending=True),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site),
                        EDGE: Look(name=text("edge"), width=122),
                        "online": Look(
                            name=text("online"), mappings=values, paint="text", width=60
                        ),
                        "outbox": Look(
                            name=text("outbox"), unit=unit("count"), steps=BACKLOG_STEPS,
                            paint="text", width=74,
                        ),
                        "oldest": Look(name=text("oldest"), unit=unit("minutes"), width=80),
                        "horizon": Look(
                            name=text("horizon"), unit=unit("days"), steps=DAY_STEPS,
                            paint="text", width=86,
                        ),
                        "clock": Look(
                            name=text("clock_offset"), unit=unit("milliseconds"),
                            steps=CLOCK_STEPS, paint="text", width=74,
                        ),
                        "version": Look(name=text("version"), width=62),
                        "meters_ok": Look(name=text("meters_ok"), unit=unit("count"), width=66),
                        "meters": Look(name=text("meters"), unit=unit("count"), width=45),
                        "Time": Look(name=text("last_seen"), unit=unit("moment"), width=100),
                        SITE: Look(hidden=True),
                    },
                ),
                16,
            ),
        ),
    )  # fmt: skip


def _courses(house: House) -> Row:
    unit = house.words.unit
    one = (f.IN_REGION,)
    backlog = select(
        {"backlog": call("max", "outbox_depth")}, EDGE_HISTORY, *one, by=(EDGE,), each=Names.STEP
    ).as_series(f"$tag_{EDGE}")
    clock = select(
        {"clock": call("mean", "clock_offset_ms")}, EDGE_HISTORY, *one, by=(EDGE,),
        each=Names.STEP,
    ).as_series(f"$tag_{EDGE}")  # fmt: skip
    missed = select(
        {"missed": rate("last", "missed_cycles", "1h")},
        BUS_HISTORY, *one, by=(EDGE, BUS), each=HOUR,
    ).as_series(f"$tag_{EDGE} $tag_{BUS}")  # fmt: skip
    return Row(
        9,
        (
            (
                house.course(
                    "backlogs", backlog, unit=unit("count"), interval="5m", legend=False
                ),
                8,
            ),
            (
                house.course(
                    "clocks", clock, unit=unit("milliseconds"), interval="5m", legend=False,
                    zero=False,
                ),
                8,
            ),
            (house.course("buses", missed, unit=unit("count"), interval="1h", legend=False), 8),
        ),
    )  # fmt: skip
