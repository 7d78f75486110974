"""Every product's map against a simulated meter of it: two readers, two encoders, one truth."""

import pytest

from contract.channels import catalogue
from contract.reading import Quality
from edge_agent.registers import devices_folder, load_device_map
from simulators.devices import load_device
from simulators.quantities import instantaneous_value
from tests.edge_agent.field import field_of

WIRED = {"modbus", "dlt645", "cjt188", "mbus"}
MODELS = sorted(
    path.stem
    for path in devices_folder().glob("*.toml")
    if load_device_map(path.stem).protocol in WIRED
)
RAW_STEPS = 0.51
"""An integer number is the true value rounded to it."""


@pytest.mark.parametrize("model", MODELS)
async def test_what_the_meter_shows_is_what_the_edge_reads(model):
    async with field_of(model) as (found, poller):
        await poller.poll_once()
        time_ms = found.clock.time_ms()
    device = load_device(model)
    assert poller.meter_states()[0].failures == {}
    assert {r.channel for r in found.readings} == {r.channel for r in device.registers}
    shown = found.shown()
    by_channel = {register.channel: register for register in device.registers}
    for reading in found.readings:
        assert reading.quality == Quality.GOOD
        if catalogue()[reading.channel].cumulative:
            assert reading.value == shown[reading.channel], reading.channel
            continue
        register = by_channel[reading.channel]
        true = instantaneous_value(
            reading.channel, found.meter._flows, time_ms, 1, found.meter._seed
        )
        step = abs(true) * 1e-6 if register.type.startswith("float") else abs(register.scale)
        assert reading.value == pytest.approx(true, abs=RAW_STEPS * step + 1e-9), reading.channel


@pytest.mark.parametrize(
    "model", ["acrel-adl400", "dlt645-2007-three-phase", "cjt188-water", "kamstrup-multical-601"]
)
async def test_the_same_through_a_serial_port(model, tmp_path):
    async with field_of(model, tmp_path / "port") as (found, poller):
        assert await poller.poll_once() == len(load_device(model).registers)
    shown = found.shown()
    values = {reading.channel: reading.value for reading in found.readings}
    assert {channel: values[channel] for channel in shown} == shown
