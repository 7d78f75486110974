"""Networks and plant 供热/供水/光伏/储能/数据中心: losses, performance ratio, efficiency, PUE.

What is lost in a network is what its meter counts and no meter below it does (balance figures).
Plants are told by the sector of their site; a data centre's IT equipment is its node `it`; what a
PV plant should have made is output of the product `pv-theoretical` (理论发电量), told by month.
"""

from contract.stored import (
    BALANCES,
    CARRIER,
    GENERATION,
    INDICATOR,
    KIND,
    METER,
    NODE,
    NODE_FIGURES,
    NODE_INFO,
    OUT,
    PLAN,
    SITE,
    TOTAL,
    Level,
)
from grafana import figures as f
from grafana.board import Board, Row, address, region_variable, sites_variable
from grafana.influxql import (
    ALWAYS,
    DAY,
    Condition,
    Query,
    call,
    chosen,
    equal,
    last,
    matches,
    other_than,
    raw,
    select,
    share,
    total,
)
from grafana.looks import SHARE_STEPS, Look, Steps
from grafana.palette import BAD, CARRIERS, GOOD, WATCH
from grafana.palette import GENERATION as GREEN
from grafana.palette import OUT as LEAVING
from grafana.panels import House
from grafana.transformations import (
    columns,
    compared,
    join,
    letters,
    ordered,
    ratio,
    sorted_by,
)
from grafana.words import Words

SECTORS = {
    "heating": "供热|热力公司|heating network|district heating",
    "supply": "供水|自来水|water supply|waterworks",
    "solar": "光伏|photovoltaic",
    "storage": "储能|battery storage",
    "centre": "数据中心|data cent",
}
"""Variable -> sectors of the register it stands for."""
IT = "it"
"""Id of the node that holds a data centre's IT equipment."""
THEORETICAL = "pv-theoretical"
"""Product whose output is what a PV plant should have made [kWh]."""
HEAT = "heat"
HEAT_STEPS: Steps = ((None, GOOD), (0.1, WATCH), (0.15, BAD))
"""No plan names a share; Jining's asks for 5 points below 2020's by 2030."""
LEAK_STEPS: Steps = ((None, GOOD), (0.078, WATCH), (0.079, BAD))
"""7.8 % in Laiwu's plan, 7.9 % in Jining's."""
PUE_STEPS: Steps = ((None, GOOD), (1.25, WATCH), (1.5, BAD))
"""Jinan's plan prefers data centres below 1.25."""
NETWORK = matches(METER, ".")
"""Rows of meters with others below them."""


def make(words: Words) -> Board:
    """Make the dashboard."""
    house = House("networks", words)
    kinds = tuple(sites_variable(words, name, sectors) for name, sectors in SECTORS.items())
    rows = (_numbers(house), _losses(house), _networks(house), _plants(house), _centres(house))
    return Board("networks", rows, (region_variable(words), *kinds))


def _of(kind: str) -> tuple[Condition, ...]:
    return (f.IN_REGION, chosen(SITE, kind))


def _lost(kind: str, carrier: str, *, by: tuple[str, ...] = (), each: str = "") -> Query:
    return select(
        {"Value": share("residual", "parent")},
        BALANCES[Level.DAY], *_of(kind), NETWORK, equal(CARRIER, carrier), by=by, each=each,
    )  # fmt: skip


def _electric(
    kind: str, node: str, name: str, divisor: float, *, by: tuple[str, ...] = (), each: str = ""
) -> Query:
    return select(
        {name: total("amount") / divisor},
        NODE_FIGURES[Level.DAY], *_of(kind), equal(NODE, node), f.ELECTRIC, by=by, each=each,
    )  # fmt: skip


