"""Tariff tables: what is shipped, what is refused, and steps that equal the obvious lookup."""

import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ledger.tariff_tables import builtin_tariffs, load_tariffs, tariffs_folder
from aggregator.ledger.tariffs import (
    NO_PERIOD,
    PERIODS,
    Hours,
    Period,
    Prices,
    Tariff,
    TariffTableError,
)
from aggregator.register.carriers import carriers
from aggregator.register.model import Register, Site
from aggregator.site_tariffs import SiteTariffs
from tests.oracle import tariff as oracle

TARIFFS = builtin_tariffs().tariffs
DAY_MS = 86_400_000
QUARTER_MS = 900_000


def beijing_ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 1000 - 8 * 3600 * 1000


def period_at(tariff: Tariff, time_ms: int) -> Period | None:
    (index,) = tariff.steps(time_ms, time_ms + 1).period_of(np.array([time_ms])).tolist()
    return None if index == NO_PERIOD else PERIODS[index]


# The shipped data


@pytest.mark.parametrize("name", sorted(TARIFFS))
def test_every_shipped_row_says_where_it_comes_from(name: str):
    tariff = TARIFFS[name]
    assert tariff.carrier in carriers()
    rows: tuple[Hours | Prices, ...] = (*tariff.hours, *tariff.prices)
    for row in rows:
        assert len(row.source) >= 10
        if row.verified:
            assert "program code" not in row.source
            assert "演示" not in row.source


@pytest.mark.parametrize("name", sorted(TARIFFS))
def test_only_demonstration_tariffs_take_unverified_rows(name: str):
    tariff = TARIFFS[name]
    assert tariff.allow_unverified == name.startswith("demo-") == ("演示" in tariff.title_zh)


def test_shandongs_hours_as_the_note_of_the_price_tables_words_them():
    demo = TARIFFS["demo-electricity"]
    assert [row.valid_to_ms for row in TARIFFS["shandong-110kv-example"].hours] == [
        beijing_ms(2026, 1, 1),
        beijing_ms(2027, 1, 1),
    ]

    def hours(month: int, period: Period) -> list[int]:
        return [h for h in range(24) if period_at(demo, beijing_ms(2026, month, 9, h)) is period]

    for month in (12, 1, 2):
        assert hours(month, Period.SHARP) == [16, 17, 18]
        assert hours(month, Period.PEAK) == [7, 8, 19, 20]
        assert hours(month, Period.VALLEY) == [2, 3, 4, 5, 10, 14]
        assert hours(month, Period.DEEP_VALLEY) == [11, 12, 13]
    assert hours(4, Period.SHARP) == [17, 18, 19]
    assert hours(6, Period.VALLEY) == [7, 8, 9, 10, 11]
    assert hours(7, Period.VALLEY) == [1, 2, 3, 4, 5]
    assert hours(8, Period.SHARP) == [17, 18, 19, 20, 21]
    assert hours(10, Period.SHARP) == [17, 18]


# Steps


def tables(name: str):
    read = {
        path.stem: tomllib.loads(path.read_text("utf-8"))
        for path in tariffs_folder().glob("*.toml")
    }
    tariff = read[name]
    return read.get(tariff["tariff"].get("calendar", "")), tariff


