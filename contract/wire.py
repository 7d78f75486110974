"""JSON on the wire: limits, strict parsing, and the one error a payload can give.

A payload is UTF-8 JSON, an object with ``"v": 1``. Unknown members are ignored within version 1,
except in ``cmd``. Where a member stands twice, the last one counts. Integers may be written as
integral decimals (``1.0``). NaN and Infinity are refused.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from contract import CONTRACT_VERSION

MAX_META_BYTES = 262_144
MAX_DATA_BYTES = 65_536
MAX_STATE_BYTES = 65_536
MAX_ACK_BYTES = 16_384
MAX_CMD_BYTES = 16_384
MAX_REPLY_BYTES = 65_536

MAX_SEQ = 2**53 - 1
"""Largest sequence number: every JSON reader keeps it exact."""
MAX_RANGES = 64
"""Most ranges in a ``void`` or an ack."""

Range = tuple[int, int]
"""Inclusive range of sequence numbers (low, high)."""


class DecodeError(ValueError):
    """A payload breaks the contract. Permanent: the same bytes will fail again.

    ``where`` is the path of the member (``blocks[0].dt[3]``) or "payload"; ``reason`` says why.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return canonical JSON: sorted members, no white space, UTF-8, no NaN."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def compact(document: object) -> bytes:
    """Return JSON in member order, without white space, UTF-8, no NaN."""
    return json.dumps(
        document, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def parse_object(payload: bytes, limit_bytes: int) -> dict[str, Any]:
    """Parse a payload to its JSON object of version 1; DecodeError for anything else."""
    if len(payload) > limit_bytes:
        raise DecodeError("payload", f"{len(payload)} bytes, more than {limit_bytes}")
    try:
        document = json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise DecodeError("payload", f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise DecodeError("payload", "nested too deeply") from None
    except ValueError as error:
        raise DecodeError("payload", f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise DecodeError("payload", "not a JSON object")
    version = integer(document, "v", "v")
    if version != CONTRACT_VERSION:
        raise DecodeError("v", f"version {version} is not {CONTRACT_VERSION}")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def member(document: Mapping[str, Any], name: str, where: str) -> Any:
    """Return a member that must be there."""
    try:
        return document[name]
    except KeyError:
        raise DecodeError(where, "missing") from None


def as_integer(value: object, where: str, low: int = 0, high: int = MAX_SEQ) -> int:
    """Return an integer within bounds; integral decimals count as integers."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DecodeError(where, f"{_shown(value)} is not an integer")
    if not low <= value <= high:
        raise DecodeError(where, f"{_shown(value)} is not within {low} to {high}")
    return value


def integer(
    document: Mapping[str, Any], name: str, where: str, low: int = 0, high: int = MAX_SEQ
) -> int:
    """Return an integer member within bounds."""
    return as_integer(member(document, name, where), where, low, high)


def as_number(value: object, where: str) -> float:
    """Return a finite double."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise DecodeError(where, "number too large") from None
        if math.isfinite(number):
            return number
    raise DecodeError(where, f"{_shown(value)} is not a finite number")


def as_text(value: object, where: str, longest: int = 200) -> str:
    """Return a string of at most ``longest`` characters that UTF-8 can carry."""
    if not isinstance(value, str):
        raise DecodeError(where, f"{_shown(value)} is not a string")
    if len(value) > longest:
        raise DecodeError(where, f"longer than {longest} characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DecodeError(where, "holds a lone surrogate")
    return value


def text(document: Mapping[str, Any], name: str, where: str, longest: int = 200) -> str:
    """Return a string member."""
    return as_text(member(document, name, where), where, longest)


def as_flag(value: object, where: str) -> bool:
    """Return true or false."""
    if isinstance(value, bool):
        return value
    raise DecodeError(where, f"{_shown(value)} is not true or false")


def as_list(value: object, where: str, longest: int) -> list[Any]:
    """Return an array of at most ``longest`` members."""
    if not isinstance(value, list):
        raise DecodeError(where, "not an array")
    if len(value) > longest:
        raise DecodeError(where, f"{len(value)} members, more than {longest}")
    return value


def as_object(value: object, where: str) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise DecodeError(where, "not an object")
    return value


def as_ranges(value: object, where: str) -> tuple[Range, ...]:
    """Return inclusive sequence ranges, ascending and apart."""
    ranges: list[Range] = []
    below = 0
    for i, pair in enumerate(as_list(value, where, MAX_RANGES)):
        at = f"{where}[{i}]"
        if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004
            raise DecodeError(at, "not a pair [low, high]")
        low = as_integer(pair[0], f"{at}[0]", below + 1)
        below = as_integer(pair[1], f"{at}[1]", low)
        ranges.append((low, below))
    return tuple(ranges)


def hexadecimal(value: object, where: str, digits: int) -> str:
    """Return a lower-case hexadecimal string of exactly ``digits`` digits."""
    if isinstance(value, str) and len(value) == digits and not value.strip("0123456789abcdef"):
        return value
    raise DecodeError(where, f"{_shown(value)} is not {digits} lower-case hexadecimal digits")


def checked(check: Callable[[object, str], str], value: object, where: str) -> str:
    """Run a ValueError-raising check and give its complaint as a DecodeError."""
    try:
        return check(value, where)
    except ValueError as error:
        raise DecodeError(where, str(error).removeprefix(f"{where}: ")) from None


def only(document: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Refuse members that are not named."""
    unknown = sorted(set(document) - set(names))
    if unknown:
        raise DecodeError(f"{where}.{unknown[0]}"[:120].lstrip("."), "unknown member")


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.80}"
