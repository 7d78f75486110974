"""The ranking of device maps: the right one before wrong word order, scale and maker; each rule."""

import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from contract.channels import catalogue
from contract.reading import Quality
from contract.units import MICRO
from edge_agent.config import MeterConfig
from edge_agent.decoders.registry import make_decoder
from edge_agent.maps.base import DeviceMap
from edge_agent.maps.modbus import ModbusMap
from edge_agent.probe.physics import Fit, Snapshot, judge, rank
from edge_agent.registers import all_models, load_device_maps
from simulators.meter import IllegalRequestError, SimulatedMeter
from tests.edge_agent.field import ORIGIN_MS, simulated

MAPS = load_device_maps(all_models())
MODBUS = {name: device for name, device in MAPS.items() if isinstance(device, ModbusMap)}
START_MS = ORIGIN_MS + 3_600_000
APART_S = 1800
Words = Callable[[int, int, int], bytes | None]
"""Function, address, count -> the words' bytes; None when the meter refuses."""


def strict(meter: SimulatedMeter, time_ms: int) -> Words:
    """As most meters: what the product has not is refused."""

    def words(function: int, address: int, count: int) -> bytes | None:
        try:
            return meter.read(function, address, count, time_ms)
        except IllegalRequestError:
            return None

    return words


def lenient(meter: SimulatedMeter, time_ms: int) -> Words:
    """As some: any address is answered, 0 where nothing is; both functions alike."""

    def words(function: int, address: int, count: int) -> bytes:
        function = meter.device.function
        parts = (strict(meter, time_ms)(function, at, 1) for at in range(address, address + count))
        return b"".join(part or b"\0\0" for part in parts)

    return words


def snapshot(device: DeviceMap, words: Words, at_s: float) -> Snapshot:
    decoder = make_decoder(MeterConfig("m1", device.model), device)
    values: dict[str, float] = {}
    implausible = []
    for index, question in enumerate(decoder.questions):
        data = words(question.function, question.address, question.count)
        if data is None:
            continue
        answer = struct.unpack(f">{question.count}H", data)
        for reading in decoder.decode(index, answer, 0, Counter()):
            unit = MICRO if catalogue()[reading.channel].cumulative else 1
            values[reading.channel] = reading.value / unit
            if reading.quality == Quality.RANGE:
                implausible.append(reading.channel)
    return Snapshot(at_s, values, tuple(implausible))


def fit(device: DeviceMap, meter: SimulatedMeter, kind: Callable[..., Words] = strict) -> Fit:
    later_ms = START_MS + APART_S * 1000
    first = snapshot(device, kind(meter, START_MS), 0)
    return judge(device, first, snapshot(device, kind(meter, later_ms), APART_S))


ALONE = {"carlo-gavazzi-vmu-mc"}
"""One count and nothing to compare it with."""
EQUALS = {
    # The SDM72 keeps what it has where the SDM630 has it.
    ("eastron-sdm72dm-v2", "eastron-sdm630"),
    ("eastron-sdm630", "eastron-sdm72dm-v2"),
}


@pytest.mark.parametrize("kind", [strict, lenient])
@pytest.mark.parametrize("model", sorted(MODBUS))
def test_the_map_of_the_meter_comes_first(model, kind):
    meter = simulated(model)
    ranked = rank([fit(device, meter, kind) for device in MODBUS.values()])
    best = [f.device.model for f in ranked if f.score == ranked[0].score]
    assert model in best
    if model in ALONE:
        assert not ranked[0].fits
        return
    assert ranked[0].fits
    assert all((model, other) in EQUALS for other in best if other != model)
    assert [f.device.model for f in ranked if f.fits and f.score >= 0.9 * ranked[0].score] <= best


def changed(device: ModbusMap, **fields: object) -> ModbusMap:
    registers = tuple(replace(r, **fields) for r in device.registers)  # type: ignore[arg-type]
    return replace(device, registers=registers)


ORDERED = sorted(
    name
    for name, device in MODBUS.items()
    if any(r.words > 1 for r in device.registers) and name not in ALONE
)


@pytest.mark.parametrize("model", ORDERED)
def test_wrong_word_order_does_not_fit(model):
    device = MODBUS[model]
    other = "little" if device.registers[0].word_order == "big" else "big"
    wrong = fit(changed(device, word_order=other), simulated(model))
    right = fit(device, simulated(model))
    assert wrong.score < right.score
    assert not wrong.fits


def scaled(device: ModbusMap, factor: str, names: tuple[str, ...]) -> ModbusMap:
    registers = tuple(
        replace(r, scale=r.scale * Decimal(factor)) if r.channel.startswith(names) else r
        for r in device.registers
    )
    return replace(device, registers=registers)


ELECTRIC = ["acrel-adl400", "chint-dtsu666", "eastron-sdm630", "schneider-iem3000", "abb-b23"]


@pytest.mark.parametrize("model", ELECTRIC)
@pytest.mark.parametrize("names", [("voltage",), ("current",), ("power",), ("energy",), ("",)])
@pytest.mark.parametrize("factor", ["10", "0.1", "1000"])
def test_wrong_scale_does_not_come_first(model, names, factor):
    device, meter = MODBUS[model], simulated(model)
    wrong, right = fit(scaled(device, factor, names), meter), fit(device, meter)
    assert wrong.score <= right.score - 6
    assert any(reason.weight < 0 for reason in wrong.reasons)


