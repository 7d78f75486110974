"""Decoders bear anything a meter may send: a value, a counted drop, never an exception."""

import contextlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.reading import Reading
from edge_agent.codecs import cjt188, dlt645, mbus
from edge_agent.config import MeterConfig
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import EdgeError
from edge_agent.registers import load_device_map

ADDRESSES = {"dlt645": "123456789012", "cjt188": "12345678901234", "mbus": "5"}


def decoded(model: str, answer) -> tuple[list[Reading], Counter[str]]:
    device = load_device_map(model)
    decoder = make_decoder(MeterConfig("m1", model, address=ADDRESSES[device.protocol]), device)
    drops: Counter[str] = Counter()
    readings = []
    for index in range(len(decoder.questions)):
        readings += decoder.decode(index, answer, 1, drops)
    return readings, drops


@pytest.mark.parametrize(
    "model", ["dlt645-2007-three-phase", "dlt645-1997", "cjt188-heat", "jy-heat", "cjt188-water"]
)
@given(data=st.binary(max_size=60))
def test_any_data_is_values_or_counted_drops(model, data):
    readings, drops = decoded(model, data)
    expected = len(load_device_map(model).registers)
    assert len(readings) + drops.total() == expected


@given(st.binary(max_size=120))
def test_any_mbus_records_are_values_or_counted_drops(records):
    body = bytes((0x08, 5, 0x72)) + bytes(12) + records
    frame = bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))
    assert mbus.RequestData("m", 5, fcb=True).find(frame) == frame
    mbus.has_more(frame)
    readings, drops = decoded("kamstrup-multical-601", (frame,))
    assert len(readings) + drops.total() >= 6


@given(st.binary(max_size=200))
def test_any_noise_ends_in_an_answer_none_or_a_named_error(heard):
    for question in (
        dlt645.ReadData("123456789012", "00010000", 4),
        dlt645.ReadData("A" * 12, "9010", 4),
        dlt645.ReadAddress(),
        cjt188.ReadMeter(0x10, "A" * 14, "1F90"),
        mbus.RequestData("m", 5, fcb=True),
        mbus.reset(5, "m"),
    ):
        with contextlib.suppress(EdgeError):  # a refusal, by chance
            question.find(heard)
        assert isinstance(question.damage(heard), str)
