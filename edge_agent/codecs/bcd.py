"""Binary-coded decimals, two digits a byte, as DL/T 645, CJ/T 188 and M-Bus send them."""


def from_bcd(data: bytes) -> int | None:
    """The number in `data`, low byte first; None when a digit is above 9: that is no number."""
    digits = data[::-1].hex()
    return int(digits) if digits.isdecimal() else None


def from_signed_bcd(data: bytes) -> int | None:
    """As `from_bcd`, with the sign in the highest bit."""
    if not data:
        return None
    number = from_bcd(data[:-1] + bytes((data[-1] & 0x7F,)))
    return -number if number is not None and data[-1] & 0x80 else number


def to_bcd(number: int, length: int) -> bytes:
    """`number` in `length` bytes, low byte first; ValueError when it does not fit."""
    digits = f"{number:0{2 * length}d}"
    if number < 0 or len(digits) > 2 * length:
        raise ValueError(f"{number} does not fit in {2 * length} digits")
    return bytes.fromhex(digits)[::-1]