def reasons(model: str, values: Mapping[str, float], later: Mapping[str, float] | None = None):
    after = None if later is None else Snapshot(60, {**values, **later})
    found = judge(MAPS[model], Snapshot(0, values), after)
    return " | ".join(f"{reason.weight:+d} {reason.text}" for reason in found.reasons)


SINGLE = {"voltage": 231.0, "current": 10.0, "power": 2.1, "power_factor": 0.909, "frequency": 50.0}
HEAT = {
    "heat": 120.0, "volume": 900.0, "heat_flow": 0.0826, "flow": 1.0, "temperature_supply": 62.0,
    "temperature_return": 42.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        ("eastron-sdm120", SINGLE, "+6 power 2.1 kW and U x I x power factor = 2.1 kW agree"),
        ("eastron-sdm120", SINGLE | {"power": 21.0}, "-8 power 21 kW and U x I x power factor"),
        ("eastron-sdm120", SINGLE | {"power": -2.1, "power_factor": -0.909}, "+6 power -2.1 kW"),
        ("eastron-sdm120", SINGLE | {"power_factor": 9.09}, "-8 power factor 9.09"),
        ("eastron-sdm120", SINGLE | {"voltage": 23.1}, "-8 voltage 23.1 V belongs to no network"),
        ("eastron-sdm120", SINGLE | {"voltage": 0.0, "current": 0.0, "power": 0.0}, "-6 voltage 0"),
        ("eastron-sdm120", SINGLE | {"frequency": 5.0}, "-8 frequency 5 Hz"),
        ("eastron-sdm120", SINGLE | {"frequency": 60.02}, "+3 frequency 60.02 Hz"),
        ("eastron-sdm120", SINGLE | {"current": 1.4e-41}, "-8 current 1.4e-41 is no number"),
        ("eastron-sdm120", SINGLE | {"current": 0.0}, "-8 power 2.1 kW without current"),
        ("eastron-sdm120", {"energy_import": 3e8}, "-8 energy_import 3e+08 is more than any"),
        ("eastron-sdm120", {"voltage": 230.0}, "-8 only 1 of its 11 values"),
        ("nzr-dhz-5-63", {"voltage": 230.0, "current": 1.0, "power": 9.0}, "-8 power 9 kW is more"),
        ("kamstrup-multical-601", HEAT, "+6 heat 0.0826 GJ/h and flow x temperatures = 0.0826"),
        ("kamstrup-multical-601", HEAT | {"flow": 10.0}, "-8 heat 0.0826 GJ/h and flow x temper"),
        ("kamstrup-multical-601", HEAT | {"temperature_return": 4200.0}, "-8 temperatures 62"),
        ("fuxin-gas", {"flow_standard": 33.0, "flow": 10.0, "pressure": 330.0, "temperature": 18.0},
         "+6 standard flow 33 and flow 10 m3/h at 330 kPa agree"),
        ("fuxin-gas", {"flow_standard": 43.0, "flow": 10.0, "pressure": 330.0, "temperature": 18.0},
         "+6 standard flow 43 and flow 10 m3/h at 330 kPa agree"),  # pressure over the air's
        ("fuxin-gas", {"flow_standard": 3.3, "flow": 10.0, "pressure": 330.0, "temperature": 18.0},
         "-5 standard flow"),
        ("spirax-sarco-tva", {"heat_flow": 2.78, "mass_flow": 1.0}, "+6 2.78 GJ in a tonne"),
        ("spirax-sarco-tva", {"heat_flow": 2.78, "mass_flow": 10.0}, "-6 0.278 GJ in a tonne"),
        ("acrel-adl400", {"energy_import": 100.0, "energy_import_peak": 60.0,
         "energy_import_flat": 40.0}, "+4 count 100 kWh and its tariffs' sum agree"),
        ("acrel-adl400", {"energy_import": 100.0, "energy_import_peak": 60.0,
         "energy_import_flat": 4.0}, "-4 count 100 kWh and its tariffs' sum disagree"),
        ("schneider-pm5100", {"voltage_a": 230.0, "voltage_b": 231.0, "voltage_c": 229.0,
         "voltage_ab": 398.0}, "+3 line voltage is 1.73 x"),
        ("schneider-pm5100", {"voltage_a": 230.0, "voltage_b": 231.0, "voltage_c": 229.0,
         "voltage_ab": 230.0}, "-4 line voltage is 1 x phase voltage, not 1.73"),
    ],
)  # fmt: skip
def test_rules(model, values, said):
    assert said in reasons(model, values)


@pytest.mark.parametrize(
    ("before", "after", "rate", "said"),
    [
        (100.0, 100.2, {"power": 12.0}, "+6 energy_import gained 0.2 in 60 s, power makes 0.2"),
        (100.0, 102.0, {"power": 12.0}, "-8 energy_import gained 2 in 60 s, power makes 0.2"),
        (100.0, 100.02, {"power": 12.0}, "-8 energy_import gained 0.02 in 60 s"),
        (100.0, 99.0, {"power": 12.0}, "-8 energy_import went down by 1"),
        (100.0, 100.5, {"power": -12.0}, "-8 energy_import gained 0.5 in 60 s, power makes 0"),
    ],
)
def test_counts_gain_what_the_rate_beside_them_says(before, after, rate, said):
    found = reasons("eastron-sdm120", {"energy_import": before, **rate}, {"energy_import": after})
    assert said in found


def test_a_count_too_coarse_for_the_time_says_nothing():
    found = reasons("eastron-sdm120", {"energy_import": 100.0, "power": 0.5}, {})
    assert "gained" not in found
