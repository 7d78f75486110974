"""The decoder: known frames, and a round trip against struct for any value."""

import math
import struct
import tomllib
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.channels import catalogue
from contract.reading import Quality, Reading
from contract.units import MAX_CUMULATIVE_MICRO, to_micro
from edge_agent.codecs.dlt645 import Block
from edge_agent.codecs.mbus import RequestData
from edge_agent.codecs.mqtt_json import Message
from edge_agent.config import MeterConfig
from edge_agent.decoders.mbus import MbusDecoder
from edge_agent.decoders.modbus import ModbusDecoder
from edge_agent.decoders.mqtt_json import MqttJsonDecoder
from edge_agent.decoders.registry import make_decoder
from edge_agent.maps.modbus import ModbusMap, Register
from edge_agent.registers import devices_folder, load_device_map

M1 = MeterConfig("m1", "m")
FRAMES = Path(__file__).parent.parent / "frames"
CASES = sorted(FRAMES.glob("*/*.toml"))


def device(*registers: Register, max_gap: int = 0) -> ModbusMap:
    return ModbusMap(
        model="m", maker="m", product="m", carrier="electricity", source="m", side="primary",
        protocol="modbus", function=3, max_registers=120, max_gap=max_gap, registers=registers,
    )  # fmt: skip


def register(kind="uint32", scale="1", *, cumulative=True, order="big", address=0, **more):
    channel = more.pop("channel", "energy_import" if cumulative else "power")
    more.setdefault("step", Decimal("0.000001") if cumulative else None)
    return Register(
        channel=channel, address=address, type=kind, scale=Decimal(scale), word_order=order,
        cumulative=cumulative, **more,
    )  # fmt: skip


CODES = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "float32": "f",
    "uint64": "Q", "int64": "q", "float64": "d",
}  # fmt: skip


def words_of(kind, value, order="big"):
    data = struct.pack(">" + CODES[kind], value)
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    return words if order == "big" else words[::-1]


def decode(reg, words):
    drops: Counter[str] = Counter()
    readings = ModbusDecoder(M1, device(reg)).decode(0, words, 1_700_000_000_000, drops)
    return (readings[0] if readings else None), drops


def from_memory(decoder: ModbusDecoder, case: dict[str, Any]) -> list[Any]:
    """Answers of a meter whose words the case gives; others are 0."""
    memory: dict[int, int] = {}
    for read in case["read"]:
        words = [int(word, 16) for word in read["words"].split()]
        memory |= {read["address"] + offset: word for offset, word in enumerate(words)}
    return [[memory.get(a, 0) for a in range(read.address, read.end)] for read in decoder.reads]


def from_frames(decoder: Any, case: dict[str, Any]) -> list[Any]:
    """What each question finds in the case's frames, None where it is asked for none of them."""
    if isinstance(decoder, MqttJsonDecoder):
        return [[Message(m["topic"], m["payload"].encode(), 0.0) for m in case["message"]]]
    heard = [bytes.fromhex(answer["frame"]) for answer in case["answer"]]
    if isinstance(decoder, MbusDecoder):
        ask = RequestData("m", decoder.questions[0].primary or 0, fcb=True)
        return [tuple(ask.find(frame) for frame in heard)]
    found = []
    for question in decoder.questions:
        answers = [answer for frame in heard if (answer := question.find(frame)) is not None]
        assert len(answers) <= 1
        found.append(answers[0] if answers else None)
    return [answer.data if isinstance(answer, Block) else answer for answer in found]


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_frame(path):
    case = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    meter = MeterConfig("m1", "m", address=case.get("address", ""))
    decoder = make_decoder(meter, load_device_map(path.parent.name))
    if isinstance(decoder, ModbusDecoder):
        answers = from_memory(decoder, case)
    else:
        answers = from_frames(decoder, case)
    assert any(answer is not None for answer in answers)
    drops: Counter[str] = Counter()
    readings: dict[str, Reading] = {}
    for index, answer in enumerate(answers):
        if answer is not None:
            readings |= {r.channel: r for r in decoder.decode(index, answer, 60_000, drops)}
    for channel, value in case["value"].items():
        reading = readings[channel]
        expected = int(value * 10**6) if catalogue()[channel].cumulative else float(value)
        assert (reading.value, type(reading.value)) == (expected, type(expected)), channel
        assert (reading.meter, reading.time_ms, reading.quality) == ("m1", 60_000, Quality.GOOD)
    absent = case.get("absent", {}).get("channels", [])
    assert not set(absent) & set(readings)
    assert drops["no_value"] == len(absent)


def test_each_shipped_map_has_a_frame():
    models = {path.stem for path in devices_folder().glob("*.toml")}
    models = {model for model in models if not model.startswith("manual-")}  # nothing to decode
    assert {path.parent.name for path in CASES} == models


