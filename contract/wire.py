"""JSON on the wire: limits, strict parsing, and the one error a payload can give.

A payload is UTF-8 JSON, an object with ``"v": 1``. Unknown members are ignored within version 1,
except in ``cmd``. Where a member stands twice, the last one counts. Integers may be written as
integral decimals (``1.0``). NaN and Infinity are refused, and so is deep nesting, wherever it is.

Every encoder runs the checks of its decoder on what it is about to give out, size included, and
raises the DecodeError that a reader would raise: what an encoder returns, every decoder accepts.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from contract import CONTRACT_VERSION

MAX_META_BYTES = 262_144
MAX_DATA_BYTES = 65_536
MAX_STATE_BYTES = 262_144
MAX_ACK_BYTES = 16_384
MAX_CMD_BYTES = 16_384
MAX_REPLY_BYTES = 65_536

MAX_SEQ = 2**53 - 1
"""Largest sequence number: every JSON reader keeps it exact."""
MAX_RANGES = 64
"""Most ranges in a ``void`` or an ack."""
MAX_DEPTH = 32
"""Most arrays and objects within each other, the payload itself included."""

_DIGITS_OF_A_DOUBLE = 309
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

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
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sized(payload: bytes, limit_bytes: int) -> bytes:
    """Return a payload that is not longer than its kind may be."""
    if len(payload) > limit_bytes:
        raise DecodeError("payload", f"{len(payload)} bytes, more than {limit_bytes}")
    return payload


def parse_object(payload: bytes, limit_bytes: int) -> dict[str, Any]:
    """Parse a payload to its JSON object of version 1; DecodeError for anything else."""
    try:
        document = json.loads(
            sized(payload, limit_bytes).decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
        )
        _refuse_depth(document)
    except DecodeError:
        raise
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


def _parse_int(digits: str) -> int | float:
    """Take an integer that no double can hold as infinite: it is refused where it stands.

    Left to itself, Python refuses the whole document at a length that is a process setting.
    """
    return int(digits) if len(digits) <= _DIGITS_OF_A_DOUBLE + 1 else math.inf


def _refuse_depth(document: object) -> None:
    """Refuse deep nesting at a fixed depth; Python's own depends on the caller's stack."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    if any(isinstance(child, dict | list) for child in level):
        raise DecodeError("payload", f"nested deeper than {MAX_DEPTH}")


def path(where: str, name: object) -> str:
    """Return the path of a member whose name came off the wire, safe to print."""
    plain = isinstance(name, str) and _PLAIN_NAME.fullmatch(name)
    shown = name if plain else f"{name!a:.80}"
    return f"{where}.{shown}" if where else f"{shown}"


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
    """Return a finite double; a negative zero as zero, since JSON writers differ about it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise DecodeError(where, "number too large") from None
        if math.isfinite(number):
            return number + 0.0
    raise DecodeError(where, f"{_shown(value)} is not a finite number")


def as_text(value: object, where: str, longest: int = 200) -> str:
    """Return a string of at most ``longest`` characters, without control characters.

    Lone surrogates have no UTF-8, and a database takes no NUL.
    """
    if not isinstance(value, str):
        raise DecodeError(where, f"{_shown(value)} is not a string")
    if len(value) > longest:
        raise DecodeError(where, f"longer than {longest} characters")
    if _CONTROL.search(value) or _SURROGATE.search(value):
        raise DecodeError(where, "holds a control character or a lone surrogate")
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
    """Return inclusive sequence ranges, ascending, without overlap."""
    ranges: list[Range] = []
    below = 0
    for i, pair in enumerate(as_list(value, where, MAX_RANGES)):
        at = f"{where}[{i}]"
        if not isinstance(pair, list) or len(pair) != 2:
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
        raise DecodeError(path(where, unknown[0]), "unknown member")


def as_plain(value: object, where: str) -> dict[str, Any]:
    """Return an object of free content that JSON can carry back: finite, no surrogates."""
    document = as_object(value, where)
    _check_plain(document, where, MAX_DEPTH - 1)
    return document


def _check_plain(value: object, where: str, depth: int) -> None:
    if isinstance(value, dict | list) and depth == 0:
        raise DecodeError(where, f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for name, entry in value.items():
            as_text(name, path(where, name))
            _check_plain(entry, path(where, name), depth - 1)
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            _check_plain(entry, f"{where}[{i}]", depth - 1)
    elif isinstance(value, str):
        if _SURROGATE.search(value):
            raise DecodeError(where, "holds a lone surrogate")
    elif value is not None and not isinstance(value, bool):
        as_number(value, where)


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.80}"
