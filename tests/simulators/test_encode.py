"""The encoder against words worked out by hand, for products of every type and word order."""

import pytest

from simulators.devices import DeviceError, Register, devices_folder, load_device
from simulators.encode import encode_cumulative, encode_instantaneous, modulus_micro, step_micro

MICRO = 1_000_000


def register(model: str, channel: str) -> Register:
    return next(r for r in load_device(model).registers if r.channel == channel)


@pytest.mark.parametrize(
    ("model", "channel", "micro", "words", "served"),
    [
        # float32 12345.678 shows 12345.67: sign 0, exponent 13, 12345.67 / 2^13 = 1.50704...
        ("eastron-sdm630", "energy_import", 12_345_678_901, "4640E6AE", 12_345_670_000),
        ("chint-dtsu666", "energy_import", 1_000_000, "3F800000", 1_000_000),
        # uint64 x 0.01: 123456.78 kWh = 12 345 678 = 0xBC614E
        ("abb-b23", "energy_import", 123_456_789_999, "0000000000BC614E", 123_456_780_000),
        # int64 Wh: 1.234 kWh = 1234 = 0x4D2
        ("schneider-iem3000", "energy_import", 1_234_999, "00000000000004D2", 1_234_000),
        # uint32 x 0.1: 6553.7 = 65537
        ("acrel-adl400", "energy_import", 6_553_799_999, "00010001", 6_553_700_000),
        ("acrel-adw300", "energy_export", 1_990_000, "000000C7", 1_990_000),
        # low word first: 123456.789 t in kg = 123 456 789 = 0x075BCD15
        ("spirax-sarco-tva", "mass", 123_456_789_000, "CD15075B", 123_456_789_000),
        # 100 000 kWh of heat, 0.0036 GJ each = 360 GJ = 0x000186A0
        ("spirax-sarco-tva", "heat", 360_003_599, "86A00001", 360_000_000),
        # one pulse of 10 kg, low word first: 700.00 t = 70 000 = 0x11170
        ("carlo-gavazzi-vmu-mc", "mass", 700_009_999, "11700001", 700_000_000),
        ("taosonics-tuf2000m", "volume", 70_000_999_999, "11700001", 70_000_000_000),
        # 8388.6 / 2^13 = 1.02399902: fraction 201 318 = 0x31266
        ("fuxin-gas", "volume_standard", 8_388_650_000, "46031266", 8_388_600_000),
        ("huawei-sun2000", "energy_import", 655_370_000, "00010001", 655_370_000),
    ],
)
def test_counters(model: str, channel: str, micro: int, words: str, served: int) -> None:
    data, served_micro = encode_cumulative(register(model, channel), micro)
    assert (data.hex().upper(), served_micro) == (words, served)


@pytest.mark.parametrize(
    ("model", "channel", "value", "words"),
    [
        ("eastron-sdm630", "power", 1.0, "447A0000"),  # 1000 W
        ("chint-dtsu666", "power", -0.1, "C47A0000"),  # 0.1 W each: -1000
        ("abb-b23", "power", -0.01, "FFFFFC18"),  # 0.01 W each: -1000
        ("acrel-adw300", "voltage_a", 230.04, "08FC"),  # 0.1 V: 2300
        ("schneider-pm5100", "power", 2.0, "40000000"),
        ("spirax-sarco-tva", "mass_flow", 6.5, "1964"),  # kg/h: 6500
    ],
)
def test_instantaneous(model: str, channel: str, value: float, words: str) -> None:
    assert encode_instantaneous(register(model, channel), value).hex().upper() == words


def test_values_beyond_the_type_are_held_at_its_end() -> None:
    assert encode_instantaneous(register("acrel-adw300", "voltage_a"), 1e9) == b"\xff\xff"
    assert encode_instantaneous(register("acrel-adw300", "voltage_a"), -5.0) == b"\x00\x00"


def test_counters_wrap_where_the_type_ends_or_the_map_says() -> None:
    adl = register("acrel-adl400", "energy_import")
    assert modulus_micro(adl) == 2**32 * 100_000
    data, served = encode_cumulative(adl, 2**32 * 100_000 + 250_000)
    assert (data, served) == (b"\x00\x00\x00\x02", 200_000)
    adw = register("acrel-adw300", "energy_import")  # int32 never shows a negative count
    assert encode_cumulative(adw, 2**31 * 10_000)[1] == 0
    odometer = Register("energy_import", 0, "uint32", 0.01, 0.01, 1_000_000.0, (), "big")
    assert encode_cumulative(odometer, 1_000_000 * MICRO + 10_000)[1] == 10_000


def test_float32_without_the_resolution_says_what_it_means() -> None:
    sdm = register("eastron-sdm630", "energy_import")
    data, served = encode_cumulative(sdm, 9_000_000_010_000)  # float32 steps by 1 here
    assert data.hex() == "4b095440"
    assert served == 9_000_000 * MICRO


@pytest.mark.parametrize("start", [0, 1, 9_999, 10_000, 123_456_780_001, 65_000_000_000])
def test_display_never_shows_more_than_there_is(start: int) -> None:
    for model in ("eastron-sdm630", "abb-b23", "acrel-adl400", "schneider-iem3000"):
        counter = register(model, "energy_import")
        step = step_micro(counter)
        last = -1
        for micro in range(start, start + 10 * step, step // 3 + 1):
            _, served = encode_cumulative(counter, micro)
            assert micro - step < served <= micro
            assert served % step == 0
            assert served >= last
            last = served


def test_every_map_can_be_served() -> None:
    models = [path.stem for path in devices_folder().glob("*.toml")]
    for model in models:
        if model.startswith("manual-") or model == "tasmota-energy":  # no wire to be on
            with pytest.raises(DeviceError, match="nothing speaks 'm"):
                load_device(model)
            continue
        for item in load_device(model).registers:
            if item.step is not None:
                assert encode_cumulative(item, 5_000_000)[1] >= 0


def test_missing_map_is_named() -> None:
    with pytest.raises(DeviceError, match=r"no register map acme\.toml"):
        load_device("acme")