@given(
    name=st.sampled_from(sorted(TARIFFS)),
    start=st.integers(beijing_ms(2019, 12, 30) // 60_000, beijing_ms(2027, 2, 1) // 60_000),
    length=st.integers(1, 400 * 1440),
    minutes=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_steps_are_the_price_of_every_minute(name, start, length, minutes):
    from_ms, to_ms = start * 60_000, (start + length) * 60_000
    calendar, table = tables(name)
    steps = TARIFFS[name].steps(from_ms, to_ms)
    assert steps.valid_from_ms[0] <= from_ms
    assert (np.diff(steps.valid_from_ms) > 0).all()
    for share in minutes:
        time_ms = from_ms + int(share * (to_ms - from_ms))
        step = int(np.searchsorted(steps.valid_from_ms, time_ms, "right")) - 1
        period, price = oracle.at(calendar, table, time_ms)
        found = int(steps.period_of(np.array([time_ms]))[0])
        assert (None if found == NO_PERIOD else str(PERIODS[found])) == period
        np.testing.assert_equal(steps.price[step], np.nan if price is None else price)
        assert (TARIFFS[name].why_not(time_ms) == "") == (price is not None)


@pytest.mark.parametrize("verified", ["true", "false"])
def test_steps_beyond_the_rows_have_no_price_and_hours_must_be_verified(
    verified: str, tmp_path: Path
):
    hours = HOURS.replace("verified = true", f"verified = {verified}")
    tariff = load_tariffs([write(tmp_path, hours)]).choose("works")
    calendar, table = (
        tomllib.loads((tmp_path / name).read_text("utf-8")) for name in ("hours.toml", "works.toml")
    )
    from_ms, to_ms = beijing_ms(2023, 12, 31), beijing_ms(2025, 1, 3)
    steps = tariff.steps(from_ms, to_ms)
    for i, time_ms in enumerate(steps.valid_from_ms.tolist()):
        period, price = oracle.at(calendar, table, time_ms)
        assert (None if steps.period[i] == NO_PERIOD else PERIODS[steps.period[i]]) == period
        np.testing.assert_equal(steps.price[i], np.nan if price is None else price)
    assert np.isnan(steps.price).all() == (verified == "false")
    assert steps.period[-1] == steps.period[0] == NO_PERIOD


def test_a_price_changes_at_beijing_midnight_and_a_leap_day_is_a_day_of_february(tmp_path: Path):
    tariff = load_tariffs([write(tmp_path)]).choose("works")
    border = beijing_ms(2024, 3, 1)
    steps = tariff.steps(border - DAY_MS, border + DAY_MS)
    before, after = np.searchsorted(steps.valid_from_ms, [border - 1, border], "right") - 1
    assert (steps.price[before], steps.price[after]) == (0.3, 0.5)
    assert steps.valid_from_ms[after] == border
    assert period_at(tariff, border - DAY_MS + 12 * 3_600_000) is Period.PEAK


def test_a_price_per_kg_is_a_thousand_times_that_per_t(tmp_path: Path):
    (tmp_path / "coal.toml").write_text(
        PRICES.replace('calendar = "hours"\n', "")
        .replace("CNY/kWh", "CNY/kg").replace("valley = 0.3\n", "").replace("valley = 0.5\n", "")
        .replace("peak = 1", "flat = 0.8"), "utf-8",
    )  # fmt: skip
    tariff = load_tariffs([tmp_path]).choose("coal")
    assert tariff.channel_unit == "t"
    assert tariff.steps(beijing_ms(2024, 1, 1), beijing_ms(2024, 1, 2)).price.tolist() == [800.0]


# What is refused

HOURS = """\
[calendar]
title = "hours"
source = "the works' own hours"
[[hours]]
id = "h-1"
valid_from = 2024-01-01
valid_to = 2025-01-01
verified = true
[[hours.season]]
months = [1, 2, 3]
peak = ["08:00-20:00"]
valley = ["00:00-08:00", "20:00-24:00"]
[[hours.season]]
months = [4, 5, 6, 7, 8, 9, 10, 11, 12]
valley = ["00:00-12:30"]
peak = ["12:30-24:00"]
"""
PRICES = """\
[tariff]
title = "works"
title_zh = "合同"
region = "3701"
carrier = "electricity"
unit = "CNY/kWh"
user_class = "10 kV"
calendar = "hours"
allow_unverified = false
source = "contract of the works"
[[price]]
id = "p-1"
valid_from = 2024-01-01
valid_to = 2024-03-01
peak = 1
valley = 0.3
verified = true
[[price]]
id = "p-2"
valid_from = 2024-03-01
peak = 1
valley = 0.5
verified = true
"""


def write(folder: Path, hours: str = HOURS, prices: str = PRICES) -> Path:
    (folder / "hours.toml").write_text(hours, "utf-8")
    (folder / "works.toml").write_text(prices, "utf-8")
    return folder


def in_hours(old: str, new: str) -> Callable[[], tuple[str, str]]:
    assert old in HOURS
    return lambda: (HOURS.replace(old, new, 1), PRICES)


def in_prices(old: str, new: str) -> Callable[[], tuple[str, str]]:
    assert old in PRICES
    return lambda: (HOURS, PRICES.replace(old, new, 1))


REFUSED = {
    "gap in the day": (
        in_hours('"08:00-20:00"', '"08:00-19:00"'),
        "hours.toml: hours 1 (h-1) season 1: valley: gap: nothing holds from 19:00 to 20:00",
    ),
    "gap at the end of the day": (
        in_hours('"12:30-24:00"', '"12:30-23:30"'),
        "season 2: peak: gap: nothing holds from 23:30 to 24:00",
    ),
    "gap at the start of the day": (
        in_hours('"00:00-12:30"', '"00:15-12:30"'),
        "season 2: valley: gap: nothing holds from 00:00 to 00:15",
    ),
    "overlap in the day": (
        in_hours('"12:30-24:00"', '"12:00-24:00"'),
        "season 2: peak: overlap: begins at 12:00, while valley lasts until 12:30",
    ),
    "one span inside another": (
        in_hours('peak = ["12:30-24:00"]', 'peak = ["12:30-24:00", "13:00-14:00"]'),
        "season 2: peak: overlap: begins at 13:00, while peak lasts until 24:00",
    ),
    "gap in the year": (
        in_hours("[4, 5, 6, 7,", "[4, 5, 6,"),
        "hours 1 (h-1): season: gap: no season has month 7",
    ),
    "overlap in the year": (
        in_hours("[4, 5, 6,", "[3, 4, 5, 6,"),
        "hours 1 (h-1): season: overlap: month 3 stands in seasons 1 and 2",
    ),
    "thirteenth month": (in_hours("[1, 2, 3]", "[1, 2, 13]"), "season 1: months: [1, 2, 13] is"),
    "unknown period": (
        in_hours('valley = ["00:00-12:30"]', 'night = ["00:00-12:30"]'),
        "season 2: night: unknown key; periods are sharp, peak, flat, valley, deep_valley",
    ),
    "over midnight": (
        in_hours('"20:00-24:00"', '"20:00-06:00"'),
        "'20:00-06:00' ends before it begins; cut it at 24:00",
    ),
    "no such time": (in_hours('"20:00-24:00"', '"20:00-24:30"'), "ends after 24:00"),
    "not a span": (in_hours('"20:00-24:00"', '"20-24"'), "not a span like '16:00-19:00'"),
    "gap in validity": (
        in_prices("valid_from = 2024-03-01", "valid_from = 2024-03-02"),
        "works.toml: row (p-2): valid_from: gap after p-1, which is valid until 2024-03-01",
    ),
    "overlap in validity": (
        in_prices("valid_from = 2024-03-01", "valid_from = 2024-02-29"),
        "works.toml: row (p-2): valid_from: overlaps p-1",
    ),
    "ends before it begins": (
        in_prices("valid_to = 2024-03-01", "valid_to = 2023-03-01"),
        "price 1 (p-1): valid_to: 2023-03-01 is not after",
    ),
    "a period without price": (
        in_prices("valley = 0.5\n", ""),
        "works.toml: row (p-2): valley: missing: the calendar has this period",
    ),
    "price of an unknown period": (in_prices("valley = 0.5", "night = 0.5"), "night: unknown key"),
    "negative price": (in_prices("valley = 0.5", "valley = -0.5"), "valley: -0.5 is not a finite"),
    "text for a price": (in_prices("valley = 0.5", 'valley = "x"'), "valley: 'x' is not a number"),
    "infinite price": (in_prices("valley = 0.5", "valley = inf"), "valley: Infinity is not"),
    "no source": (in_prices('source = "contract of the works"\n', ""), "(p-1): source: missing"),
    "no verified flag": (in_hours("verified = true\n", ""), "hours 1 (h-1): verified: missing"),
    "unknown unit": (in_prices("CNY/kWh", "CNY/MWh"), "[tariff]: unit: unknown 'CNY/MWh'"),
    "unknown region": (in_prices('"3701"', '"Jinan"'), "[tariff]: region: 'Jinan' is neither"),
    "unknown calendar": (
        in_prices('calendar = "hours"', 'calendar = "hour"'),
        "works.toml: [tariff]: calendar: no calendar 'hour'; there are: hours",
    ),
    "a period where no calendar is named": (
        in_prices('calendar = "hours"\n', ""),
        "row (p-1): peak: no calendar is named, so one price `flat` holds all day",
    ),
    "a row of one name twice": (
        in_prices('id = "p-2"', 'id = "h-1"'), "price 2 (h-1): id: duplicate of hours.toml hours 1",
    ),
    "no rows": (lambda: (HOURS.partition("[[hours]]")[0], PRICES), "[[hours]]: at least one"),
    "no header": (lambda: (HOURS, PRICES.partition("[[price]]")[2]), "[tariff]: missing"),
    "not TOML": (lambda: ("[", PRICES), "hours.toml: not TOML"),
}  # fmt: skip


def test_the_example_is_good(tmp_path: Path):
    assert load_tariffs([write(tmp_path)]).choose("works").channel_unit == "kWh"


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path):
    make, told = REFUSED[case]
    with pytest.raises(TariffTableError) as caught:
        load_tariffs([write(tmp_path, *make())])
    assert told in str(caught.value)


def test_a_span_inside_another_is_one_problem_and_leaves_no_gap_behind_it(tmp_path: Path):
    make, _ = REFUSED["one span inside another"]
    with pytest.raises(TariffTableError) as caught:
        load_tariffs([write(tmp_path, *make())])
    assert len(caught.value.problems) == 1


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path):
    hours = HOURS.replace('"08:00-20:00"', '"08:00-19:00"').replace("[4, 5, 6,", "[4, 5,")
    prices = PRICES.replace("valid_from = 2024-03-01", "valid_from = 2024-03-02")
    with pytest.raises(TariffTableError) as caught:
        load_tariffs([write(tmp_path, hours, prices)])
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [
        ("hours.toml", "valley"),
        ("hours.toml", "season"),
        ("works.toml", "valid_from"),
    ]