def _numbers(house: House) -> Row:
    unit = house.words.unit
    kwh = unit("kwh").divisor
    generated, ideal = _monthly(kwh)
    taken, given = (_electric("storage", node, "value", kwh) for node in (TOTAL, OUT))
    whole, it = (_electric("centre", node, "value", kwh) for node in (TOTAL, IT))
    of_all = matches(SITE, "^(" + "|".join(f"${{{kind}:regex}}" for kind in SECTORS) + ")$")
    sure = f.figures(f.IN_REGION, of_all, f.OF_TOTAL, f.CARRIERS_ONLY, measured=f.measured())
    return Row(
        4,
        (
            (
                house.number(
                    "heat_loss", _lost("heating", HEAT), unit=unit("share"), steps=HEAT_STEPS
                ),
                4,
            ),
            (
                house.number(
                    "leakage", _lost("supply", f.WATER), unit=unit("share"), steps=LEAK_STEPS
                ),
                4,
            ),
            (
                house.number(
                    "performance", *letters(generated, ideal), unit=unit("share"), color=GREEN,
                    transformations=(
                        join("Time"), ratio("performance", "made", "/", "ideal"),
                        columns("performance"),
                    ),
                ),
                4,
            ),
            (
                house.number(
                    "efficiency", *compared("$B / ($A + $B)", taken, given), unit=unit("share"),
                    color=CARRIERS[f.ELECTRICITY],
                ),
                4,
            ),
            (
                house.number(
                    "pue", *compared("$A / $B", whole, it), unit=unit("plain"), steps=PUE_STEPS
                ),
                4,
            ),
            (house.number("measured", sure, unit=unit("share"), steps=SHARE_STEPS), 4),
        ),
    )  # fmt: skip


def _monthly(divisor: float) -> tuple[Query, Query]:
    """What PV plants made, and what they should have made, month by month."""
    made = f.figures(
        *_of("solar"), equal(NODE, GENERATION), f.ELECTRIC, level=Level.MONTH, time=f.YEAR_BACK,
        made=total("amount") / divisor, each=DAY,
    )  # fmt: skip
    ideal = select(
        {"ideal": total("value")},
        PLAN, *_of("solar"), equal(KIND, "production"), equal(INDICATOR, THEORETICAL),
        equal("listed", 1), time=f.YEAR_BACK, each=DAY,
    )  # fmt: skip
    return made, ideal


def _losses(house: House) -> Row:
    words, unit = house.words, house.words.unit
    panels = []
    for key, kind, carrier, steps in (
        ("heat_daily", "heating", HEAT, HEAT_STEPS),
        ("leak_daily", "supply", f.WATER, LEAK_STEPS),
    ):
        daily = _lost(kind, carrier, by=(SITE,), each=DAY)
        panel = house.course(
            key, *letters(daily, f.site_names(words)), unit=unit("share"), interval="1d",
            steps=steps, transformations=f.named_courses(SITE),
        )  # fmt: skip
        panels.append((panel, 12))
    return Row(8, panels)


def _networks(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    divisor = unit("amount").divisor
    to_meter = (
        text("open_meter"),
        address("meter", site="${__data.fields.site}", meter="${__data.fields.meter}"),
    )
    lost = select(
        {
            "entered": total("parent") / divisor,
            "delivered": total("children") / divisor,
            "lost": total("residual") / divisor,
            "share": share("residual", "parent"),
            "limit": last("limit_ppm") / 1_000_000,
        },
        BALANCES[Level.DAY], f.IN_REGION, NETWORK, matches(CARRIER, f"^({HEAT}|{f.WATER})$"),
        by=(SITE, CARRIER, METER),
    )  # fmt: skip
    flow = f.figures(
        *_of("supply"), f.OF_TOTAL, equal(CARRIER, f.WATER), equal("missing_ms", 0),
        level=Level.HOUR,
        Value=call("min", "amount") / unit("m3_h").divisor, by=(SITE,), each=DAY,
    )  # fmt: skip
    names = ("name", CARRIER, "entered", "delivered", "lost", "share", "limit", SITE, METER)
    return Row(
        8,
        (
            (
                house.rows(
                    "networks", *letters(lost, f.site_names(words)),
                    transformations=(
                        join(SITE), columns(*names), ordered(*names),
                        sorted_by("share"),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_meter),
                        CARRIER: Look(
                            name=text("carrier"), width=80,
                            mappings={
                                one: (text(one), CARRIERS[one]) for one in (HEAT, f.WATER)
                            },
                        ),
                        "entered": Look(name=text("entered"), unit=unit("amount"), width=110),
                        "delivered": Look(name=text("delivered"), unit=unit("amount"), width=110),
                        "lost": Look(name=text("lost"), unit=unit("amount"), width=100),
                        # Not painted: each network has a limit of its own, which stands beside it.
                        "share": Look(name=text("loss_share"), unit=unit("share"), width=90),
                        "limit": Look(name=text("limit"), unit=unit("share"), width=80),
                        SITE: Look(hidden=True),
                        METER: Look(hidden=True),
                    },
                ),
                14,
            ),
            (
                house.course(
                    "night_flow", *letters(flow, f.site_names(words)), unit=unit("m3_h"),
                    interval="1d", transformations=f.named_courses(SITE),
                ),
                10,
            ),
        ),
    )  # fmt: skip


