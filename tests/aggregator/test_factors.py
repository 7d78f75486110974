import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.ledger.factor_tables import builtin_library, load_library
from aggregator.ledger.factors import (
    BEGINNING_MS,
    Analysis,
    Basis,
    Factor,
    FactorTableError,
    Measure,
)
from aggregator.register.carriers import carriers
from contract.channels import catalogue
from tests.oracle import accounts as oracle

ROWS = sorted(builtin_library().rows.values(), key=lambda row: row.id)
SHANDONG = "370114"


def beijing_ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000 - 8 * 3600 * 1000


def value_at(set_name: str, carrier: str, unit: str, measure: Measure, time_ms: int) -> float:
    steps = builtin_library().choose(set_name).steps(carrier, unit, measure, SHANDONG)
    return float(steps.factor[np.searchsorted(steps.valid_from_ms, time_ms, "right") - 1])


# Measured calorific values

DAY_MS = 86_400_000
ANALYSES = st.builds(
    lambda ncv, start, length: Analysis(
        Decimal(ncv).scaleb(-2), "report", start, None if length is None else start + length
    ),
    st.integers(1_500, 3_000),
    st.integers(0, 400).map(lambda day: beijing_ms(2019, 12, 1) + day * DAY_MS),
    st.none() | st.integers(1, 300).map(lambda day: day * DAY_MS),
)


@given(st.lists(ANALYSES, max_size=4), st.integers(-40, 800), st.sampled_from(Measure))
def test_a_measured_value_takes_the_place_of_the_tables_while_it_holds(analyses, day, measure):
    time_ms = beijing_ms(2020, 1, 1) + day * DAY_MS
    chosen = builtin_library().choose("national")
    steps = chosen.steps("raw_coal", "t", measure, SHANDONG, analyses)
    found = float(steps.factor[np.searchsorted(steps.valid_from_ms, time_ms, "right") - 1])
    by_table, row = {
        "kgce_calorific": (714.3, "gb2589-2020-raw-coal"),
        "kgce_equivalent": (714.3, "equivalent-raw-coal"),
        "co2_kg": (1900.3, "fuels-a-raw-coal"),
    }[measure]
    begun = time_ms >= builtin_library().rows[row].valid_from_ms
    expected = oracle.measured_factor(
        by_table if begun else math.nan,
        (26.37, 0.94) if begun else None,
        [(float(a.ncv_gj), a.valid_from_ms, a.valid_to_ms) for a in analyses],
        time_ms,
        co2=measure is Measure.CO2_KG,
    )
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert (steps.valid_from_ms[1:] > steps.valid_from_ms[:-1]).all()


def test_the_calorific_value_of_the_table_measured_gives_its_own_factor():
    chosen, start = builtin_library().choose("national"), beijing_ms(2026, 1, 1)
    analysis = Analysis(Decimal("20.908"), "report 7", start, None)
    steps = chosen.steps("raw_coal", "t", Measure.CO2_KG, SHANDONG, [analysis])
    assert steps.factor[-1] == pytest.approx(1900.3, rel=1e-4)
    assert (steps.row_ids[-1], steps.analyses[-1]) == ("fuels-a-raw-coal", analysis)
    coal = chosen.steps("raw_coal", "t", Measure.KGCE_CALORIFIC, SHANDONG, [analysis])
    assert coal.factor[-1] == pytest.approx(20_908 / 29.307)
    assert (coal.row_ids[-1], coal.reasons[-1], coal.analyses[-1]) == ("", "", analysis)


def test_a_fuel_whose_row_is_not_verified_has_coal_by_analysis_and_no_co2():
    chosen, start = builtin_library().choose("national"), beijing_ms(2026, 1, 1)
    analysis = Analysis(Decimal(50), "report 8", start, None)
    coal = chosen.steps("lng", "t", Measure.KGCE_EQUIVALENT, SHANDONG, [analysis])
    assert coal.factor[-1] == pytest.approx(50_000 / 29.307)
    co2 = chosen.steps("lng", "t", Measure.CO2_KG, SHANDONG, [analysis])
    assert math.isnan(co2.factor[-1])
    assert "fuels-a-lng is not verified" in co2.reasons[-1]