def test_a_name_is_not_given_twice(tmp_path: Path):
    (tmp_path / "demo-gas.toml").write_text(PRICES, "utf-8")
    with pytest.raises(TariffTableError, match="a second file of this name"):
        load_tariffs([tariffs_folder(), tmp_path])


def test_an_unknown_tariff_is_answered_with_those_there_are():
    with pytest.raises(TariffTableError, match=r"no tariff 'x'; there are: demo-coal, demo-el"):
        builtin_tariffs().choose("x")


def test_the_example_of_the_documentation_loads(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "tariffs.md").read_text("utf-8")
    calendar, tariff = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "works-hours.toml").write_text(calendar, "utf-8")
    (tmp_path / "foundry-contract.toml").write_text(tariff, "utf-8")
    found = load_tariffs([tmp_path]).choose("foundry-contract")
    assert period_at(found, beijing_ms(2026, 1, 1, 9)) is Period.PEAK
    for name in TARIFFS:
        assert name in page or name.startswith("demo-")


# Sites


def of(
    *tariffs: str, region: str = "370114", grid_ms: int = QUARTER_MS, folder: Path | None = None
):
    site = Site("works", region, "厂", "works", "x", None, None, None, None, tariffs=tariffs)
    library = load_tariffs([tariffs_folder(), *([folder] if folder else [])])
    return SiteTariffs(Register.of([site], []), library, grid_ms)