def _plants(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    divisor = unit("electricity").divisor
    generated = f.figures(
        f.EVERY_SITE, equal(NODE, GENERATION), f.ELECTRIC, Value=total("amount") / divisor,
        by=(SITE,), each=DAY,
    )  # fmt: skip
    made, ideal = _monthly(unit("kwh").divisor)
    kept = _electric("storage", TOTAL, "kept", divisor, each=DAY)
    given = _electric("storage", OUT, "given", divisor, each=DAY)
    return Row(
        8,
        (
            (
                house.course(
                    "pv_daily", *letters(generated, f.site_names(words)),
                    unit=unit("electricity"), bars=True, stacked=True, interval="1d",
                    transformations=f.named_courses(SITE),
                ),
                8,
            ),
            (
                house.course(
                    "pv_months", *letters(made, ideal), unit=unit("share"), bars=True, year=True,
                    interval="28d", legend=False,
                    transformations=(
                        join("Time"), ratio("performance", "made", "/", "ideal"),
                        columns("Time", "performance"),
                    ),
                    looks={"performance": Look(name=text("performance"), color=GREEN)},
                ),
                8,
            ),
            (
                house.course(
                    "storage_daily", *letters(kept, given), unit=unit("electricity"), bars=True,
                    interval="1d",
                    transformations=(
                        join("Time"), ratio("taken", "kept", "+", "given"),
                        columns("Time", "taken", "given"),
                    ),
                    looks={
                        "taken": Look(name=text("charged"), color=CARRIERS[f.ELECTRICITY]),
                        "given": Look(name=text("discharged"), color=LEAVING),
                    },
                ),
                8,
            ),
        ),
    )  # fmt: skip


def _centres(house: House) -> Row:
    words, unit, text = house.words, house.words.unit, house.words.__getitem__
    divisor = unit("electricity").divisor
    to_site = (text("open_site"), address("site", site="${__data.fields.site}"))
    whole, it = (
        _electric("centre", node, name, divisor, each=DAY)
        for node, name in ((TOTAL, "whole"), (IT, "it"))
    )
    of_site = [
        _electric("centre", node, name, divisor, by=(SITE,))
        for node, name in ((TOTAL, "whole"), (IT, "it"))
    ]
    parts = f.figures(
        *_of("centre"), matches(NODE, "^[^_]"), f.ELECTRIC, Value=total("amount") / divisor,
        by=(NODE,), each=DAY,
    )  # fmt: skip
    nodes = select(
        {"name": raw(words.name_field)},
        NODE_INFO, *_of("centre"), other_than(NODE, TOTAL), equal("listed", 1), time=ALWAYS,
        by=(NODE,),
    )  # fmt: skip
    names = ("name", "whole", "it", "pue", SITE)
    return Row(
        8,
        (
            (
                house.course(
                    "pue_daily", *letters(whole, it), unit=unit("plain"), interval="1d",
                    least=1.0, legend=False, steps=PUE_STEPS,
                    transformations=(
                        join("Time"), ratio("pue", "whole", "/", "it"), columns("Time", "pue")
                    ),
                    looks={"pue": Look(name=text("pue"), color=CARRIERS[f.ELECTRICITY])},
                ),
                8,
            ),
            (
                house.course(
                    "centre_parts", *letters(parts, nodes), unit=unit("electricity"), bars=True,
                    stacked=True, interval="1d", transformations=f.named_courses(NODE),
                ),
                8,
            ),
            (
                house.rows(
                    "centres", *letters(f.site_names(words), *of_site),
                    transformations=(
                        join(SITE), ratio("pue", "whole", "/", "it"), columns(*names),
                        ordered(*names), sorted_by("pue"),
                    ),
                    looks={
                        "name": Look(name=text("site"), link=to_site),
                        "whole": Look(
                            name=text("electricity"), unit=unit("electricity"), width=110
                        ),
                        "it": Look(name=text("it"), unit=unit("electricity"), width=110),
                        "pue": Look(
                            name=text("pue"), unit=unit("plain"), paint="text", steps=PUE_STEPS,
                            width=80,
                        ),
                        SITE: Look(hidden=True),
                    },
                ),
                8,
            ),
        ),
    )  # fmt: skip
