"""DL/T 645 frames: known ones, any one, and the dlt645 package as an independent witness."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codecs.bcd import from_bcd, from_signed_bcd, to_bcd
from edge_agent.codecs.dlt645 import (
    ANY,
    Block,
    Frame,
    ReadAddress,
    ReadData,
    SetClocks,
    encode,
    frames,
)
from edge_agent.errors import MeterError

METER = "123456789012"
IMPORT = ReadData(METER, "00010000", 4)
REPLY = bytes.fromhex("68 12 90 78 56 34 12 68 91 08 33 33 34 33 9A 78 56 34 88 16")


def test_request_worked_out_by_hand():
    """Address low byte first; DI 00 01 00 00 low byte first, plus 33H; sum from the first 68."""
    assert IMPORT.request == bytes.fromhex(
        "FE FE FE FE 68 12 90 78 56 34 12 68 11 04 33 33 34 33 68 16"
    )


def test_answer_worked_out_by_hand():
    """9A 78 56 34 minus 33H = 67 45 23 01, low byte first: 12345.67 kWh."""
    block = IMPORT.find(REPLY)
    assert block == Block(bytes.fromhex("67 45 23 01"), more=False)
    assert from_bcd(block.data) == 1_234_567


CAPTURED = [  # a recorded session with meter 000000000161: request, answer, data, number
    ("00010000", "FE FE FE FE 68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16",
     "68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16", 26),  # 0.26 kWh
    ("02010100", "FE FE FE FE 68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16",
     "68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 10 16", 1001),  # 100.1 V
]  # fmt: skip


@pytest.mark.parametrize(("id_", "request_", "answer", "number"), CAPTURED)
def test_captured_session(id_, request_, answer, number):
    ask = ReadData("000000000161", id_, 4)
    assert ask.request == bytes.fromhex(request_)
    block = ask.find(bytes.fromhex(answer))
    assert block is not None
    assert from_bcd(block.data) == number


def test_leading_bytes_noise_and_foreign_frames_are_passed_over():
    foreign = encode("000000000001", 0x91, bytes.fromhex("00000100 99999999"))
    for before in (b"\xfe" * 9, b"\x68", b"\x68\x68\x00", foreign, IMPORT.request):
        assert IMPORT.find(before + REPLY) == Block(bytes.fromhex("67452301"), more=False)
    assert IMPORT.find(foreign) is None
    assert IMPORT.damage(foreign) == ""
    assert IMPORT.find(IMPORT.request) is None
    assert IMPORT.damage(IMPORT.request) == ""


def test_answer_to_another_identifier_is_not_taken():
    other = encode(METER, 0x91, bytes.fromhex("00000200 11111111"))
    assert IMPORT.find(other) is None
    assert IMPORT.find(other + REPLY) is not None


@pytest.mark.parametrize("at", range(len(REPLY)))
def test_any_single_wrong_byte_is_seen(at):
    broken = bytearray(REPLY)
    broken[at] ^= 0x01
    assert IMPORT.find(bytes(broken)) is None


def test_error_answers_say_what_is_wrong():
    for code, says in ((0x02, "no such data"), (0x04, "password"), (0x01, "other error")):
        with pytest.raises(MeterError, match=says) as caught:
            IMPORT.find(encode(METER, 0xD1, bytes((code,))))
        assert METER in str(caught.value)
    with pytest.raises(MeterError, match="wrong data identifier"):
        ReadData(METER, "9010", 4).find(encode(METER, 0xC1, b"\x02"))


def test_follow_up_frames_are_numbered():
    first = IMPORT.find(encode(METER, 0xB1, bytes.fromhex("00000100 AA")))
    assert first == Block(b"\xaa", more=True)
    ask = ReadData(METER, "00010000", 4, sequence=2)
    assert ask.request[len(b"\xfe" * 4) :] == encode(METER, 0x12, bytes.fromhex("00000100 02"))
    assert ask.find(encode(METER, 0x92, bytes.fromhex("00000100 BB 01"))) is None  # another part
    assert ask.find(encode(METER, 0xB2, bytes.fromhex("00000100 BB 02"))) == Block(b"\xbb", True)
    assert ask.find(encode(METER, 0x92, bytes.fromhex("00000100 BB 02"))) == Block(b"\xbb", False)


def test_1997_identifiers_have_two_bytes_and_their_own_control():
    ask = ReadData(METER, "9010", 4)
    assert ask.request == bytes.fromhex("FEFEFEFE 68 129078563412 68 01 02 43 C3") + bytes(
        (sum(bytes.fromhex("68 129078563412 68 01 02 43 C3")) & 0xFF, 0x16)
    )
    answer = encode(METER, 0x81, bytes.fromhex("1090 67452301"))
    assert ask.find(answer) == Block(bytes.fromhex("67452301"), more=False)


def test_the_address_of_an_only_meter():
    assert ReadAddress().request == bytes.fromhex("FEFEFEFE 68 AAAAAAAAAAAA 68 13 00 DF 16")
    answer = encode(METER, 0x93, bytes.fromhex(METER)[::-1])
    assert ReadAddress().find(b"\xfe\xfe" + answer) == METER
    assert ReadData(ANY, "00010000", 4).find(REPLY) is not None


def test_clock_broadcast():
    moment = datetime(2026, 11, 21, 17, 5, 9)  # noqa: DTZ001 - what the meter's display will show
    (frame,) = frames(SetClocks(moment).message)
    assert frame == Frame("9" * 12, 0x08, bytes.fromhex("09 05 17 21 11 26"))


@given(st.from_regex(r"[0-9]{12}", fullmatch=True), st.integers(0, 255), st.binary(max_size=200),
       st.binary(max_size=20).filter(lambda noise: 0x68 not in noise))  # fmt: skip
def test_any_frame_comes_back(address, control, data, noise):
    found = list(frames(noise + encode(address, control, data) + noise))
    assert found == [Frame(address, control, data)]


@given(st.binary(max_size=300))
def test_noise_never_raises(noise):
    list(frames(noise))
    ReadAddress().damage(noise)


@given(st.integers(0, 99_999_999))
def test_bcd_comes_back(number):
    assert from_bcd(to_bcd(number, 4)) == number
    assert from_signed_bcd(to_bcd(number % 80_000_000, 4)) == number % 80_000_000


def test_bcd_that_is_no_number():
    assert from_bcd(b"\xff\xff") is None
    assert from_bcd(b"\x0a") is None
    assert from_signed_bcd(b"\x34\x12\x80") == -1234
    assert from_signed_bcd(b"\xff\xff\xff") is None
    assert from_bcd(b"") is None
    with pytest.raises(ValueError, match="does not fit"):
        to_bcd(100, 1)


@given(st.from_regex(r"[0-9]{12}", fullmatch=True), st.integers(0, 0xFFFFFFFF))
def test_the_dlt645_package_builds_and_reads_the_same_frames(address, di):
    """It sends addresses as written, so what the standard prints must be handed over reversed."""
    from dlt645.protocol.protocol import DLT645Protocol

    reversed_address = bytearray(bytes.fromhex(address)[::-1])
    identifier = bytearray(di.to_bytes(4, "little"))
    theirs = bytes(DLT645Protocol.build_frame(reversed_address, 0x11, identifier))
    ours = ReadData(address, f"{di:08X}", 4).request
    assert theirs.lstrip(b"\xfe") == ours.lstrip(b"\xfe")
    reply = encode(address, 0x91, bytes(identifier) + b"\x67\x45\x23\x01")
    parsed = DLT645Protocol.deserialize(bytearray(reply))
    assert bytes(parsed.data) == bytes(identifier) + b"\x67\x45\x23\x01"
    assert bytes(parsed.addr) == bytes(reversed_address)
