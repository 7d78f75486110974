"""What exactly restated a figure, as one line: batches of readings, or rows of factors and prices.

Batches are `gw1/00000000000000aa:12-40,45`: edge, outbox and sequence numbers, apart by spaces.
"""

import re
from collections.abc import Iterable

from aggregator.ingest.receipts import Settled

Batch = tuple[str, str, int]
"""Edge, outbox, seq."""

_BATCHES = re.compile(r"[a-z0-9-]+/[0-9a-f]+:[0-9,-]+( [a-z0-9-]+/[0-9a-f]+:[0-9,-]+)*")


def batches_text(batches: Iterable[Batch]) -> str:
    """Write batches in order, each once, neighbours as a range."""
    return _text((f"{edge}/{outbox}", seq, seq) for edge, outbox, seq in batches)


def joined(old: str, new: str) -> str:
    """Return what changed a figure from first to last: all batches, else what came last."""
    if not (_BATCHES.fullmatch(old) and _BATCHES.fullmatch(new)):
        return new
    parts = (part.rsplit(":", 1) for part in f"{old} {new}".split(" "))
    return _text(
        (name, int(low), int(high or low))
        for name, ranges in parts
        for low, _, high in (one.partition("-") for one in ranges.split(","))
    )


def _text(ranges: Iterable[tuple[str, int, int]]) -> str:
    found: dict[str, Settled] = {}
    for name, low, high in ranges:
        found.setdefault(name, Settled()).add(low, high)
    return " ".join(
        f"{name}:{','.join(str(a) if a == b else f'{a}-{b}' for a, b in found[name].ranges())}"
        for name in sorted(found)
    )
