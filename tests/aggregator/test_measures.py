"""Which channels are converted to coal and CO2, and by which factor."""

import math

import numpy as np
import pytest

from aggregator.directory import Directory, SeriesKey
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.model import CalorificValue, Meter, Register, Role, Site
from aggregator.site_tariffs import SiteTariffs

TABLES = builtin_tariffs()
MAY_2021_MS = 1_620_000_000_000


def measured(carrier, channel, starts, amount_micro=1_000_000_000, name="national", tariffs=()):
    site = Site(
        "works", "370114", "厂", "works", "chemical", None, None, None, None, tariffs=tariffs
    )
    meter = Meter("works", "m-1", carrier, Role.BOUNDARY_IN, "", 1, "", 0, "")
    directory = Directory()
    index = directory.series.add(SeriesKey("370114", "works", "m-1", channel))
    register = Register.of([site], [meter])
    parameters = Parameters(directory, register)
    library = builtin_library().choose(name)
    measures = Measures(directory, parameters, library, SiteTariffs(register, TABLES, 900_000))
    return [
        measures.of(np.array([index], np.int32), np.array([start]), np.array([amount_micro]))
        for start in starts
    ]


def converted(carrier, channel, name="national"):
    (columns,) = measured(carrier, channel, [MAY_2021_MS], name=name)
    measures = ("kgce_calorific", "kgce_equivalent", "co2_kg")
    return tuple(float(columns[measure][0]) for measure in measures)


def cost(carrier, channel, starts, *tariffs):
    found = measured(carrier, channel, starts, tariffs=tariffs)
    return [float(columns["cost_cny"][0]) for columns in found]


def test_electricity_by_its_calorific_value_and_the_grid_factor_of_the_year():
    calorific, _, co2 = converted("electricity", "energy_import")
    assert calorific == pytest.approx(122.9)
    assert co2 == pytest.approx(556.8)


@pytest.mark.parametrize(
    ("carrier", "channel"),
    [
        ("electricity", "energy_import_peak"),
        ("electricity", "reactive_energy_import"),
        ("natural_gas", "volume"),
        ("water", "volume"),
    ],
)
def test_what_is_in_no_total_is_not_converted(carrier, channel):
    assert all(math.isnan(value) for value in converted(carrier, channel))


def test_gas_counts_by_standard_volume():
    assert converted("natural_gas", "volume_standard")[0] == pytest.approx(1_330)


HOUR_MS = 3_600_000
NEW_YEAR_MS = 1_767_196_800_000  # 2026-01-01T00:00:00+08:00


def test_cost_follows_the_hours_of_the_tariff():
    hours = [0, 2, 7, 11, 16, 19]
    starts = [NEW_YEAR_MS + hour * HOUR_MS for hour in hours]
    assert cost("electricity", "energy_import", starts, "demo-electricity") == pytest.approx(
        [620, 280, 950, 180, 1100, 950]
    )


def test_live_time_may_jump_between_years_and_back():
    june = NEW_YEAR_MS + 165 * 24 * HOUR_MS
    starts = [june + 8 * HOUR_MS, NEW_YEAR_MS + 8 * HOUR_MS, june + 12 * HOUR_MS]
    assert cost("electricity", "energy_import", starts, "demo-electricity") == pytest.approx(
        [280, 950, 620]
    )


@pytest.mark.parametrize(
    ("carrier", "channel", "tariffs"),
    [
        ("electricity", "energy_import", ()),
        ("electricity", "energy_import", ("demo-gas",)),
        ("electricity", "energy_export", ("demo-electricity",)),
        ("electricity", "energy_import_peak", ("demo-electricity",)),
        ("natural_gas", "volume", ("demo-gas",)),
        ("electricity", "energy_import", ("shandong-110kv-example",)),
    ],
    ids=["no-tariff", "another-carriers", "sold", "register-of-a-period", "gas-as-metered",
         "not-verified"],
)  # fmt: skip
def test_what_has_no_price_costs_nothing_known_rather_than_zero(carrier, channel, tariffs):
    assert math.isnan(cost(carrier, channel, [NEW_YEAR_MS], *tariffs)[0])


def test_media_cost_though_they_are_in_no_converted_total():
    assert cost("water", "volume", [NEW_YEAR_MS], "demo-water") == pytest.approx([4_200])


MARCH_MS = 1_772_294_400_000  # 2026-03-01T00:00:00+08:00
DAY_MS = 24 * HOUR_MS


def test_an_analysis_is_for_its_time_and_a_meters_own_goes_before_that_of_all():
    def analysis(meter: str, day: int, until: int | None, ncv_gj: float) -> CalorificValue:
        end_ms = None if until is None else MARCH_MS + until * DAY_MS
        return CalorificValue(
            "works", "raw_coal", meter, MARCH_MS + day * DAY_MS, end_ms, ncv_gj, "report"
        )

    site = Site("works", "370114", "厂", "works", "chemical", None, None, None, None)
    directory = Directory()
    meters, index = [], []
    for id_ in ("belt-1", "belt-2"):
        meters.append(Meter("works", id_, "raw_coal", Role.BOUNDARY_IN, "", 1, "", 0, ""))
        index.append(directory.series.add(SeriesKey("370114", "works", id_, "mass")))
    register = Register.of(
        [site],
        meters,
        calorific=[
            analysis("", 10, None, 22.0),
            analysis("", 0, None, 21.0),  # until the 11th
            analysis("belt-2", 5, 15, 25.0),
        ],
    )
    measures = Measures(
        directory,
        Parameters(directory, register),
        builtin_library().choose("national"),
        SiteTariffs(register, TABLES, 900_000),
    )
    days = np.array([-1, 0, 7, 12, 20])
    found = [
        measures.of(
            np.full(len(days), one, np.int32),
            MARCH_MS + days * DAY_MS,
            np.full(len(days), 1_000_000, np.int64),
        )
        for one in index
    ]
    by_table, carbon = 714.3, 26.37 * 0.94 * 44 / 12
    ncvs = [[21, 21, 22, 22], [21, 25, 25, 22]]
    for columns, ncv in zip(found, ncvs, strict=True):
        coal = [by_table, *(value / 0.029307 for value in ncv)]
        assert columns["kgce_calorific"].tolist() == pytest.approx(coal)
        assert columns["kgce_equivalent"].tolist() == pytest.approx(coal)
        co2 = [1900.3, *(value * carbon for value in ncv)]
        assert columns["co2_kg"].tolist() == pytest.approx(co2)
