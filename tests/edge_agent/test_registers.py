"""Device maps: all that are shipped load, and a wrong one says everything that is wrong."""

from decimal import Decimal
from pathlib import Path

import pytest

from contract.channels import catalogue
from contract.meta import Meta, decode_meta, encode_meta
from edge_agent.config import MeterConfig
from edge_agent.errors import ConfigError
from edge_agent.maps.modbus import ModbusMap
from edge_agent.registers import (
    devices_folder,
    load_device_map,
    load_device_maps,
    meta_meter,
    parse_device_map,
)
from tests.device_table import PAGE, page_with, table, well_sourced

MODELS = sorted(path.stem for path in devices_folder().glob("*.toml"))

GOOD = """
model = "good"
maker = "Maker"
product = "Product"
carrier = "electricity"
source = "Manual, p. 1"
side = "primary"
protocol = "modbus"
function = 3
word_order = "big"
[[register]]
channel = "energy_import"
address = 0x10
type = "uint32"
scale = 0.01
step = 0.01
modulus = 1000000
[[register]]
channel = "power"
address = 0x12
type = "int16"
scale = 1
word_order = "little"
low = -10
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse_device_map(text, Path("good.toml"))
    assert "good.toml" in str(caught.value)
    return {problem.key: problem.reason for problem in caught.value.problems}


def test_map_is_read_in_decimals():
    device = parse_device_map(GOOD, Path("good.toml"))
    assert isinstance(device, ModbusMap)
    energy, power = device.registers
    assert energy.scale == Decimal("0.01")
    assert energy.modulus == 1_000_000
    assert energy.words == 2
    assert (energy.word_order, power.word_order) == ("big", "little")
    assert (device.max_registers, device.max_gap) == (120, 0)
    assert power.low == -10
    assert power.high is None


@pytest.mark.parametrize("model", MODELS)
def test_shipped_map_loads_and_has_a_source(model):
    device = load_device_map(model)
    assert len(device.source) > 20
    assert any(register.cumulative for register in device.registers)
    names = [register.channel for register in device.registers]
    assert [catalogue()[name].name for name in names] == names


def test_the_documented_table_is_that_of_the_maps():
    assert page_with(table()) == PAGE.read_text(encoding="utf-8"), "python -m tests.device_table"


def test_at_least_twenty_maps_and_twelve_with_a_frame_from_outside():
    assert len([model for model in MODELS if not model.startswith("manual-")]) >= 20
    assert len(well_sourced()) >= 12


def test_all_problems_are_told_at_once():
    text = (
        GOOD.replace('side = "primary"', 'side = "left"')
        .replace("function = 3", "function = 6")
        .replace('maker = "Maker"', "")
        .replace("scale = 0.01", "scale = 0.0", 1)
        .replace("step = 0.01", 'step = "x"')
        .replace('"power"', '"powr"')
        .replace("low = -10", "color = 1")
    )
    found = problems(text)
    assert set(found) == {
        "side", "function", "maker", "register[0].scale", "register[0].step",
        "register[1].channel", "register[1].color",
    }  # fmt: skip
    assert "primary, secondary" in found["side"]
    assert "powr" in found["register[1].channel"]
    assert "unknown key" in found["register[1].color"]


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("address = 0x12", "address = 0x11", "register[1].address", "overlaps"),
        ('"power"', '"energy_import"', "register[1].channel", "already"),
        ("address = 0x12", "address = 65536", "register[1].address", "65535"),
        ("address = 0x12", "address = true", "register[1].address", "whole number"),
        ("step = 0.01", "", "register[0].step", "missing"),
        ("step = 0.01", "step = 0.0000001", "register[0].step", "1e-6"),
        ("scale = 0.01", "scale = -0.01", "register[0].scale", "positive"),
        ("scale = 0.01", "scale = nan", "register[0].scale", "number"),
        ("low = -10", "step = 1", "register[1].step", "cumulative"),
        ("low = -10", "no_value = [65536]", "register[1].no_value", "16 bits"),
        ('model = "good"', 'model = "better"', "model", "good"),
        ('word_order = "big"', "", "word_order", "missing"),
        ("[[register]]", "[[registers]]", "register", "needed"),
        ("function = 3", "function = ", "", "Invalid"),
    ],
)
def test_problem_names_key_and_reason(old, new, key, says):
    assert old in GOOD
    text = GOOD.replace(old, new)
    assert says in problems(text)[key]


def test_address_space_ends_at_ffff():
    text = GOOD.replace("address = 0x10", "address = 0xFFFF")
    assert "beyond" in problems(text)["register[0].address"]


def test_unknown_model_names_the_known_ones():
    with pytest.raises(ConfigError, match="eastron-sdm630"):
        load_device_map("eastron-sdm360")


def test_load_device_maps_reports_each_broken_file(tmp_path):
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text("model = 1")
    with pytest.raises(ConfigError) as caught:
        load_device_maps(["good", "bad", "missing"], tmp_path)
    text = str(caught.value)
    assert f"{tmp_path}/bad.toml:1 model" in text
    assert f"{devices_folder()}/missing.toml" in text
    assert "good.toml" not in text
    assert set(load_device_maps(["good", "good"], tmp_path)) == {"good"}


def test_a_map_of_ones_own_goes_before_the_products(tmp_path):
    (tmp_path / "abb-b23.toml").write_text(GOOD.replace('"good"', '"abb-b23"'))
    maps = load_device_maps(["abb-b23", "eastron-sdm630"], tmp_path)
    assert (maps["abb-b23"].maker, maps["eastron-sdm630"].maker) == ("Maker", "Eastron")
    assert load_device_maps(["abb-b23"])["abb-b23"].maker == "ABB"


def test_meta_meter_carries_rating_of_the_main_channel_and_survives_the_wire():
    device = load_device_map("spirax-sarco-tva")
    meter = meta_meter(MeterConfig(id="st-01", model=device.model, rating=40.0), device)
    ratings = {channel.name: channel.rating for channel in meter.channels}
    assert ratings["heat"] == 40.0  # the first of the file
    assert ratings["mass"] is None  # tonnes are not gigajoules
    assert ratings["mass_flow"] is None
    meta = Meta((meter,))
    assert decode_meta(encode_meta(meta)) == meta


def test_rating_of_the_product_holds_where_the_configuration_has_none():
    device = load_device_map("eastron-sdm72dm-v2")
    for given, expected in ((None, 82.8), (20.0, 20.0)):
        meter = meta_meter(MeterConfig(id="em-01", model=device.model, rating=given), device)
        ratings = {channel.name: channel.rating for channel in meter.channels}
        assert (ratings["energy_import"], ratings["power"]) == (expected, None)
        assert meter.channels[0].modulus == 1_000_000


def test_a_rating_must_be_positive():
    assert "positive" in problems(GOOD.replace("side =", "rating = 0\nside ="))["rating"]
