"""M-Bus (EN 13757-2 and -3): frames, the questions a master asks, secondary addresses.

Frames are ``E5`` (acknowledged), ``10 C A CS 16`` (short) and ``68 L L 68 C A CI DATA CS 16``
(long); CS = sum of all bytes from C on, modulo 256. What the records in a long frame mean is the
matter of `decoders.mbus`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.codecs.base import Heard, heard_of
from edge_agent.errors import MeterError

SELECTED = 253
"""Primary address of the meter that was selected by its secondary address."""
LAST_PRIMARY = 250
LONGEST = 261

_ACK = b"\xe5"
_SND_NKE, _SND_UD, _REQ_UD2 = 0x40, 0x53, 0x5B
_FCB = 0x20
_FIRST_RSP, _RSP_MASK = 0x08, 0xCF
_SELECT = 0x52
_VARIABLE, _ERROR = 0x72, 0x70

_FILLER = 0x2F
_DATA_BYTES = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, None, 6, 0)
"""Length of a record's data by the low digit of its DIF; None = its first byte says."""

_ERRORS = (
    "unspecified error", "unimplemented CI field", "buffer too long", "too many records",
    "end of record", "more than ten DIFE", "more than ten VIFE", "reserved", "busy",
    "too many readouts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReadMbus:
    """Read all telegrams of one meter: the question of the link, made of the questions below.

    `address`: primary (0 to 250), or secondary: 8 digits of the serial number, or 16 hexadecimal
    digits of number, manufacturer, version and medium as scanners print them. F stands for any.
    """

    address: str

    @property
    def primary(self) -> int | None:
        """None when the meter is addressed by its secondary address."""
        return int(self.address) if len(self.address) < 8 else None

    @property
    def pattern(self) -> bytes:
        """The eight bytes a selection sends; F matches anything."""
        digits = self.address.upper().ljust(16, "F")
        return bytes.fromhex(digits[:8])[::-1] + bytes.fromhex(digits[8:])


def is_address(text: str) -> bool:
    """Whether `text` is an address `ReadMbus` takes."""
    if re.fullmatch("[0-9]{1,3}", text):
        return int(text) <= LAST_PRIMARY
    return re.fullmatch("[0-9F]{8}([0-9A-F]{8})?", text.upper()) is not None


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message the meter acknowledges with E5."""

    unit: str
    request: bytes
    answer_bytes = 1

    def find(self, heard: bytes) -> bool | None:
        return True if _ACK in _rest(self.request, heard) else None

    def damage(self, heard: bytes) -> str:
        return "the answer is broken" if _rest(self.request, heard) else ""


def reset(address: int, unit: str) -> _Sent:
    """SND_NKE: the meter begins anew with its first telegram."""
    return _Sent(unit, _short(_SND_NKE, address))


def select(read: ReadMbus, unit: str) -> _Sent:
    """Select the meter with this secondary address; others let go."""
    return _Sent(unit, _long(_SND_UD, SELECTED, _SELECT, read.pattern))


@dataclass(frozen=True, slots=True)
class RequestData:
    """REQ_UD2: the next telegram of a meter, or the last once more when `fcb` is as before."""

    unit: str
    address: int
    fcb: bool
    pattern: bytes = b""
    """Secondary address the answer must bear."""
    answer_bytes = LONGEST

    @property
    def request(self) -> bytes:
        return _short(_REQ_UD2 | (_FCB if self.fcb else 0), self.address)

    def find(self, heard: bytes) -> bytes | None:
        """The whole frame of the answer."""
        for frame in frames(heard.removeprefix(self.request)):
            if frame[0] != 0x68 or frame[4] & _RSP_MASK != _FIRST_RSP:
                continue
            if frame[5] != self.address and self.address != SELECTED:
                continue
            if frame[6] == _ERROR:
                code = frame[7] if len(frame) > 9 else 0
                said = _ERRORS[code] if code < len(_ERRORS) else "an error"
                raise MeterError(self.unit, f"{said} (code {code})")
            if frame[6] != _VARIABLE:
                raise MeterError(self.unit, f"sends data of CI {frame[6]:02X}, which is not read")
            if matches(self.pattern, frame[7:15]):
                return frame
        return None

    def damage(self, heard: bytes) -> str:
        broken = _rest(self.request, heard).replace(_ACK, b"")
        return "the answer is broken (checksum or length)" if broken else ""


EVERYBODY = 254
"""Primary address all meters answer to."""


@dataclass(frozen=True, slots=True)
class CallMeters:
    """Reset all meters (`number` empty), or select those whose number fits: who is, says E5.

    Who answers is told as one empty address: an E5 bears no name, and several look like one.
    """

    number: str = ""
    """8 digits, F for any."""
    answer_bytes = 1

    @property
    def request(self) -> bytes:
        if not self.number:
            return _short(_SND_NKE, EVERYBODY)
        return select(ReadMbus(self.number), "").request

    def heard(self, data: bytes) -> Heard:
        rest = data.removeprefix(self.request)
        return heard_of([""] if _ACK in rest else [], rest.replace(_ACK, b""))


@dataclass(frozen=True, slots=True)
class CallSelected:
    """Ask who is selected for data: tells secondary addresses of 16 digits."""

    answer_bytes = LONGEST
    request = bytes((0x10, _REQ_UD2 | _FCB, SELECTED, (_REQ_UD2 | _FCB) + SELECTED & 0xFF, 0x16))

    def heard(self, data: bytes) -> Heard:
        answers = [
            frame
            for frame in frames(data.removeprefix(self.request))
            if frame[0] == 0x68 and frame[6] == _VARIABLE and len(frame) > 16
        ]
        return heard_of(map(secondary_address, answers), _rest(self.request, data))


def secondary_address(frame: bytes) -> str:
    """The 16 digits of number, maker, version and medium in a long frame."""
    return (frame[10:6:-1] + frame[11:15]).hex().upper()


def maker_of(address: str) -> str:
    """The maker's three letters in a secondary address of 16 digits."""
    code = int.from_bytes(bytes.fromhex(address[8:12]), "little")
    return "".join(chr((code >> shift & 0x1F) + 64) for shift in (10, 5, 0))


def medium_of(address: str) -> int:
    """The medium (EN 13757-3) in a secondary address of 16 digits."""
    return int(address[14:16], 16)


def has_more(frame: bytes) -> bool:
    """Whether a telegram says that more follow: its records end with DIF 1F.

    The records are walked through: what follows a DIF 0F is the maker's own, and may be 1F too.
    """
    data, at = frame[19:-2], 0
    while at < len(data):
        dif = data[at]
        if dif & 0x0F == 0x0F and dif != _FILLER:
            return dif == 0x1F
        at = at + 1 if dif == _FILLER else _next_record(data, at)
    return False


def _next_record(data: bytes, at: int) -> int:
    """Where the record after the one at `at` begins: DIF, DIFEs, VIF, VIFEs, data."""
    length = _DATA_BYTES[data[at] & 0x0F]
    at = _after_extensions(data, at)
    plain_text = at < len(data) and data[at] & 0x7F == 0x7C
    if plain_text and data[at] == 0x7C:
        at += 2 + (data[at + 1] if at + 1 < len(data) else 0)
    elif plain_text:
        at += 1  # the text's length comes before its VIFEs
        at = _after_extensions(data, at + 1 + data[at]) if at < len(data) else at
    else:
        at = _after_extensions(data, at)
    if length is not None:
        return at + length
    variable = data[at] if at < len(data) else 0
    return at + 1 + (variable if variable < 0xC0 else variable & 0x0F)


def _after_extensions(data: bytes, at: int) -> int:
    while at < len(data) and data[at] & 0x80:
        at += 1
    return at + 1


def matches(pattern: bytes, secondary: bytes) -> bool:
    """Whether a secondary address fits; F (in the number) and FF (else) stand for anything."""
    for asked, own in zip(pattern[:4].hex(), secondary[:4].hex(), strict=False):
        if asked not in (own, "f"):
            return False
    return all(a in (b, 0xFF) for a, b in zip(pattern[4:], secondary[4:], strict=False))


def frames(heard: bytes) -> Iterator[bytes]:
    """Yield the whole short and long frames in what was heard, in order."""
    at = 0
    while at < len(heard):
        size = _frame_size(heard[at : at + 4])
        frame = heard[at : at + size]
        skip = 1 if frame[:1] == b"\x10" else 4
        whole = size > 1 and len(frame) == size and frame[-1] == 0x16
        if whole and sum(frame[skip:-2]) & 0xFF == frame[-2]:
            yield frame
            at += size
        else:
            at += 1


def _frame_size(head: bytes) -> int:
    if head[:1] == b"\x10":
        return 5
    if len(head) == 4 and head[0] == head[3] == 0x68 and head[1] == head[2]:
        return head[1] + 6
    return 1


def _rest(request: bytes, heard: bytes) -> bytes:
    """What was heard without the echo and without whole frames."""
    rest = heard.removeprefix(request)
    for frame in frames(rest):
        rest = rest.replace(frame, b"", 1)
    return rest


def _short(control: int, address: int) -> bytes:
    return bytes((0x10, control, address, control + address & 0xFF, 0x16))


def _long(control: int, address: int, info: int, data: bytes) -> bytes:
    body = bytes((control, address, info)) + data
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))
