"""Which channels are converted to coal and CO2, and by which factor."""

import math

import numpy as np
import pytest

from aggregator.directory import Directory, SeriesKey
from aggregator.ledger.factor_tables import builtin_library
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.model import Meter, Register, Role, Site

MAY_2021_MS = 1_620_000_000_000


def converted(carrier, channel, amount_micro=1_000_000_000, at_ms=MAY_2021_MS, name="national"):
    site = Site("works", "370114", "厂", "works", "chemical", None, None, None, None)
    meter = Meter("works", "m-1", carrier, Role.BOUNDARY_IN, "", 1, "", 0, "")
    directory = Directory()
    index = directory.series.add(SeriesKey("370114", "works", "m-1", channel))
    parameters = Parameters(directory, Register.of([site], [meter]))
    measures = Measures(directory, parameters, builtin_library().choose(name))
    columns = measures.of(np.array([index], np.int32), np.array([at_ms]), np.array([amount_micro]))
    return tuple(float(column[0]) for column in columns)


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