def test_a_site_has_one_tariff_per_carrier():
    tariffs = of("demo-electricity", "demo-gas")
    found = tariffs.find("works", "natural_gas", "m3")
    assert found is not None
    assert found.name == "demo-gas"
    assert tariffs.find("works", "water", "m3") is None


@pytest.mark.parametrize(
    ("tariffs", "region", "told"),
    [
        (("demo-elektricity",), "370114", "site works: tariff: no tariff 'demo-elektricity'"),
        (("demo-electricity", "works"), "370114", "demo-electricity and works both price elec"),
        (("works",), "370800", "works is of region 3701, the site of 370800"),
    ],
)
def test_sites_refused(tariffs, region, told, tmp_path: Path):
    with pytest.raises(TariffTableError) as caught:
        of(*tariffs, region=region, folder=write(tmp_path))
    assert told in str(caught.value)


def test_a_period_that_begins_inside_an_interval_is_refused(tmp_path: Path):
    write(tmp_path)
    of("works", grid_ms=QUARTER_MS * 2, folder=tmp_path)
    with pytest.raises(
        TariffTableError, match=r"h-1 has a border at 12:30, inside an interval of 60"
    ):
        of("works", grid_ms=QUARTER_MS * 4, folder=tmp_path)


def test_why_there_is_no_price(tmp_path: Path):
    write(tmp_path)
    tariffs = of("works", "demo-gas", folder=tmp_path)
    year = beijing_ms(2024, 1, 1), beijing_ms(2025, 1, 1)
    assert tariffs.why_not("works", "electricity", "kWh", *year) == ""
    assert "calendar hours of tariff works has no row for that time" in tariffs.why_not(
        "works", "electricity", "kWh", year[0], year[1] + 1
    )
    assert "no prices" in tariffs.why_not("works", "natural_gas", "m3", 0, 1)
    assert "site works has no tariff for water per m3" in tariffs.why_not(
        "works", "water", "m3", 0, 1
    )
    reason = of("shandong-110kv-example").why_not("works", "electricity", "kWh", *year)
    assert "has no row for that time" in reason
    shandong = of("shandong-110kv-example")
    reason = shandong.why_not("works", "electricity", "kWh", year[1], beijing_ms(2026, 1, 1))
    assert reason
    assert "not verified" in shandong.why_not(
        "works", "electricity", "kWh", beijing_ms(2026, 1, 1), beijing_ms(2027, 1, 1)
    )


def test_steps_of_a_year_are_cut_at_every_midnight():
    steps = TARIFFS["demo-electricity"].steps(beijing_ms(2026, 1, 1), beijing_ms(2027, 1, 1))
    midnights = np.arange(beijing_ms(2026, 1, 1), beijing_ms(2027, 1, 1), DAY_MS)
    assert np.isin(midnights, steps.valid_from_ms).all()
    assert all(a < b for a, b in pairwise(steps.valid_from_ms.tolist()))