INTEGERS = {
    "uint16": (0, 2**16 - 1), "int16": (-(2**15), 2**15 - 1), "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1), "uint64": (0, 2**64 - 1), "int64": (-(2**63), 2**63 - 1),
}  # fmt: skip
SCALES = ["1", "0.1", "0.01", "0.001", "0.0036", "1000", "0.0000001", "0.3333333"]


@given(st.data(), st.sampled_from(sorted(INTEGERS)), st.sampled_from(SCALES),
       st.sampled_from(["big", "little"]))  # fmt: skip
def test_integer_counts_are_exact_to_the_micro_unit(data, kind, scale, order):
    raw = data.draw(st.integers(*INTEGERS[kind]))
    reading, drops = decode(register(kind, scale, order=order), words_of(kind, raw, order))
    exact = Fraction(raw) * Fraction(Decimal(scale)) * 10**6
    micro = math.floor(exact + Fraction(1, 2))
    if 0 <= micro <= MAX_CUMULATIVE_MICRO:
        assert reading.value == micro
        assert not drops
    else:
        assert reading is None
        assert drops == Counter(range=1)


@given(st.integers(0, 13_000_000), st.sampled_from(["big", "little"]))
def test_float_counts_are_what_the_display_shows(hundredths, order):
    """Below 2**17 a float32 holds 0.01: what was shown comes back exactly."""
    shown = hundredths / 100
    reg = register("float32", step=Decimal("0.01"), order=order)
    reading, _ = decode(reg, words_of("float32", shown, order))
    assert reading.value == hundredths * 10_000 == to_micro(shown)


@given(st.floats(width=32), st.sampled_from(SCALES), st.booleans())
def test_no_float_is_an_exception(value, scale, cumulative):
    reading, drops = decode(
        register("float32", scale, cumulative=cumulative), words_of("float32", value)
    )
    assert (reading is None) == (drops.total() == 1)
    if not math.isfinite(value):
        assert drops == Counter(no_value=1)
    elif not cumulative:
        assert reading.value == pytest.approx(value * float(scale), rel=1e-6, abs=1e-44)


@given(st.integers(-(2**15), 2**15 - 1), st.sampled_from([1, 10, 100, 1000]))
def test_instantaneous_decimals_are_the_nearest_double(raw, divisor):
    reg = register("int16", str(Decimal(1) / divisor), cumulative=False)
    reading, _ = decode(reg, words_of("int16", raw))
    assert reading.value == raw / divisor
    assert isinstance(reading.value, float)


def test_float32_has_seven_digits():
    reading, _ = decode(register("float32", cumulative=False), words_of("float32", 230.1))
    assert repr(reading.value) == "230.1"


@pytest.mark.parametrize("kind", sorted(CODES))
def test_no_value_pattern_is_dropped_and_its_neighbour_is_not(kind):
    size = struct.calcsize(">" + CODES[kind])
    pattern = (1 << 8 * size) - 1 if kind[0] == "u" else (1 << 8 * size - 1) - 1
    words = [int(f"{pattern:0{2 * size}x}"[i : i + 4], 16) for i in range(0, 2 * size, 4)]
    reg = register(kind, cumulative=False, no_value=(pattern,))
    assert decode(reg, words) == (None, Counter(no_value=1))
    one = words_of(kind, 1)
    reading, drops = decode(reg, one)
    assert reading.value == 1.0
    assert not drops


def test_one_bad_channel_does_not_cost_the_others():
    first = register("float32", cumulative=False, channel="power", no_value=(0x7FC00001,))
    second = register("int32", channel="energy_import", address=2)
    third = register("uint16", channel="energy_export", address=7, scale="0.01", order="little")
    decoder = ModbusDecoder(M1, device(first, second, third, max_gap=4))
    assert [(read.address, read.count) for read in decoder.reads] == [(0, 8)]
    drops: Counter[str] = Counter()
    words = [0x7FC0, 1, 0xFFFF, 0xFFFF, 9, 9, 9, 250]
    (reading,) = decoder.decode(0, words, 0, drops)
    assert (reading.channel, reading.value) == ("energy_export", 2_500_000)
    assert drops == Counter(no_value=1, range=1)


def test_implausible_values_are_kept_and_marked():
    reg = register("int16", "0.1", cumulative=False, low=Decimal(-10), high=Decimal("10.5"))
    assert decode(reg, [105])[0].quality is Quality.GOOD
    assert decode(reg, [106])[0].quality is Quality.RANGE
    assert decode(reg, [0x10000 - 101])[0].quality is Quality.RANGE
    counter = register("uint32", modulus=Decimal(100))
    assert decode(counter, [0, 99])[0].quality is Quality.GOOD
    assert decode(counter, [0, 100])[0].quality is Quality.RANGE


def test_answer_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="3 words where 2"):
        decode(register("uint32"), [1, 2, 3])
