"""What a power cut leaves of a part's files. Knows SQLite's log format, nothing of what is in it.

A commit has returned only after the disk confirmed the log up to the commit's last frame. Whatever
stands behind that frame was under way: any part of it may be there, and the rest be rubbish. Of the
logs of DuckDB and InfluxDB all that stands there counts as confirmed, and rubbish comes behind it.
"""

from __future__ import annotations

import random
from pathlib import Path

_HEADER = 32
_FRAME_HEADER = 24


def confirmed_bytes(log: bytes) -> int:
    """Length of a write-ahead log up to the last frame that ends a transaction."""
    if len(log) < _HEADER:
        return 0
    step = _FRAME_HEADER + int.from_bytes(log[8:12], "big")
    salts, confirmed, at = log[16:24], _HEADER, _HEADER
    while at + step <= len(log) and log[at + 8 : at + 16] == salts:
        at += step
        if int.from_bytes(log[at - step + 4 : at - step + 8], "big"):
            confirmed = at
    return confirmed


def torn(log: bytes, draw: random.Random) -> bytes:
    """The log after a power cut amid the next transaction."""
    confirmed = confirmed_bytes(log)
    if not confirmed:
        return log[: draw.randrange(len(log) + 1)]
    step = _FRAME_HEADER + int.from_bytes(log[8:12], "big")
    under_way = bytearray()
    for number in range(draw.randrange(1, 5)):
        head = (number + 1).to_bytes(4, "big") + bytes(4) + log[16:24] + draw.randbytes(8)
        under_way += head + draw.randbytes(step - _FRAME_HEADER)
    kept = draw.randrange(len(under_way) + 1)
    return log[:confirmed] + bytes(under_way[:kept])


def overgrown(log: bytes, draw: random.Random) -> bytes:
    """A log with the beginning of an entry that was never finished: rubbish, zeros, or its like."""
    size = draw.randrange(1, 5000)
    like = draw.randrange(len(log) + 1)
    behind = draw.choice((draw.randbytes(size), bytes(size), log[like : like + size] + bytes(100)))
    return log + behind


def cut_power(folder: Path, draw: random.Random) -> None:
    """Do it to all logs in a folder."""
    for pattern, leave in (("*.sqlite-wal", torn), ("*.wal", overgrown)):
        for log in sorted(folder.rglob(pattern)):
            log.write_bytes(leave(log.read_bytes(), draw))
    # Renamed into place without a flush: empty after a cut. Another boot could not use it anyway.
    for clock in folder.glob("clock.json"):
        clock.write_bytes(b"")