# The shipped data


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_says_where_it_comes_from(row: Factor):
    assert len(row.source) >= 10
    assert len(row.edition) >= 2
    assert row.item in carriers()
    assert row.channel_unit in {
        str(channel.unit) for channel in catalogue().values() if channel.cumulative
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_fits_a_channel_that_its_carrier_accounts(row: Factor):
    units = {str(catalogue()[name].unit) for name in carriers()[row.item].forward}
    assert row.channel_unit in units


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_program_code_of_others_is_never_a_verified_source(row: Factor):
    if row.verified:
        assert "program code" not in row.source
        assert "GHGTOOL" not in row.source
        assert "computed" not in row.source.replace("recomputed", "")


KNOWN = {
    "gb2589-2020-electricity": "0.1229",
    "gb2589-2020-raw-coal": "714.3",
    "gb2589-2020-coke": "971.4",
    "gb2589-2020-natural-gas": "1.33",
    "gb2589-2020-diesel": "1457.1",
    "gb2589-2020-heat": "34.12",
    "gb2589-2020-steam-mass": "128.6",
    "grid-national-2021": "0.5568",
    "grid-national-2022": "0.5366",
    "grid-national-2023": "0.5306",
    "grid-37-2021": "0.6838",
    "grid-37-2022": "0.6410",
    "grid-37-2023": "0.6191",
    "grid-national-residual-2023": "0.6096",
    "heat-co2-default": "110",
    "fuels-a-natural-gas": "2.1622",
    "fuels-b-natural-gas": "2.16",
    "fuels-a-diesel": "3095.9",
    "fuels-a-raw-coal": "1900.3",
}


@pytest.mark.parametrize("row_id", KNOWN)
def test_known_values_per_unit_of_the_channel(row_id: str):
    assert builtin_library().rows[row_id].per_unit == Decimal(KNOWN[row_id])


PRINTED = {  # t CO2 per t, of a gas kg per m3, as the reference tables print them
    "a": {
        "bituminous_coal": 1.7418, "lignite": 1.1729, "coke": 2.8604, "petroleum_coke": 3.2115,
        "crude_oil": 3.0202, "fuel_oil": 3.1705, "gasoline": 2.9251, "diesel": 3.0959,
        "lng": 2.8313, "lpg": 3.1013, "natural_gas": 2.1622, "coke_oven_gas": 0.8864,
        "blast_furnace_gas": 0.8481, "converter_gas": 1.5124, "raw_coal": 1.9003,
        "kerosene": 3.0179, "refinery_gas": 3.0119,
    },
    "b": {
        "anthracite": 2.2230, "bituminous_coal": 1.9467, "lignite": 1.4483, "washed_coal": 2.2818,
        "coke": 2.7891, "crude_oil": 3.0190, "fuel_oil": 3.1542, "gasoline": 2.9271,
        "diesel": 3.0994, "kerosene": 3.0355, "lng": 2.8547, "lpg": 3.1343,
        "refinery_gas": 3.0456, "natural_gas": 2.16, "coke_oven_gas": 0.86,
        "other_coal_gas": 0.70, "blast_furnace_gas": 0.85, "converter_gas": 1.51,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_the_fuels_of_both_sets_are_those_of_the_reference(name: str):
    found = {row.item: row for row in ROWS if row.series == f"fuels-{name}"}
    for item, printed in PRINTED[name].items():
        per_unit = float(found[item].per_unit) / (1000 if found[item].channel_unit == "t" else 1)
        assert per_unit == pytest.approx(printed, rel=1e-4, abs=0.005 if printed < 0.9 else 0.003)


FUELS = [row for row in ROWS if row.series.startswith("fuels")]


@pytest.mark.parametrize("row", FUELS, ids=lambda row: row.id)
def test_fuel_rows_follow_from_their_three_numbers(row: Factor):
    assert row.burning is not None
    kg_per_gj = float(row.burning.carbon_tc_per_tj) * float(row.burning.oxidised) * 44 / 12
    assert float(row.per_unit) == pytest.approx(float(row.burning.ncv_gj) * kg_per_gj, rel=2e-3)


def test_the_calorific_values_follow_from_29307_kj_per_kgce():
    rows = builtin_library().rows
    assert float(rows["gb2589-2020-electricity"].per_unit) == pytest.approx(3600 / 29307, rel=1e-3)
    assert float(rows["gb2589-2020-raw-coal"].per_unit) == pytest.approx(20934e3 / 29307, rel=1e-3)
    assert float(rows["gb2589-2020-heat"].per_unit) == pytest.approx(1e6 / 29307, rel=1e-3)


def test_unverified_rows_are_listed_by_hand_so_that_a_flip_is_seen():
    assert {row.id for row in ROWS if row.series.startswith("grid") and row.verified} == {
        "grid-national-2021",
        "grid-national-residual-2021",
    }
    assert {row.id for row in ROWS if row.series == "gb2589-2020" and not row.verified} == {
        "gb2589-2020-lng",
        "gb2589-2020-steam-mass",
        "gb2589-2020-coal-slime",
        "gb2589-2020-briquette",
        "gb2589-2020-coal-tar",
        "gb2589-2020-coke-oven-gas",
        "gb2589-2020-blast-furnace-gas",
        "gb2589-2020-converter-gas",
    }
    assert {row.id for row in ROWS if row.series == "fuels-a" and not row.verified} == {
        f"fuels-a-{fuel}"
        for fuel in (
            "bituminous-coal", "lignite", "petroleum-coke", "lng",
            "coke-oven-gas", "blast-furnace-gas", "converter-gas",
        )
    }  # fmt: skip


def test_only_the_demo_set_takes_unverified_rows_and_says_so():
    sets = builtin_library().sets
    assert [name for name in sets if sets[name].allow_unverified] == ["demo"]
    assert "演示" in sets["demo"].title


# Steps


def test_a_data_year_applies_to_its_own_year_from_beijing_midnight():
    def co2(time_ms: int) -> float:
        return value_at("demo", "electricity", "kWh", Measure.CO2_KG, time_ms)

    new_year = beijing_ms(2022, 1, 1)
    assert co2(new_year - 1) == 0.6838
    assert co2(new_year) == 0.6410
    assert co2(beijing_ms(2023, 7, 1)) == co2(beijing_ms(2026, 11, 21)) == 0.6191


def test_the_newest_yearly_row_is_open_ended_and_provisional_after_its_year():
    rows = builtin_library().rows
    assert rows["grid-37-2023"].valid_to_ms is None
    assert rows["grid-37-2023"].provisional_from_ms == beijing_ms(2024, 1, 1)
    assert rows["grid-37-2022"].provisional_from_ms is None
    assert rows["gb2589-2020-heat"].basis is Basis.STANDING
    assert rows["gb2589-2020-heat"].provisional_from_ms is None


def test_an_unverified_row_gives_null_with_its_reason_and_never_zero():
    steps = (
        builtin_library().choose("shandong").steps("electricity", "kWh", Measure.CO2_KG, SHANDONG)
    )
    assert np.isnan(steps.factor).all()
    assert "grid-37-2023 is not verified" in steps.reasons[-1]
    assert set(steps.row_ids) == {""}


def test_verified_rows_beside_unverified_ones_still_count():
    steps = (
        builtin_library().choose("national").steps("electricity", "kWh", Measure.CO2_KG, SHANDONG)
    )
    assert steps.row_ids == ("", "grid-national-2021", "", "")
    assert steps.factor[1] == 0.5568


def test_before_the_first_row_there_is_no_factor():
    steps = builtin_library().choose("demo").steps("raw_coal", "t", Measure.KGCE_CALORIFIC, "37")
    assert steps.valid_from_ms[0] == BEGINNING_MS
    assert np.isnan(steps.factor[0])
    assert "that early" in steps.reasons[0]


def test_a_provincial_row_is_not_lent_to_another_province():
    steps = builtin_library().choose("demo").steps("electricity", "kWh", Measure.CO2_KG, "110000")
    assert np.isnan(steps.factor).all()
    assert "region 110000" in steps.reasons[0]


def test_water_does_not_count_by_default_and_the_reason_says_why():
    chosen = builtin_library().choose("demo")
    steps = chosen.steps("water", "m3", Measure.KGCE_CALORIFIC, SHANDONG)
    assert not chosen.counts("water")
    assert np.isnan(steps.factor).all()
    assert "耗能工质" in steps.reasons[0]


def test_the_unit_decides_so_that_steam_by_mass_never_takes_the_factor_of_heat():
    now = beijing_ms(2026, 1, 1)
    assert value_at("demo", "steam", "GJ", Measure.KGCE_CALORIFIC, now) == 34.12
    assert value_at("demo", "steam", "t", Measure.KGCE_CALORIFIC, now) == 128.6


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "expected"),
    [
        (beijing_ms(2021, 5, 1), beijing_ms(2021, 6, 1), ["grid-37-2021"]),
        (beijing_ms(2021, 12, 31), beijing_ms(2022, 1, 1), ["grid-37-2021"]),
        (beijing_ms(2021, 12, 31), beijing_ms(2022, 1, 1) + 1, ["grid-37-2021", "grid-37-2022"]),
        (beijing_ms(2022, 1, 1), beijing_ms(2022, 1, 1), ["grid-37-2022"]),
    ],
)
def test_between_names_the_steps_that_touch_a_period(from_ms: int, to_ms: int, expected):
    steps = builtin_library().choose("demo").steps("electricity", "kWh", Measure.CO2_KG, SHANDONG)
    assert [steps.row_ids[i] for i in steps.between(from_ms, to_ms)] == expected


# What the loader refuses

ROW = """
[[factor]]
id = "a-2021"
item = "electricity"
measure = "co2_kg"
value = 0.5
unit = "kgCO2/kWh"
data_year = 2021
basis = "yearly"
valid_from = 2021-01-01
valid_to = 2022-01-01
region = "national"
edition = "a notice"
source = "a page"
verified = true
"""
FUEL = (
    ROW.replace("electricity", "raw_coal").replace("0.5", "1.8333").replace("kgCO2/kWh", "tCO2/t")
    + "ncv_gj = 20\ncarbon_tc_per_tj = 25\noxidised = 1\n"
)
NEXT = ROW.replace("a-2021", "a-2022").replace("2022-", "2023-").replace("2021", "2022")
SET = """
[[set]]
name = "s"
title = "t"
title_zh = "t"
series = ["a"]
allow_unverified = false
not_counted = {}
"""

REFUSALS: dict[str, tuple[Callable[[], dict[str, str]], str, str]] = {
    "two years with one missing between": (
        lambda: {"a.toml": ROW + NEXT.replace("2023", "2024").replace("2022", "2023")},
        "valid_from",
        "gap after a-2021",
    ),
    "two rows of one year": (
        lambda: {"a.toml": ROW + ROW.replace("a-2021", "b-2021")},
        "valid_from",
        "overlaps a-2021",
    ),
    "an open-ended row that is not the newest": (
        lambda: {"a.toml": ROW.replace("valid_to = 2022-01-01", "") + NEXT},
        "valid_from",
        "overlaps a-2021, which is valid until further notice",
    ),
    "no data year": (lambda: {"a.toml": ROW.replace("data_year = 2021", "")}, "data_year", "miss"),
    "a year that is no year": (
        lambda: {"a.toml": ROW.replace("data_year = 2021", "data_year = 21")},
        "data_year",
        "21 is not a year",
    ),
    "a yearly row applied to another year": (
        lambda: {"a.toml": ROW.replace("data_year = 2021", "data_year = 2020")},
        "valid_from",
        "2020-01-01",
    ),
    "an end before the start": (
        lambda: {
            "a.toml": ROW.replace("yearly", "standing").replace("2022-01-01", "2020-01-01"),
        },
        "valid_to",
        "not after",
    ),
    "an unknown unit": (lambda: {"a.toml": ROW.replace("/kWh", "/MWh")}, "unit", "kgCO2/MWh"),
    "a unit of another measure": (
        lambda: {"a.toml": ROW.replace("kgCO2/", "kgce/")},
        "unit",
        "does not give co2_kg",
    ),
    "an unknown measure": (lambda: {"a.toml": ROW.replace("co2_kg", "co2")}, "measure", "'co2'"),
    "an unknown basis": (lambda: {"a.toml": ROW.replace("yearly", "often")}, "basis", "'often'"),
    "a region in letters": (
        lambda: {"a.toml": ROW.replace('"national"', '"shandong"')},
        "region",
        "'shandong'",
    ),
    "a duplicate id": (lambda: {"a.toml": ROW, "b.toml": ROW}, "id", "duplicate of a row in a"),
    "no source": (lambda: {"a.toml": ROW.replace('source = "a page"', "")}, "source", "missing"),
    "an empty source": (lambda: {"a.toml": ROW.replace('"a page"', '""')}, "source", "empty"),
    "a value as text": (lambda: {"a.toml": ROW.replace("0.5", '"0.5"')}, "value", "not a number"),
    "a value that is not a number": (lambda: {"a.toml": ROW.replace("0.5", "nan")}, "value", "NaN"),
    "a negative value": (lambda: {"a.toml": ROW.replace("0.5", "-0.5")}, "value", "-0.5"),
    "a flag as text": (lambda: {"a.toml": ROW.replace("= true", '= "yes"')}, "verified", "'yes'"),
    "a date with a time": (
        lambda: {"a.toml": ROW.replace("2021-01-01", "2021-01-01T00:00:00Z")},
        "valid_from",
        "not a date",
    ),
    "carbon without its calorific value": (
        lambda: {"a.toml": FUEL.replace("ncv_gj = 20", "")},
        "ncv_gj",
        "missing beside carbon_tc_per_tj",
    ),
    "a calorific value of nothing": (
        lambda: {"a.toml": FUEL.replace("ncv_gj = 20", "ncv_gj = 0")},
        "ncv_gj",
        "not a number above 0",
    ),
    "a factor that its three numbers do not make": (
        lambda: {"a.toml": FUEL.replace("ncv_gj = 20", "ncv_gj = 20.1")},
        "value",
        "1842.5",
    ),
    "carbon of electricity": (
        lambda: {"a.toml": FUEL.replace("tCO2/t", "tCO2/kWh")},
        "ncv_gj",
        "of a fuel by t or m3",
    ),
    "an unknown key": (lambda: {"a.toml": ROW + "factor = 1\n"}, "factor", "unknown key"),
    "not TOML": (lambda: {"a.toml": "[[factor"}, "", "not TOML"),
    "a set of an unknown series": (
        lambda: {"a.toml": ROW, "sets.toml": SET.replace('["a"]', '["b"]')},
        "series",
        "'b'",
    ),
    "a set in which two series answer": (
        lambda: {
            "a.toml": ROW,
            "b.toml": ROW.replace("a-2021", "b-2021"),
            "sets.toml": SET.replace('["a"]', '["a", "b"]'),
        },
        "series",
        "both answer",
    ),
    "a set twice": (lambda: {"a.toml": ROW, "sets.toml": SET + SET}, "name", "duplicate"),
    "a set without its flag": (
        lambda: {"a.toml": ROW, "sets.toml": SET.replace("allow_unverified = false", "")},
        "allow_unverified",
        "missing",
    ),
}


def write(folder: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def test_the_rows_that_the_refusals_start_from_are_accepted(tmp_path: Path):
    library = load_library([write(tmp_path, {"a.toml": ROW + NEXT, "sets.toml": SET})])
    assert set(library.rows) == {"a-2021", "a-2022"}
    assert library.choose("s").steps("electricity", "kWh", Measure.CO2_KG, "37").row_ids == (
        "",
        "a-2021",
        "a-2022",
        "",
    )


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(case: str, tmp_path: Path):
    contents, key, reason = REFUSALS[case]
    with pytest.raises(FactorTableError) as caught:
        load_library([write(tmp_path, contents())])
    matching = [p for p in caught.value.problems if p.key == key and reason in p.reason]
    assert matching, caught.value
    assert matching[0].file in contents()
    assert matching[0].row or case == "not TOML"


def test_all_problems_are_told_at_once(tmp_path: Path):
    text = ROW.replace("kWh", "MWh") + NEXT.replace("verified = true", "")
    with pytest.raises(FactorTableError) as caught:
        load_library([write(tmp_path, {"a.toml": text})])
    assert len(caught.value.problems) == 2
    assert "a.toml: row 1 (a-2021): unit:" in str(caught.value)
    assert "a.toml: row 2 (a-2022): verified: missing" in str(caught.value)


def test_a_row_that_has_ended_gives_null_with_its_reason(tmp_path: Path):
    library = load_library([write(tmp_path, {"a.toml": ROW, "sets.toml": SET})])
    steps = library.choose("s").steps("electricity", "kWh", Measure.CO2_KG, "37")
    assert np.isnan(steps.factor[-1])
    assert "a-2021 has ended" in steps.reasons[-1]


def test_an_unknown_set_is_named_with_those_there_are():
    with pytest.raises(FactorTableError, match="no set 'sd'; there are: demo, industry-guide"):
        builtin_library().choose("sd")


def test_the_narrowest_region_answers_alone(tmp_path: Path):
    local = ROW.replace("a-2021", "j-2021").replace('"national"', '"3701"').replace("0.5", "0.7")
    library = load_library([write(tmp_path, {"a.toml": ROW + NEXT + local, "sets.toml": SET})])
    chosen = library.choose("s")
    here = chosen.steps("electricity", "kWh", Measure.CO2_KG, "370114")
    there = chosen.steps("electricity", "kWh", Measure.CO2_KG, "370211")
    assert here.row_ids == ("", "j-2021", "")
    assert there.row_ids == ("", "a-2021", "a-2022", "")
